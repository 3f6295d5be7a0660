"""Ensembles: torch's own optimisers member by member, and members that feel nothing of each other, down to the bit."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from lemmata.bench.worker import WORKLOADS
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import TestSet, outputs
from lemmata.lab.ensemble import Adam, Params, Phase, Sgd, fit
from lemmata.lab.losses import error
from lemmata.lab.streams import stream
from lemmata.lab.trainee import Trainee, constant

SPLITS = {"one": (10,), "two": (4, 6), "idle-first": (0, 10), "idle-between": (4, 0, 6), "idle-last": (10, 0)}


@final
@dataclass(frozen=True, kw_only=True)
class Curve(Trainee):
    """y = out . relu(W x + b) on a fixed training set of 12 points, in batches of 4, in float64."""

    kind = "test.curve"
    version = 1

    lr: float = constant(0.1, "learning rate", origin="chosen", room="training")
    steps: int = constant(10, "steps, whatever the phases are", origin="chosen", room="training", shape=True)
    method: str = constant("sgd", "optimiser", origin="chosen", room="training", choices=("sgd", "adam"), shape=True)
    split: str = constant("one", "phases", origin="chosen", room="training", choices=(*SPLITS, "steps"), shape=True)
    slow: float = constant(1.0, "multiplier of W in the first phase", origin="chosen", room="training", shape=True)
    late: float = constant(1.0, "multiplier of b in the others", origin="chosen", room="training", shape=True)
    start: float = constant(0.3, "first biases", origin="chosen", room="network")
    scale: float = constant(1.0, "of the inputs", origin="chosen", room="data")

    def optimizer(self) -> Sgd | Adam:
        return Adam(beta1=0.8, beta2=0.95) if self.method == "adam" else Sgd()

    def phases(self) -> tuple[Phase, ...]:
        lengths = SPLITS.get(self.split, (self.steps,))
        rates = [{"W": self.slow}, *[{"b": self.late}] * len(lengths)]
        return tuple(Phase(length, rate) for length, rate in zip(lengths, rates, strict=False))

    def work(self) -> float:
        return 1.0

    @classmethod
    def job(cls, configs: Sequence[Curve], seeds: Sequence[int], device: str) -> CurveJob:
        return CurveJob(configs, seeds)


class CurveJob:
    asked: ClassVar[list[int]] = []

    def __init__(self, configs: Sequence[Curve], seeds: Sequence[int]) -> None:
        self.configs, self.seeds = configs, seeds
        self.lr_E = torch.tensor([c.lr for c in configs], dtype=torch.float64)
        rngs = [stream("test.points", c.axes("data"), seed) for c, seed in zip(configs, seeds, strict=True)]
        sets = [rng.standard_normal((12, 3)) for rng in rngs]
        scale_E = torch.tensor([c.scale for c in configs], dtype=torch.float64)
        self.x_END = torch.from_numpy(np.array(sets)) * scale_E[:, None, None]
        self.y_EN = self.x_END.sin().sum(-1)

    def params(self) -> Params:
        rngs = [stream("test.weights", seed) for seed in self.seeds]
        W_EMD = torch.from_numpy(np.array([rng.standard_normal((4, 3)) for rng in rngs]))
        out_EM = torch.from_numpy(np.array([rng.standard_normal(4) for rng in rngs]))
        start_E = torch.tensor([c.start for c in self.configs], dtype=torch.float64)
        return {"W": W_EMD, "b": start_E[:, None].repeat(1, 4), "out": out_EM}

    def draws(self, step: int) -> tuple[Tensor, Tensor]:
        self.asked.append(step)
        batch = slice(4 * (step % 3), 4 * (step % 3) + 4)
        return self.x_END[:, batch], self.y_EN[:, batch]

    # Products and sums only, which round alike however many members there are.
    def loss(self, params: Params, draws: tuple[Tensor, Tensor]) -> Tensor:
        x_END, y_EN = draws
        hidden_ENM = (x_END[:, :, None] * params["W"][:, None]).sum(-1) + params["b"][:, None]
        output_EN = (hidden_ENM.relu() * params["out"][:, None]).sum(-1)
        return (output_EN - y_EN).square().mean(-1)


def by_torch(config: Curve, seed: int, lengths: Sequence[int], *, restart: bool = True) -> Params:
    """One member trained by torch.optim on its own."""
    job = CurveJob([config], [seed])
    leaves = {name: p.requires_grad_() for name, p in job.params().items()}
    rates = [phase.rates for phase in config.phases()]
    step, optimizer = 0, None
    for length, rate in zip(lengths, rates, strict=True):
        groups = [
            {"params": [p], "lr": config.lr * rate.get(name, 1.0)} for name, p in leaves.items() if rate.get(name) != 0
        ]
        if restart or optimizer is None:
            adam = config.method == "adam"
            optimizer = torch.optim.Adam(groups, betas=(0.8, 0.95)) if adam else torch.optim.SGD(groups)
        for _ in range(length):
            optimizer.zero_grad()
            job.loss(leaves, job.draws(step)).sum().backward()
            optimizer.step()
            step += 1
    return {name: p.detach() for name, p in leaves.items()}


def assert_close(one: Params, other: Params) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-11, atol=1e-12)


def assert_bits(one: Params, other: Params) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


# Optimisers


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_a_member_trains_as_by_torchs_own_optimiser(method):
    config = Curve(method=method)
    snapshot = fit([config], [0])
    assert_close(snapshot.params, by_torch(config, 0, (10,)))
    moved = (snapshot.params["W"] - CurveJob([config], [0]).params()["W"]).abs().max()
    assert moved > 0.05 and snapshot.step == 10 and snapshot.status == ["ok"]


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_each_member_has_its_own_rate_start_and_data(method):
    own = ((0.1, 0.3, 1.0), (0.02, -0.2, 2.0), (0.0, 0.0, 1.0))
    configs = [Curve(method=method, lr=lr, start=start, scale=scale) for lr, start, scale in own]
    snapshot = fit(configs, [0, 1, 2])
    for e, config in enumerate(configs):
        assert_close(snapshot.take([e]).params, by_torch(config, e, (10,)))


@pytest.mark.parametrize("method", ["sgd", "adam"])
@pytest.mark.parametrize("slow", [0.0, 0.25, 3.0])
def test_a_multiplier_scales_the_rate_of_one_parameter_and_0_freezes_it(method, slow):
    config = Curve(method=method, slow=slow)
    snapshot = fit([config], [0])
    assert_close(snapshot.params, by_torch(config, 0, (10,)))
    unmoved = torch.equal(snapshot.params["W"], CurveJob([config], [0]).params()["W"])
    assert unmoved == (slow == 0)


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_phases_follow_each_other_and_the_optimiser_starts_anew_in_each(method):
    config = Curve(method=method, split="two", slow=0.0, late=2.0)
    snapshot = fit([config], [0])
    assert_close(snapshot.params, by_torch(config, 0, (4, 6)))
    assert snapshot.step == 10
    if method == "adam":
        kept = Curve(method=method, split="two")
        assert_close(fit([kept], [0]).params, by_torch(kept, 0, (4, 6)))
        on = by_torch(kept, 0, (4, 6), restart=False)
        assert (fit([kept], [0]).params["out"] - on["out"]).abs().max() > 1e-3


def test_plain_descent_does_not_feel_where_a_phase_ends():
    assert_bits(fit([Curve(split="two")], [0]).params, fit([Curve()], [0]).params)


@pytest.mark.parametrize("split", SPLITS)
def test_every_step_has_its_draws_once_and_in_order(split):
    CurveJob.asked.clear()
    fit([Curve(split=split)], [0])
    assert CurveJob.asked == list(range(10))


def test_without_steps_the_members_are_as_they_began():
    configs = [Curve(split="steps", steps=0, start=s) for s in (0.1, 0.2)]
    snapshot = fit(configs, [3, 4])
    assert_bits(snapshot.params, CurveJob(configs, [3, 4]).params())
    assert (snapshot.step, snapshot.status, list(snapshot.members)) == (0, ["ok", "ok"], [0, 1])


# Watching


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("steps", [(), (0, 10), (3, 4, 7), (7, 3, 3), range(11), (-1, 25, 4)])
def test_watch_is_called_once_at_the_start_at_each_of_its_steps_and_at_the_end(split, steps):
    seen = {}
    fit([Curve(split=split)], [0], watch=stopping([10], seen), watch_steps=steps)
    assert list(seen) == sorted({0, 10, *(s for s in steps if 0 <= s <= 10)})


def test_watch_is_called_once_where_there_is_nothing_to_train():
    seen = {}
    fit([Curve(split="steps", steps=0)], [0], watch=stopping([1], seen))
    assert list(seen) == [0]


def test_what_is_watched_is_what_a_shorter_training_would_have_ended_with():
    configs, seeds = [Curve(split="steps", steps=9, start=s) for s in (0.1, 0.2)], [5, 6]
    seen = {}
    fit(configs, seeds, watch=stopping([9, 9], seen), watch_steps=(4, 6))
    assert list(seen) == [0, 4, 6, 9]
    for step, snapshot in seen.items():
        assert_bits(snapshot.params, fit([c.replace({"steps": step}) for c in configs], seeds).params)
        assert list(snapshot.configs) == configs and list(snapshot.seeds) == seeds


def stopping(at, seen=None):
    """A watch that is done with member i once step at[i] is there, and that keeps the snapshots by step."""

    def watch(snapshot):
        if seen is not None:
            assert snapshot.step not in seen
            seen[snapshot.step] = snapshot
        return [snapshot.step >= at[i] for i in snapshot.members]

    return watch


@pytest.mark.parametrize("method", ["sgd", "adam"])
@pytest.mark.parametrize("split", ["steps", "two"])
def test_finished_members_leave_and_the_others_go_on_with_the_numbers_they_would_have_had(method, split):
    configs = [Curve(method=method, split=split, lr=0.02 * (1 + i), start=0.1 * i) for i in range(6)]
    seeds, at, calls = [3, 1, 4, 1, 5, 9], [10, 2, 10, 6, 0, 6], {}
    end = fit(configs, seeds, watch=stopping(at, calls), watch_steps=(2, 6))
    assert {step: tuple(s.members) for step, s in calls.items()} == {
        0: (0, 1, 2, 3, 4, 5),
        2: (0, 1, 2, 3, 5),
        6: (0, 2, 3, 5),
        10: (0, 2),
    }
    assert list(end.members) == list(range(6)) and list(end.configs) == configs and list(end.seeds) == seeds
    assert end.step == 10 and end.status == ["ok"] * 6
    whole = {}
    fit(configs, seeds, watch=stopping([10] * 6, whole), watch_steps=(2, 6))
    for i, step in enumerate(at):
        assert_bits(end.take([i]).params, whole[step].take([i]).params)


def test_training_ends_when_the_last_member_is_finished():
    calls = {}
    CurveJob.asked.clear()
    end = fit([Curve(split="two")] * 3, [0, 1, 2], watch=stopping([3, 1, 3], calls), watch_steps=(1, 3))
    assert sorted(calls) == [0, 1, 3] and CurveJob.asked == [0, 1, 2]
    assert end.step == 3 and list(end.members) == [0, 1, 2]


def test_early_stopping_leaves_a_real_network_its_bits():
    configs = [OneLayer(m=16, B=8, steps=20, lr=0.2 * (1 + i % 3), alpha=0.4 + i / 20) for i in range(7)]
    seeds, at = range(7), [20, 0, 9, 20, 9, 16, 20]
    end = fit(configs, seeds, watch=stopping(at), watch_steps=(9, 16))
    for i, step in enumerate(at):
        alone = fit([configs[i].replace({"steps": step})], [i])
        assert_bits(end.take([i]).params, alone.params)


# Members that fail


def test_a_diverged_member_is_marked_and_leaves_the_others_their_bits():
    configs = [OneLayer(m=16, B=8, steps=30, lr=lr) for lr in (0.5, 1e12, 1.0, 1e6)]
    end = fit(configs, range(4))
    assert end.status[::2] == ["ok", "ok"] and "diverged" in end.status[1::2]
    assert end.status[1] == "diverged" and not all(p[1].isfinite().all() for p in end.params.values())
    for e in (0, 2):
        assert_bits(end.take([e]).params, fit([configs[e]], [e]).params)


def test_a_member_that_diverged_stays_marked():
    seen = {}
    watch = stopping([10, 10], seen)
    fit([Curve(lr=0.01, start=3.0), Curve(lr=1e9)], [0, 0], watch=watch, watch_steps=range(10))
    good, bad = zip(*(snapshot.status for snapshot in seen.values()), strict=True)
    assert set(good) == {"ok"}
    assert bad[-1] == "diverged" and list(bad) == sorted(bad, key="diverged".__eq__)


def test_weights_that_are_no_numbers_are_diverged_even_if_the_last_loss_was_one():
    end = fit([Curve(split="steps", steps=1, lr=lr) for lr in (0.1, 1e308)], [0, 0])
    assert not end.params["W"][1].isfinite().all()
    assert end.status == ["ok", "diverged"]


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_a_network_in_which_no_neuron_fires_is_dead(method):
    starts = (0.3, -1e3, 0.1)
    configs = [Curve(method=method, split="steps", steps=30, lr=0.01, start=start) for start in starts]
    end = fit(configs, [0, 1, 2])
    assert end.status == ["ok", "dead", "ok"]
    for e in (0, 2):
        assert_bits(end.take([e]).params, fit([configs[e]], [e]).params)


def test_a_dead_network_is_one_that_answers_nothing():
    end = fit([OneLayer(lr=10.0, steps=100)] * 8, range(8))
    prompts = TestSet(l=20, alpha=0.8, prompts=400).ensemble(end)
    output_EB = outputs(end, prompts)
    silent_E = (output_EB == 0).float().mean(-1) > 0.95
    assert end.status == ["dead" if silent else "ok" for silent in silent_E]
    assert silent_E.any() and (error(output_EB, prompts.target_EB)[silent_E] > 0.95).all()


def test_a_few_batches_that_move_nothing_do_not_make_a_network_dead():
    # With one prompt in a batch, many a batch is one for which no neuron fires. Two of these networks stay as they are
    # for longer than is waited for; five would be called dead if one batch were enough.
    seen, count = {}, 80
    watch = stopping([230] * count, seen=seen)
    fit([OneLayer(B=1, steps=230)] * count, range(count), watch=watch, watch_steps=(200,))
    before, after = seen[200], seen[230]
    still = [all(torch.equal(after.params[n][e], before.params[n][e]) for n in after.params) for e in range(count)]
    assert len([e for e in range(count) if before.status[e] == "dead" and not still[e]]) <= 3


def test_a_member_that_has_learned_everything_is_not_dead():
    end = fit([OneLayer(m=16, B=4, l_tr=40, steps=400, alpha=1.0, lr=1.0)], [0])
    job = OneLayer.job(end.configs, [0], "cpu")
    assert float(job.loss(end.params, job.draws(399))) == 0.0
    assert end.status == ["ok"]


# Chunks, to the bit


SIZES = {
    "registered": OneLayer(steps=6),
    "odd": OneLayer(M1=5, M2=6, d_Y=3, m=33, B=17, l_tr=7, steps=12),
    "standard workload": OneLayer(d_Y=30, m=400, B=200, steps=2),
}


@pytest.fixture(scope="module", params=SIZES)
def ensemble(request):
    """64 members that differ in everything they may have of their own, and the weights that they end with together."""
    changes = [{}, {"alpha": 0.4, "lr": 1.0}, {"tasks": "all", "beta": 1.0}, {"delta": 0.3, "xi": 0.1, "kappa": 0.2}]
    configs = [SIZES[request.param].replace(changes[i % 4]) for i in range(64)]
    seeds = [i // 4 for i in range(64)]
    return configs, seeds, fit(configs, seeds)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_trained_weights_are_the_same_to_the_bit_in_chunks_of_any_size(size, ensemble):
    configs, seeds, together = ensemble
    for begin in (0, 24, 61):
        chunk = list(range(begin, min(begin + size, 64)))
        alone = fit([configs[i] for i in chunk], [seeds[i] for i in chunk])
        assert_bits(alone.params, together.take(chunk).params)


def test_the_order_of_the_members_does_not_matter(ensemble):
    configs, seeds, together = ensemble
    order = [5, 60, 2, 33, 2]
    shuffled = fit([configs[i] for i in order], [seeds[i] for i in order])
    assert_bits(shuffled.params, together.take(order).params)


# Compiled


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler, and there is no g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its compiler against its own library
def test_compiled_training_agrees():
    configs = [OneLayer(m=8, B=8, M2=6, l_tr=6, steps=40, lr=lr) for lr in (0.3, 0.5)]
    eager, compiled = fit(configs, [0, 1]), fit(configs, [0, 1], compile=True)
    assert compiled.status == eager.status and compiled.step == eager.step
    for name, p in eager.params.items():
        torch.testing.assert_close(compiled.params[name], p, rtol=1e-3, atol=1e-4)
    first = OneLayer.job(configs, [0, 1], "cpu").params()
    assert all((eager.params[name] - first[name]).abs().max() > 0.01 for name in ("W_Q", "W_K", "W_V", "W_O"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its compiler against its own library
@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_network_is_one_program_whatever_the_number_of_members(kind, monkeypatch):
    # Without the compiler itself, which would take seconds, and refusing what would be in pieces.
    whole = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr("lemmata.lab.compiled.torch.compile", whole)
    config = WORKLOADS[kind].config.replace({"steps": 2})
    programs = []
    for members in (2, 5, 3):
        eager, compiled = config.train(range(members)), config.train(range(members), compile=True)
        for name, p in eager.params.items():
            torch.testing.assert_close(compiled.params[name], p, rtol=1e-5, atol=1e-6)
        programs.append(counters["stats"]["unique_graphs"])
    assert programs == [programs[0]] * 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_program_serves_however_many_are_spared(monkeypatch):
    whole = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr("lemmata.lab.compiled.torch.compile", whole)
    config = OneLayer(m=16, B=40, M2=6, l_tr=8, steps=250)
    configs = [config.replace({"lr": lr}) for lr in (1.0, 0.6, 0.4, 0.3, 0.2, 0.1)]
    before = counters["stats"]["unique_graphs"]
    compiled = fit(configs, range(6), compile=True)
    # The whole step, and outputs alone of several members and of one.
    assert counters["stats"]["unique_graphs"] - before <= 3
    for name, p in fit(configs, range(6)).params.items():
        torch.testing.assert_close(compiled.params[name], p, rtol=1e-3, atol=1e-4)


def test_who_leaves_does_not_make_another_member_alive():
    configs = [OneLayer(lr=10.0, steps=100)] * 8
    alone = fit(configs, range(8))
    dead = alone.status.index("dead")
    watch = stopping([100 if i == dead else 96 for i in range(8)], seen={})
    assert fit(configs, range(8), watch=watch, watch_steps=(96,)).status[dead] == "dead"


# Snapshots


def test_a_snapshot_is_taken_apart_by_position():
    snapshot = fit([Curve(lr=lr) for lr in (0.1, 0.02, 0.03)], [7, 8, 9])
    part = snapshot.take([2, 0])
    assert [c.lr for c in part.configs] == [0.03, 0.1] and list(part.seeds) == [9, 7] and list(part.members) == [2, 0]
    assert torch.equal(part.params["W"], snapshot.params["W"][[2, 0]]) and part.step == 10
    pruned = part.with_params({"W": torch.zeros(2, 4, 3)})
    assert not pruned.params["W"].any() and pruned.seeds == part.seeds and part.params["W"].any()
    assert snapshot.device == torch.device("cpu")
