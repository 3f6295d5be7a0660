"""Test prompts, in-domain and out-of-domain, and the errors of trained networks on them.

Test prompts are a function of the seed and of the kind of prompt, never of what the network was trained on: two
networks under one seed answer the same prompts, and so do the alpha' and S_1 of one measure, so that differences
between them are differences of the networks. A prompt's first l examples are the test prompt of length l.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from lemmata.icl.data import Prompts, Shift, draw, stack, task_set, unseen
from lemmata.icl.prompting import Prompting
from lemmata.lab.ensemble import Snapshot
from lemmata.lab.errors import ConstantError
from lemmata.lab.losses import error, hinge
from lemmata.lab.measures import FirstPassage, Watched, joined, rows
from lemmata.lab.streams import stream
from lemmata.lab.trainee import Measure, Row, coordinate

__all__ = ["ErrorCurve", "ErrorPassage", "TestSet", "check_test", "outputs"]

# Prompts that a network answers at once: the activations of a deep one then stay within a few megabytes a member.
SLICE = 256


@final
@dataclass(frozen=True, kw_only=True)
class TestSet:
    """Test prompts of length l; with an S_1 out of domain, on M1' = 3 ODR patterns drawn anew for each seed."""

    __test__: ClassVar[bool] = False  # not a pytest class

    l: int
    alpha: float
    prompts: int = 4096
    tasks: Literal["unseen", "all"] = "all"
    S_1: float | None = None

    def member(self, config: Prompting, seed: int) -> Prompts:
        """The prompts of one member, E = 1."""
        if self.S_1 is None:
            tasks, M1, axis_EVD = task_set("all", config.M1), config.M1, None
            if self.tasks == "unseen":
                tasks = unseen(config.tasks, config.M1)
        else:
            shift = Shift(config.M1, config.M2, self.S_1)
            tasks, M1 = task_set("all", shift.M1_test), shift.M1_test
            axis_EVD = shift.axes(stream("icl.test.patterns", config.M1, config.M2, seed))[None]
        drawn = draw(
            stream("icl.test", M1, config.M2, self.l, self.prompts, seed),
            self.prompts,
            self.l,
            alpha=self.alpha,
            kappa=config.kappa,
            beta=config.beta,
            tasks=tasks,
            M1=M1,
            M2=config.M2,
        )
        return drawn if axis_EVD is None else drawn.on(axis_EVD)

    def ensemble(self, snapshot: Snapshot) -> Prompts:
        """The prompts of every member of a snapshot."""
        members = [self.member(config, seed) for config, seed in zip(snapshot.configs, snapshot.seeds, strict=True)]
        return stack(members).to(snapshot.device)


def check_test(config: Prompting, alphas: Sequence[float], sums: Sequence[float]) -> None:
    """Refuse test prompts that cannot be drawn.

    Raises:
        ConstantError: an alpha' outside (0, 1], or an S_1 that no orthonormal patterns have.
    """
    for alpha in alphas:
        if not 0 < alpha <= 1:
            raise ConstantError(
                "alpha_test (share of the test examples with mu_a or mu_b) in (0, 1]",
                f"{alpha:g}",
                "choose it in (0, 1]",
            )
    for S_1 in sums:
        Shift(config.M1, config.M2, S_1).check()


def outputs(snapshot: Snapshot, prompts: Prompts) -> Tensor:
    """The outputs F of every member on its prompts, output_EB."""
    network = snapshot.configs[0].forward
    with torch.no_grad():
        return torch.cat([network(snapshot.params, part) for part in prompts.split(SLICE)], -1)


@final
@dataclass(frozen=True, kw_only=True)
class ErrorCurve(Measure):
    """0-1 error, hinge loss and the margin's low quantile against the number of examples, after training.

    Without an `S_1` the prompts are in-domain.
    """

    name: ClassVar[str] = "error-curve"

    lengths: tuple[int, ...] = (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
    alpha_test: tuple[float, ...] = coordinate((0.8,), "alpha' of the test prompts", origin="given")
    S_1: tuple[float, ...] = coordinate((), "coefficient sum of the out-of-domain patterns", origin="given")
    tasks: Literal["unseen", "all"] = "all"
    prompts: int = 4096
    quantile: float = 0.05

    def validate(self, config: Prompting) -> None:
        """Out-of-domain patterns of every S_1 must exist."""
        check_test(config, self.alpha_test, self.S_1)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "error", "hinge" and "margin" at x = l, with the coordinates alpha_test and, out of domain, S_1."""
        parts: list[list[list[Row]]] = []
        for alpha in self.alpha_test:
            for S_1 in self.S_1 or (None,):
                at = {"alpha_test": alpha} | ({} if S_1 is None else {"S_1": S_1})
                test = TestSet(l=max(self.lengths), alpha=alpha, prompts=self.prompts, tasks=self.tasks, S_1=S_1)
                prompts = test.ensemble(snapshot)
                for l in self.lengths:
                    output_EB = outputs(snapshot, prompts.first(l))
                    margin_E = (output_EB * prompts.target_EB).nan_to_num(-torch.inf).quantile(self.quantile, dim=-1)
                    parts.append(rows("error", l, error(output_EB, prompts.target_EB), at))
                    parts.append(rows("hinge", l, hinge(output_EB, prompts.target_EB), at))
                    parts.append(rows("margin", l, margin_E, at))
        return joined(parts)


@final
@dataclass(frozen=True, kw_only=True)
class ErrorPassage(FirstPassage):
    """The step at which the test error, or the hinge loss, first falls below `below`."""

    name: ClassVar[str] = "first-passage"

    below: float = 0.01
    loss: Literal["error", "hinge"] = "error"
    l: int = 20
    alpha: float = 0.8
    prompts: int = 2048

    def watched(self, snapshot: Snapshot, memory: dict[str, Any]) -> Sequence[Watched]:
        """The one loss."""
        prompts = TestSet(l=self.l, alpha=self.alpha, prompts=self.prompts).ensemble(snapshot)
        loss = error if self.loss == "error" else hinge
        return [Watched(loss(outputs(snapshot, prompts), prompts.target_EB), self.below, {})]
