"""Train many members as one program.

Every parameter carries the member axis first: `params["W_O"]` is `W_O_EMH`, E members of an (M, H) matrix. A loss takes
the parameters and one step's random draws and gives one number a member, `loss_E`; since members share nothing, the
gradient of the sum is every member's own. What is random comes in as draws, so the program itself is a plain function.

    job    = what is trained: first weights, loss, draws                     (`Job`)
    phases = how long, and at which multiple of the learning rate each parameter moves; 0 freezes it
    watch  = what is called at chosen steps; members that it is done with leave the ensemble (compaction)
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, final

import torch
from torch import Tensor

from lemmata.lab.compiled import compiled
from lemmata.lab.errors import InputError
from lemmata.lab.losses import hinges
from lemmata.lab.sparing import Hinged, Part, Sparing

__all__ = ["Adam", "Draws", "Job", "Params", "Phase", "Sgd", "Snapshot", "Status", "fit", "one_thread", "steps_of"]

# A member is dead once this many steps in a row have left its weights as they were, though its loss is not 0.
PATIENCE = 8

Params = dict[str, Tensor]
Draws = Any
Status = Literal["ok", "diverged", "dead"]


@final
@dataclass(frozen=True)
class Phase:
    """`steps` steps in which parameter p moves at `rates[p]` times its member's learning rate (1 where unnamed)."""

    steps: int
    rates: Mapping[str, float] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Sgd:
    """Plain gradient descent: p <- p - lr g."""

    def start(self, params: Params) -> Params:
        """No state."""
        return {}

    def update(self, p: Tensor, g: Tensor, lr: Tensor, state: Params, name: str) -> Tensor:
        """The new value of one parameter; `lr` broadcasts over the member axis."""
        return torch.addcmul(p, g, lr, value=-1.0)


@final
@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980) with bias correction, its state a member apart like the parameters."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def start(self, params: Params) -> Params:
        """First and second moments, and the number of steps taken."""
        state = {f"{kind}.{name}": torch.zeros_like(p) for name, p in params.items() for kind in ("mean", "square")}
        return state | {f"count.{name}": p.new_zeros(()) for name, p in params.items()}

    def update(self, p: Tensor, g: Tensor, lr: Tensor, state: Params, name: str) -> Tensor:
        """The new value of one parameter; its moments in `state` are replaced."""
        count = state[f"count.{name}"] = state[f"count.{name}"] + 1
        mean = state[f"mean.{name}"] = state[f"mean.{name}"].lerp(g, 1 - self.beta1)
        square = state[f"square.{name}"] = state[f"square.{name}"].lerp(g * g, 1 - self.beta2)
        corrected = mean / (1 - self.beta1**count)
        return p - lr * corrected / ((square / (1 - self.beta2**count)).sqrt() + self.eps)


class Job(Protocol):
    """What an ensemble trains. `lr_E` is each member's learning rate."""

    lr_E: Tensor

    def params(self) -> Params:
        """The first weights, a pure function of the members' constants and seeds."""
        ...

    def loss(self, params: Params, draws: Draws) -> Tensor:
        """One loss a member, (E,)."""
        ...

    def draws(self, step: int) -> Draws:
        """The draws of a step, a pure function of the members' constants and seeds; valid until the next call."""
        ...


@final
@dataclass(frozen=True)
class Snapshot:
    """An ensemble after `step` steps. `members` are the positions of its members in the list that was trained."""

    configs: Sequence[Any]
    seeds: Sequence[int]
    members: Sequence[int]
    params: Params
    step: int
    status: Sequence[Status]

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(iter(self.params.values())).device

    def with_params(self, params: Params) -> Snapshot:
        """The same members with other weights: pruned ones, say."""
        return replace(self, params=params)

    def take(self, positions: Sequence[int]) -> Snapshot:
        """Some of its members, in the given order."""
        return replace(
            self,
            configs=[self.configs[i] for i in positions],
            seeds=[self.seeds[i] for i in positions],
            members=[self.members[i] for i in positions],
            params=_take(self.params, positions),
            status=[self.status[i] for i in positions],
        )


Watch = Callable[[Snapshot], Sequence[bool]]


@contextmanager
def one_thread() -> Iterator[None]:
    """More threads would add in another order, and lose a factor of three when anything else runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def fit(
    configs: Sequence[Any],
    seeds: Sequence[int],
    *,
    watch: Watch | None = None,
    watch_steps: Collection[int] = (),
    device: str = "cpu",
    compile: bool = False,
) -> Snapshot:
    """Train one member a (config, seed) pair, all as one program, and return them in the order given.

    The configs are `lemmata.lab.trainee.Trainee`s of one `shape_key`. `watch` is called at step 0, at the last step
    and at `watch_steps`, with the members that still train, and says which of them are finished: these leave the
    ensemble, the others go on with exactly the numbers they would have had.

    Phases and optimiser are those of the first config, so their constants must be among the shared ones; the optimiser
    starts anew in each phase.

    Raises:
        InputError: no members, or members of different shapes.
    """
    keys = {config.shape_key() for config in configs}
    if len(keys) != 1 or len(configs) != len(seeds):
        got = f"{len(configs)} configs of {len(keys)} shapes and {len(seeds)} seeds"
        raise InputError("one seed a config, and configs of one shape_key", got, "train each shape on its own")
    kind, phases, optimizer = type(configs[0]), configs[0].phases(), configs[0].optimizer()
    total = sum(phase.steps for phase in phases)
    looks = {0, total, *watch_steps} if watch else set()
    job: Job = kind.job(configs, seeds, device)
    status: list[Status] = ["ok"] * len(configs)
    live = Snapshot(list(configs), list(seeds), range(len(configs)), job.params(), 0, status)
    gone: list[Snapshot] = []
    trail: deque[Params] = deque(maxlen=PATIENCE + 1)
    end = 0
    for phase in phases:
        end += phase.steps
        trained = [name for name in live.params if phase.rates.get(name, 1.0) != 0.0]
        state = optimizer.start({name: live.params[name] for name in trained})
        step = _stepper(job, phase, trained, optimizer, compile)
        for stop in sorted({end, *(look for look in looks if live.step <= look < end)}):
            live = _advance(live, stop, step, state, job, trail)
            if watch is None or stop not in looks:
                continue
            looks.remove(stop)
            done = watch(live)
            stay = [i for i, finished in enumerate(done) if not finished]
            if len(stay) < len(done) and stop < total:
                gone.append(live.take([i for i, finished in enumerate(done) if finished]))
                if not stay:
                    return _in_order(gone)
                live, state = live.take(stay), _take_state(state, stay)
                trail = deque((_take(params, stay) for params in trail), maxlen=PATIENCE + 1)
                job = kind.job(live.configs, live.seeds, device)
                step = _stepper(job, phase, trained, optimizer, compile)
    return _in_order([*gone, live])


def steps_of(
    configs: Sequence[Any], seeds: Sequence[int], *, device: str = "cpu", compile: bool = False
) -> Iterator[float]:
    """The steps of the first phase one by one, over and over, as `fit` takes them: for whoever wants to time them.

    Each is done when it comes, with the sum of the losses before it.
    """
    config = configs[0]
    phase = next(phase for phase in config.phases() if phase.steps)
    job: Job = type(config).job(configs, seeds, device)
    params, optimizer = job.params(), config.optimizer()
    trained = [name for name in params if phase.rates.get(name, 1.0) != 0.0]
    state = optimizer.start({name: params[name] for name in trained})
    step = _stepper(job, phase, trained, optimizer, compile)
    for i in itertools.count():
        params, loss_E = step(params, state, job.draws(i % phase.steps))
        yield float(loss_E.sum())


def _stepper(job: Job, phase: Phase, trained: Sequence[str], optimizer: Sgd | Adam, compile: bool) -> Callable:
    """One step of gradient descent as a function (params, optimiser state, draws) -> (params, loss_E)."""
    hinged = job if isinstance(job, Hinged) else None

    def update(params: Params, gradients: Sequence[Tensor], lr_E: Tensor, state: Params) -> Params:
        new = dict(params)
        for name, g in zip(trained, gradients, strict=True):
            lr = (lr_E * phase.rates.get(name, 1.0)).view(-1, *[1] * (g.dim() - 1))
            new[name] = optimizer.update(params[name], g, lr, state, name).detach()
        return new

    def step(params: Params, state: Params, draws: Draws) -> tuple[Params, Tensor, Tensor | None]:
        leaves = {name: params[name].detach().requires_grad_(name in trained) for name in params}
        gap = hinged.gap(leaves, draws) if hinged else None
        loss_E = job.loss(leaves, draws) if gap is None else hinges(gap)
        gradients = torch.autograd.grad(loss_E.sum(), [leaves[name] for name in trained])
        rest = {name: p.detach() for name, p in leaves.items()}
        return update(rest, gradients, job.lr_E, state), loss_E.detach(), None if gap is None else gap.detach()

    def move(params: Params, parts: Sequence[Part], state: Params) -> Params:
        if isinstance(optimizer, Adam):  # whose moments move a member without a gradient too
            every = [torch.zeros_like(params[name]) for name in trained]
            for member_E, gradients in parts:
                for mine, g in zip(every, gradients, strict=True):
                    mine[member_E] = g
            return update(params, every, job.lr_E, state)
        new = {name: params[name].clone() if parts and name in trained else params[name] for name in params}
        for member_E, gradients in parts:
            moved = update({name: params[name][member_E] for name in trained}, gradients, job.lr_E[member_E], state)
            for name in trained:
                new[name][member_E] = moved[name]
        return new

    whole = compiled(step, job.lr_E) if compile else step
    # On a GPU the host would have to wait to know what can be spared.
    if hinged and job.lr_E.device.type == "cpu":
        gap = compiled(hinged.gap, job.lr_E) if compile else hinged.gap
        return Sparing(hinged, trained, whole, gap, move)
    return lambda params, state, draws: whole(params, state, draws)[:2]


def _advance(live: Snapshot, stop: int, step: Callable, state: Params, job: Job, trail: deque[Params]) -> Snapshot:
    """The snapshot at step `stop`, with what became of its members; `trail` keeps the weights of the last steps."""
    params, loss_E = live.params, None
    for here in range(live.step, stop):
        trail.append(params)
        params, loss_E = step(params, state, job.draws(here))
    if loss_E is None:
        return live
    finite_E = torch.isfinite(loss_E)
    moved_E = torch.zeros_like(finite_E)
    for name, p in params.items():
        finite_E = finite_E & torch.isfinite(p).reshape(len(p), -1).all(1)
        moved_E |= (p != trail[0][name]).reshape(len(p), -1).any(1)
    # A loss above 0 has a gradient unless every neuron that it needs is off; over many batches, off for good.
    stuck_E = ~moved_E & (loss_E > 0) & (job.lr_E > 0) & (len(trail) > PATIENCE)
    status: list[Status] = [
        "diverged" if old == "diverged" or not finite else "dead" if stuck else "ok"
        for old, finite, stuck in zip(live.status, finite_E.tolist(), stuck_E.tolist(), strict=True)
    ]
    return replace(live, params=params, step=stop, status=status)


def _take(tensors: Params, positions: Sequence[int]) -> Params:
    index = list(positions)
    return {name: t[index] for name, t in tensors.items()}


def _take_state(state: Params, positions: Sequence[int]) -> Params:
    """Optimiser state of the members that stay; counts have no member axis."""
    index = list(positions)
    return {name: t if name.startswith("count.") else t[index] for name, t in state.items()}


def _in_order(parts: Sequence[Snapshot]) -> Snapshot:
    """All members as one snapshot, in the order they were given, at the last step any of them saw."""
    order = sorted((member, p, i) for p, part in enumerate(parts) for i, member in enumerate(part.members))
    names = parts[0].params
    return Snapshot(
        configs=[parts[p].configs[i] for _, p, i in order],
        seeds=[parts[p].seeds[i] for _, p, i in order],
        members=[member for member, _, _ in order],
        params={name: torch.stack([parts[p].params[name][i] for _, p, i in order]) for name in names},
        step=max(part.step for part in parts),
        status=[parts[p].status[i] for _, p, i in order],
    )
