"""A language model that learns three books and is then fine-tuned on one (Li et al., arXiv 2504.10957, Table E).

    symbol    meaning                                             parameter
    Psi^(0)   weights of the model that knows all three books     "base.NAME", NAME as in `language_model`
    Delta     task vector of the edited book                      "delta.NAME", or its factors of LoRA
    Psi       an edit, Psi^(0) + lambda Delta; lambda = -1 is meant to forget the book

Two phases. The paper takes a model that has read its books, among much else; a small checkpoint has read none, so
first all weights learn the three books, which stands for the pre-training. Then the base stays, and LoRA or a change of
all weights is fitted to the edited book. Both minimise the mean cross-entropy of the next token.

The two books of one author are aligned tasks, that of another author is the less aligned one. Members are trained one
after another: a language model fills the machine alone.

Shapes: E members, B windows of a batch, L tokens of a window, V words of the vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self, final

import torch
from torch import Tensor
from torch.nn import functional as F

from lemmata.editing import books, language_model, vectors
from lemmata.editing.books import BOOKS, Passages
from lemmata.editing.language_model import TARGETS
from lemmata.lab.ensemble import Adam, Job, Params, Phase
from lemmata.lab.errors import ConstantError
from lemmata.lab.job import StackedJob
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, constant

__all__ = ["ROLES", "TUNINGS", "Batch", "Language", "edited", "task_vector", "token_loss"]

ROLES = ("edited", "sibling", "unrelated")
TUNINGS = ("lora", "full")
# Measured: its wide products run so many times as fast as a plan's minutes are reckoned with.
PACE = 2.5


def _book(default: str, meaning: str) -> str:
    return constant(default, meaning, origin="chosen", room="data", choices=BOOKS)


@final
class Batch(NamedTuple):
    """Windows of each member, token_EBL, and whether they are for the fine-tuning."""

    token_EBL: Tensor
    tunes: bool


@final
@dataclass(frozen=True, kw_only=True)
class Language(Trainee):
    """The base on three books, then the task vector of one; Adam, of which `lr` is the rate in the fine-tuning."""

    kind: ClassVar[str] = "editing.language"
    version: ClassVar[int] = 1
    together: ClassVar[int] = 1

    lr: float = constant(3e-3, "learning rate of the fine-tuning", origin="chosen", room="training", low=0)
    steps: int = constant(40, "gradient steps of fine-tuning", origin="chosen", room="training", low=0, shape=True)
    pre_ratio: float = constant(
        4.0, "steps on three books for one of fine-tuning", origin="chosen", room="training", low=0, shape=True
    )
    pre_lr_ratio: float = constant(
        1.0, "learning rate on three books, in units of lr", origin="chosen", room="training", low=0, shape=True
    )
    checkpoint: str = constant("stories260k", "folder below the data root", origin="chosen", room="network", shape=True)
    edited: str = _book("doyle-adventures_of_sherlock_holmes", "the book that is unlearned")
    sibling: str = _book("doyle-memoirs_of_sherlock_holmes", "a book of the same author")
    unrelated: str = _book("austen-pride_and_prejudice", "a book of another author")
    window: int = constant(128, "tokens of a passage", origin="chosen", room="data", low=2, shape=True)
    seen: int = constant(64, "passages of each book that are trained on", origin="chosen", room="data", low=1)
    B: int = constant(24, "passages in a batch", origin="chosen", room="data", low=1, shape=True)
    tuning: str = constant(
        "lora", "what the fine-tuning moves", origin="given", room="network", choices=TUNINGS, shape=True
    )
    rank: int = constant(8, "rank r of LoRA", origin="chosen", room="network", low=1, shape=True)
    lora_alpha: int = constant(16, "scale of LoRA times r", origin="chosen", room="network", low=0, shape=True)
    targets: str = constant(
        "all-linear",
        "matrices with LoRA",
        origin="chosen",
        room="network",
        choices=tuple(TARGETS),
        shape=True,
    )

    def validate(self) -> None:
        """Three different books, and the name of a folder."""
        names = [getattr(self, role) for role in ROLES]
        if len(set(names)) < len(names):
            fix = "name three books, the edited one and its sibling of one author"
            raise ConstantError("different books as edited, sibling and unrelated", ", ".join(names), fix)
        if not self.checkpoint or self.checkpoint.strip(".") == "" or {"/", "\\"} & set(self.checkpoint):
            fix = "put the checkpoint into a folder of its own below that of --data, and give its name"
            raise ConstantError("checkpoint as the name of a folder", repr(self.checkpoint), fix)

    @property
    def pre_steps(self) -> int:
        """Gradient steps on three books."""
        return round(self.pre_ratio * self.steps)

    @property
    def total(self) -> int:
        """Gradient steps of both phases."""
        return self.pre_steps + self.steps

    def optimizer(self) -> Adam:
        """Adam, as usual for language models."""
        return Adam()

    def phases(self) -> tuple[Phase, ...]:
        """The base moves, then the task vector."""
        names = list(self.weights(0))
        rates = {name: self.pre_lr_ratio for name in names} | vectors.frozen(names, "delta")
        return (Phase(self.pre_steps, rates), Phase(self.steps, vectors.frozen(names, "base")))

    def operations(self) -> float:
        """Floating-point operations of one forward pass of one token, about, in the measure of a plan."""
        return 2.0 * language_model.size(self.checkpoint) / PACE

    def work(self) -> float:
        """Forward, and twice that backward, in all steps."""
        return 3.0 * self.operations() * self.B * self.window * self.total

    def weights(self, seed: int) -> Params:
        """First parameters of one member, without the member axis: the checkpoint, and a task vector of zero."""
        base = language_model.weights(self.checkpoint)
        first = {vectors.BASE + name: p for name, p in base.items()}
        if self.tuning == "full":
            return first | {vectors.DELTA + name: torch.zeros_like(p) for name, p in base.items()}
        rng = stream("editing.language.lora", self.axes("network"), seed)
        for name, factors in self.factors().items():
            # Uniform in +-1/sqrt(in), which is peft's own choice.
            A = (2 * rng.random(factors.A) - 1) / factors.A[1] ** 0.5
            first[f"{vectors.DELTA}{name}.lora_A"] = torch.from_numpy(A).float()
            first[f"{vectors.DELTA}{name}.lora_B"] = torch.zeros(factors.B)
        return first

    def factors(self) -> dict[str, language_model.Factors]:
        """The matrices that LoRA changes."""
        return dict(language_model.factors(self.checkpoint, self.rank, self.lora_alpha, self.targets))

    def passages(self, role: str, seed: int) -> Passages:
        """The windows of one of the three books: those of a seed are the same in every role and at any rate."""
        book = getattr(self, role)
        window_NL = books.windows(language_model.tokens(self.checkpoint, book), self.window)
        return books.passages(window_NL, self.seen, book, self.window, seed)

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members."""
        network = copy.deepcopy(language_model.model(configs[0].checkpoint)).to(device)

        def loss(params: Params, batch: Batch) -> Tensor:
            each = []
            for e, config in enumerate(configs):
                member = {name: p[e] for name, p in params.items()}
                weights = edited(config, member, 1.0) if batch.tunes else vectors.base(member)
                token_BL = batch.token_EBL[e]
                each.append(token_loss(language_model.logits(network, weights, token_BL), token_BL).mean())
            return torch.stack(each)

        return StackedJob(configs, seeds, device, loss=loss, draws=_draws(configs, seeds, device))


def task_vector(config: Language, member: Params) -> Params:
    """The task vector Delta of one member (params without the member axis), for the weights that it changes."""
    delta = vectors.deltas(member)
    if config.tuning == "full":
        return delta
    return {
        name: factors.change(delta[f"{name}.lora_A"], delta[f"{name}.lora_B"])
        for name, factors in config.factors().items()
    }


def edited(config: Language, member: Params, coefficient: float) -> Params:
    """The weights Psi^(0) + lambda Delta of one member, by the names of its checkpoint."""
    change = task_vector(config, member)
    return {name: p + coefficient * change[name] if name in change else p for name, p in vectors.base(member).items()}


def token_loss(logit_BLV: Tensor, token_BL: Tensor) -> Tensor:
    """Cross-entropy of every token but the first given those before it, loss_BL with L - 1 columns.

    >>> token_loss(torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]])).exp().round().tolist()
    [[4.0, 4.0]]
    """
    next_BL = token_BL[:, 1:]
    return F.cross_entropy(logit_BLV[:, :-1].flatten(0, 1), next_BL.flatten(), reduction="none").view_as(next_BL)


def _draws(configs: Sequence[Language], seeds: Sequence[int], device: str) -> Blocks[Batch]:
    """The batches of each step of both phases, as `Job.draws` wants them."""
    first, members = configs[0], list(zip(configs, seeds, strict=True))
    pools = [[config.passages(role, seed).seen_NL for role in ROLES] for config, seed in members]

    def blocks(name: str, roles: int, tunes: bool) -> Blocks[Batch]:
        def block(b: int) -> list[Batch]:
            rngs = [stream(name, config.axes("data"), seed, b) for config, seed in members]
            drawn = [
                books.draw(rng, pool[:roles], steps=BLOCK, B=first.B) for rng, pool in zip(rngs, pools, strict=True)
            ]
            return [Batch(step_EBL, tunes) for step_EBL in torch.stack(drawn, 1).to(device)]

        return Blocks(block)

    before = blocks("editing.language.base", len(ROLES), False)
    after = blocks("editing.language.tuning", 1, True)

    def both(b: int) -> list[Batch]:
        steps = range(b * BLOCK, (b + 1) * BLOCK)
        return [before(s) if s < first.pre_steps else after(s - first.pre_steps) for s in steps]

    return Blocks(both)
