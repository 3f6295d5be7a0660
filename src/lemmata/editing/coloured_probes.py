"""What edited networks make of coloured digits: accuracies of tables A and B (Li et al., arXiv 2504.10957).

    Table A   Psi^(0) + Delta_1 + lambda Delta_2 on T1 and T2, for each of three T2
    Table B   Psi^(0) + lambda_1 Delta_1 + lambda_2 Delta_2 on T'

An image is seen in both colours, and each answer counts with the odds of its colour in the task: the accuracy is the
mean over all colourings of the images, exactly, and one pass serves every task. An answer that is not a number makes
the accuracy one that is not either.

Shapes: L edits, T tasks, N images, I pixels, C = 2 colours, red first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lemmata.editing import vectors
from lemmata.editing.coloured import TASKS, Coloured
from lemmata.editing.digits import SIZES, images, red_odds, split
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.trainee import Measure, Row

__all__ = ["PAIRS", "PARTS", "Edits", "FineTuned", "Scores", "TableA", "TableB", "edit_scores", "steps_of"]

# What is added to T1 or taken from it in Table A.
PAIRS = ("irrelevant", "aligned", "contradictory")
PARTS = ("validation", "test")
# Edited networks that are worked out together: a few megabytes.
AT_ONCE = 2


@final
class Scores(NamedTuple):
    """Accuracy and logistic loss of each edit on each task, and what they are made from.

    `sign_LNC` are the answers, +1 or -1, and `odds_TNC` the odds of an image and its colour in a task.
    """

    accuracy_LT: Tensor
    loss_LT: Tensor
    sign_LNC: Tensor
    odds_TNC: Tensor

    def similarity(self, one: int, other: int) -> float:
        """How far the networks of two fine-tunings, edits `one` and `other`, agree: one reading of the paper's alpha.

        It is E[sign F_one sign F_other], the mean over images of both tasks; 1 for equal answers, -1 for opposite ones.
        """
        agree_NC = self.sign_LNC[one] * self.sign_LNC[other]
        return float((agree_NC * (self.odds_TNC[one] + self.odds_TNC[other])).sum() / 2)


def steps_of(start: float, stop: float, step: float) -> tuple[float, ...]:
    """An even grid with both ends, of numbers as short as they are written.

    >>> steps_of(-0.4, 0.2, 0.2)
    (-0.4, -0.2, 0.0, 0.2)
    """
    return tuple(round(start + i * step, 6) + 0.0 for i in range(round((stop - start) / step) + 1))


@torch.no_grad()
def edit_scores(config: Coloured, params: Params, seed: int, coefficient_LT: Tensor) -> dict[str, Scores]:
    """The scores of the edits of one member (params without the member axis), on its validation and test images."""
    found, parts, device = images(config.dataset), split(config.dataset, seed), coefficient_LT.device
    where_N = np.concatenate([getattr(parts, part) for part in PARTS])
    pixel_NI, digit_N = found.pixel_NI[where_N].to(device), found.digit_N[where_N].to(device)
    members = {name: p.unsqueeze(0) for name, p in params.items()}
    output_LNC = torch.cat([_both(config, members, part_LT, pixel_NI) for part_LT in coefficient_LT.split(AT_ONCE)])
    sizes = [len(getattr(parts, part)) for part in PARTS]
    cue_T = torch.tensor(config.cues, device=device)
    both = zip(PARTS, output_LNC.split(sizes, 1), digit_N.split(sizes), strict=True)
    return {part: _scores(output, digit, cue_T) for part, output, digit in both}


def _both(config: Coloured, members: Params, coefficient_LT: Tensor, pixel_NI: Tensor) -> Tensor:
    """Answers on each image in red and in green, output_LNC."""
    weights = {name: p.squeeze(0) for name, p in vectors.edited(members, coefficient_LT).items()}
    L, N = len(coefficient_LT), len(pixel_NI)
    red_GB = torch.tensor([1.0, 0.0], device=pixel_NI.device).repeat_interleave(N).expand(L, -1)
    pixel_GBI = pixel_NI.repeat(2, 1).to(weights[next(iter(weights))]).expand(L, -1, -1)
    return config.outputs(weights, pixel_GBI, red_GB.to(pixel_GBI))[..., -1].view(L, 2, N).transpose(1, 2)


def _scores(output_LNC: Tensor, digit_N: Tensor, cue_T: Tensor) -> Scores:
    red_TN = red_odds(cue_T.unsqueeze(-1), digit_N)
    odds_TNC = torch.stack([red_TN, 1 - red_TN], -1).double() / len(digit_N)
    margin_LNC = (1 - 2 * (digit_N % 2)).unsqueeze(-1) * output_LNC.double()
    right_LNC = torch.where(margin_LNC.isfinite(), (margin_LNC > 0).double(), torch.nan)
    accuracy_LT, loss_LT = (
        torch.einsum("lnc,tnc->lt", score_LNC, odds_TNC) for score_LNC in (right_LNC, F.softplus(-margin_LNC))
    )
    return Scores(accuracy_LT, loss_LT, output_LNC.double().sign(), odds_TNC)


@dataclass(frozen=True, kw_only=True)
class Edits(Measure):
    """What is measured once, after both phases, of edits that a subclass lists."""

    @abstractmethod
    def coefficients(self) -> list[list[float]]:
        """The edits, a coefficient a task each."""

    @abstractmethod
    def rows(self, part: str, scores: Scores) -> list[Row]:
        """What one member's scores on one part of its images leave."""

    @final
    def steps(self, config: Any) -> Sequence[int]:
        """After the last step of both phases."""
        return (config.total,)

    @final
    def finished(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[bool]:
        """All, after the last step of both phases."""
        return [snapshot.step >= config.total for config in snapshot.configs]

    @final
    def work(self, config: Any) -> float:
        """A forward pass of every edit on each image in both colours."""
        return 2.0 * len(self.coefficients()) * sum(SIZES[config.dataset][1:]) * config.operations()

    @final
    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """The rows of each member."""
        coefficient_LT = torch.tensor(self.coefficients(), device=snapshot.device)
        found: list[list[Row]] = []
        for e, (config, seed) in enumerate(zip(snapshot.configs, snapshot.seeds, strict=True)):
            member = {name: p[e] for name, p in snapshot.params.items()}
            scores = edit_scores(config, member, seed, coefficient_LT)
            found.append([row for part in PARTS for row in self.rows(part, scores[part])])
        return found


def _at(**coefficients: float) -> list[float]:
    return [coefficients.get(task, 0.0) for task in TASKS]


@final
@dataclass(frozen=True, kw_only=True)
class FineTuned(Edits):
    """Accuracy of each fine-tuned network on its own task: rows "fine_tuned" by task.

    And how alike the networks of T1 and of a T2 are: rows "similarity" by pair.
    """

    name: ClassVar[str] = "fine-tuned"

    def coefficients(self) -> list[list[float]]:
        """One task vector each."""
        return [_at(**{task: 1.0}) for task in TASKS]

    def rows(self, part: str, scores: Scores) -> list[Row]:
        """A row a task, and one a pair."""
        own_T = scores.accuracy_LT.diagonal().tolist()
        own = [Row("fine_tuned", 0, own, {"task": task, "part": part}) for task, own in zip(TASKS, own_T, strict=True)]
        alike = [scores.similarity(TASKS.index("first"), TASKS.index(pair)) for pair in PAIRS]
        return own + [Row("similarity", 0, a, {"pair": p, "part": part}) for p, a in zip(PAIRS, alike, strict=True)]


@final
@dataclass(frozen=True, kw_only=True)
class TableA(Edits):
    """T1 and T2 after an edit: rows "accuracy" and "loss" at x = lambda, by pair and by task, "T1" or "T2"."""

    name: ClassVar[str] = "table-a"

    lambdas: tuple[float, ...] = steps_of(-1.0, 1.6, 0.2)

    def coefficients(self) -> list[list[float]]:
        """Every lambda for each of the pairs."""
        return [_at(first=1.0, **{pair: lam}) for pair in PAIRS for lam in self.lambdas]

    def rows(self, part: str, scores: Scores) -> list[Row]:
        """Two tasks and two metrics for an edit."""
        edits = [(pair, lam) for pair in PAIRS for lam in self.lambdas]
        return [
            Row(metric, lam, value_T[TASKS.index(task)], {"pair": pair, "task": name, "part": part})
            for metric, value_LT in (("accuracy", scores.accuracy_LT), ("loss", scores.loss_LT))
            for (pair, lam), value_T in zip(edits, value_LT.tolist(), strict=True)
            for name, task in (("T1", "first"), ("T2", pair))
        ]


@final
@dataclass(frozen=True, kw_only=True)
class TableB(Edits):
    """T' after an edit: rows "outside" at x = lambda_1, by lambda_2."""

    name: ClassVar[str] = "table-b"

    lambdas_1: tuple[float, ...] = steps_of(-2.0, 3.0, 0.5)
    lambdas_2: tuple[float, ...] = steps_of(-2.0, 2.0, 0.5)

    def coefficients(self) -> list[list[float]]:
        """Every pair of coefficients."""
        return [_at(irrelevant=one, contradictory=two) for one in self.lambdas_1 for two in self.lambdas_2]

    def rows(self, part: str, scores: Scores) -> list[Row]:
        """A row an edit."""
        edits = [(one, two) for one in self.lambdas_1 for two in self.lambdas_2]
        value_L = scores.accuracy_LT[:, TASKS.index("outside")].tolist()
        return [
            Row("outside", one, value, {"lambda_2": two, "part": part})
            for (one, two), value in zip(edits, value_L, strict=True)
        ]
