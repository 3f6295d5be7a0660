"""The constants of the data that every network of this paper is trained on, and the draws of its training steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from lemmata.icl.data import EVEN_ONLY, SAMPLERS, TASK_SETS, Prompts, exact_count, fill, task_set
from lemmata.lab.ensemble import Job, Params
from lemmata.lab.errors import ConstantError
from lemmata.lab.job import HingeJob
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, constant

__all__ = ["Prompting"]


@dataclass(frozen=True, kw_only=True)
class Prompting(Trainee):
    """Fresh prompts in every step: the data constants of `lemmata.icl.data`."""

    M1: int = constant(6, "number of IDR patterns", origin="given", room="data", low=3, high=100, shape=True)
    M2: int = constant(24, "number of IDI patterns", origin="given", room="data", low=1, high=127, shape=True)
    beta: float = constant(2.0, "norm of the patterns", origin="chosen", room="data", low=0)
    kappa: float = constant(0.5, "K: kappa ~ U(-K, K)", origin="chosen", room="data", low=0)
    alpha: float = constant(0.8, "share of examples with mu_a or mu_b", origin="given", room="data", low=0, high=1)
    l_tr: int = constant(20, "training prompt length", origin="given", room="data", low=1, shape=True)
    l_min: int = constant(
        0, "shortest training prompt, 0: all of l_tr", origin="chosen", room="data", low=0, shape=True
    )
    tasks: str = constant("cyclic-3", "training tasks T_tr", origin="chosen", room="data", choices=TASK_SETS)
    sampler: str = constant("iid", "how examples are drawn", origin="chosen", room="data", choices=SAMPLERS)
    B: int = constant(128, "prompts in a batch", origin="chosen", room="data", low=1, shape=True)

    def validate(self) -> None:
        """A task needs its own patterns, a range of lengths two ends, and exact counts must fit into the prompt."""
        if self.tasks in EVEN_ONLY and (self.M1 % 2 or self.M1 < 4):
            expected = f"an even M1 of at least 4 for tasks={self.tasks}, which pairs or halves the patterns"
            raise ConstantError(expected, f"M1 = {self.M1}", "change M1, or train on tasks=cyclic")
        if self.alpha == 0:
            raise ConstantError("alpha in (0, 1]", "0", "choose alpha above 0: a task needs its own patterns")
        if self.l_min > self.l_tr:
            raise ConstantError(f"l_min of at most l_tr = {self.l_tr}", str(self.l_min), "lower l_min or raise l_tr")
        if self.sampler == "exact":
            exact_count(self.alpha, self.l_tr)
            if self.l_min:
                expected = "l_min = 0 with sampler=exact, since a drawn length cannot always hold the counts"
                raise ConstantError(expected, f"l_min = {self.l_min}", "set l_min to 0, or sampler=iid")

    @abstractmethod
    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""

    @staticmethod
    @abstractmethod
    def forward(params: Params, prompts: Prompts) -> Tensor:
        """The network's outputs F on an ensemble's prompts, output_EB."""

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members, on the hinge loss."""
        draws = _training_draws(configs, seeds, device)
        return HingeJob(configs, seeds, device, gap=cls._gap, take=Prompts.take, draws=draws)

    @classmethod
    def _gap(cls, params: Params, prompts: Prompts) -> Tensor:
        return 1 - prompts.target_EB * cls.forward(params, prompts)

    def fill(self, prompts: Prompts, seed: int, block: int) -> None:
        """Write one member's training prompts of one block of steps, BLOCK * B of them."""
        rng = stream("icl.prompts", self.axes("data"), seed, block)
        tasks = task_set(self.tasks, self.M1)
        fill(
            rng,
            prompts,
            alpha=self.alpha,
            kappa=self.kappa,
            beta=self.beta,
            tasks=tasks,
            M1=self.M1,
            M2=self.M2,
            sampler=self.sampler,
        )

    def lengths(self, block: int) -> Sequence[int]:
        """The prompt length of each step of a block: l_tr, or uniform on l_min .. l_tr.

        Members share the lengths of their steps, whatever their seed, since a step has one shape.
        """
        if self.l_min == 0:
            return [self.l_tr] * BLOCK
        rng = stream("icl.lengths", self.l_min, self.l_tr, block)
        return rng.integers(self.l_min, self.l_tr, BLOCK, endpoint=True).tolist()


def _training_draws(configs: Sequence[Prompting], seeds: Sequence[int], device: str) -> Blocks[Prompts]:
    """The prompts of each step for an ensemble, as `Job.draws` wants them."""
    config = configs[0]
    # One piece of memory for all blocks: fresh pages would cost more than the numbers that are written to them.
    memory = Prompts.empty(len(configs), BLOCK * config.B, config.l_tr)

    def block(b: int) -> list[Prompts]:
        for e, (member, seed) in enumerate(zip(configs, seeds, strict=True)):
            member.fill(memory.member(e), seed, b)
        steps = memory.to(device).split(config.B)
        return [p.first(length) for p, length in zip(steps, config.lengths(b), strict=True)]

    return Blocks(block)
