"""The constants of the data that every network of this paper is trained on, and the draws of its training steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from lemmata.cot.data import CONTROLS, TASK_SETS, Prompts, TaskSet, fill, task_set
from lemmata.lab.ensemble import Job, Params
from lemmata.lab.errors import ConstantError
from lemmata.lab.job import StackedJob
from lemmata.lab.losses import squared_distance
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, constant

__all__ = ["Reasoning"]


@dataclass(frozen=True, kw_only=True)
class Reasoning(Trainee):
    """Fresh prompts in every step: the data constants of `lemmata.cot.data`, and the squared loss."""

    lr: float = constant(1.0, "learning rate eta", origin="chosen", room="training", low=0)
    steps: int = constant(1000, "gradient steps T", origin="given", room="training", low=0, shape=True)
    d_X: int = constant(30, "dimension of a pattern", origin="chosen", room="data", low=2)
    M: int = constant(20, "number of TRR patterns", origin="chosen", room="data", low=4, high=1000, shape=True)
    K: int = constant(3, "reasoning steps of a task", origin="given", room="data", low=1, high=20, shape=True)
    alpha: float = constant(
        0.4, "share of examples that start where the query does", origin="given", room="data", low=0, high=1
    )
    l_tr: int = constant(20, "examples in a training prompt", origin="chosen", room="data", low=1, high=10000)
    tasks: str = constant("shifts", "training tasks T_tr", origin="chosen", room="data", choices=TASK_SETS)
    c_tr: float = constant(0.0, "correlation of the TRR patterns", origin="chosen", room="data", low=0, high=0.99)
    B: int = constant(64, "prompts in a batch", origin="chosen", room="data", low=1, shape=True)

    def validate(self) -> None:
        """Patterns must fit into their space, and halves of them need an even number."""
        if self.d_X < self.M:
            fix = "raise d_X, or lower M"
            raise ConstantError(f"M of at most d_X = {self.d_X} independent patterns", f"M = {self.M}", fix)
        if self.alpha == 0:
            fix = "choose alpha above 0: without an example that starts where the query does nothing can be learned"
            raise ConstantError("alpha in (0, 1]", "0", fix)
        if self.tasks in CONTROLS and self.M % 2:
            fix = "choose an even M, or tasks=shifts"
            raise ConstantError(f"an even M for tasks={self.tasks}, which halves the patterns", f"M = {self.M}", fix)

    @abstractmethod
    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""

    @staticmethod
    @abstractmethod
    def forward(params: Params, prompts: Prompts) -> Tensor:
        """The network's outputs on an ensemble's prompts, in the coordinates of the patterns' span: output_EBM."""

    @staticmethod
    @abstractmethod
    def attentions(params: Params, prompts: Prompts) -> Tensor:
        """The query's attention in every layer and head, attn_ENHBKM, as in `lemmata.cot.probes`."""

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members, on the squared loss."""
        return StackedJob(configs, seeds, device, loss=cls.loss, draws=_training_draws(configs, seeds, device))

    @classmethod
    def loss(cls, params: Params, prompts: Prompts) -> Tensor:
        """|z_k - F|^2 / 2, the mean over the prompts: (E,)."""
        return squared_distance(cls.forward(params, prompts), _target(prompts))

    def task_set(self, seed: int) -> TaskSet:
        """The training tasks of one member."""
        return task_set(self.tasks, self.M, self.K, stream("cot.tasks", self.axes("data"), seed))


def _target(prompts: Prompts) -> Tensor:
    """The label's pattern z_k in the coordinates of the span, target_EBM."""
    M = prompts.step_EBKM.shape[-1]
    target_EB1 = prompts.target_EB.unsqueeze(-1)
    if prompts.row_EMM is None:
        return prompts.log_count_EBKM.new_zeros(*target_EB1.shape[:2], M).scatter_(2, target_EB1, 1.0)
    return prompts.row_EMM.gather(1, target_EB1.expand(-1, -1, M))


def _training_draws(configs: Sequence[Reasoning], seeds: Sequence[int], device: str) -> Blocks[Prompts]:
    """The prompts of each step for an ensemble, as `Job.draws` wants them."""
    first = configs[0]
    # One piece of memory for all blocks: fresh pages would cost more than the numbers that are written to them.
    correlated = any(config.c_tr > 0 for config in configs)
    memory = Prompts.empty(len(configs), BLOCK * first.B, first.K, first.M, correlated=correlated)
    tasks = [config.task_set(seed) for config, seed in zip(configs, seeds, strict=True)]

    def block(b: int) -> list[Prompts]:
        for e, (config, seed) in enumerate(zip(configs, seeds, strict=True)):
            rng = stream("cot.prompts", config.axes("data"), seed, b)
            fill(rng, memory.member(e), config.l_tr, alpha=config.alpha, tasks=tasks[e], correlation=config.c_tr)
        return memory.to(device).split(first.B)

    return Blocks(block)
