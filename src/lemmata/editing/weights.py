"""What task vectors are made of: their rank, their rows, and how edits do with less of them.

    symbol       meaning                                                                shape
    Delta W      task vector of the attention                                           (E, T, D, D)
    Delta V      task vector of the values, a row a neuron                              (E, T, m, D)
    residual     Frobenius norm of what the best approximation of rank k leaves         (E, T)
    edit         Psi^(0) + Delta_1 + (1 - alpha + margin) Delta_2, on tasks 1 and 2

Shapes: E members, T tasks, m neurons, D coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.editing.network import OneLayer
from lemmata.editing.probes import fresh_samples, scores
from lemmata.editing.vectors import deltas
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.measures import joined, rows
from lemmata.lab.streams import stream
from lemmata.lab.trainee import Measure, Row

__all__ = ["PrunedRows", "Ranks", "approximated", "kept_rows", "with_deltas"]


def approximated(matrix: Tensor, rank: int) -> Tensor:
    """The best approximations of this rank in Frobenius norm, of a stack of matrices (..., M, N).

    >>> approximated(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2).diagonal().round(decimals=5).tolist()
    [3.0, 2.0, 0.0]
    """
    # LAPACK ends the process on numbers that are none.
    u, s, v = torch.linalg.svd(matrix.nan_to_num(0.0, 0.0, 0.0), full_matrices=False)
    found = (u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]
    return found.where(matrix.isfinite().flatten(-2).all(-1)[..., None, None], torch.nan)


def kept_rows(matrix: Tensor, keep: Tensor) -> Tensor:
    """A stack of matrices (..., M, N) with zeros in the rows where keep, (..., M), is False."""
    return matrix * keep.unsqueeze(-1)


def with_deltas(snapshot: Snapshot, changed: Params) -> Snapshot:
    """The same members with other task vectors, named as in `vectors.deltas`."""
    return snapshot.with_params(snapshot.params | {f"delta.{name}": p for name, p in changed.items()})


def _edit_losses(snapshot: Snapshot, margin: float, count: int) -> Tensor:
    """The larger of the losses of tasks 1 and 2 after their multi-task edit, (E,)."""
    samples = fresh_samples(snapshot, count, "editing.test")
    losses: list[Tensor] = []
    for e, config in enumerate(snapshot.configs):
        coefficient_LT = torch.zeros(1, config.tasks)
        coefficient_LT[0, 0], coefficient_LT[0, 1] = 1.0, 1 - config.alpha + margin
        one = type(samples)(*(t[e : e + 1] for t in vars(samples).values()))
        losses.append(scores(snapshot.take([e]), coefficient_LT, one).hinge_ELU[0, 0, :2].max())
    return torch.stack(losses)


@final
@dataclass(frozen=True, kw_only=True)
class Ranks(Measure):
    """Task vectors against their approximations of low rank, and the multi-task edit with those."""

    name: ClassVar[str] = "editing.ranks"

    margin: float = 0.1
    ranks: tuple[int, ...] = (1, 2, 3)
    samples: int = 500

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows at x = rank: "residual" and "relative" with the coordinate matrix, and "edit_hinge".

        "singular" is the i-th singular value at x = i; "second_on_irrelevant" the cosine of the second right singular
        vector of Delta V with the mean of the irrelevant patterns. All are means over the tasks.
        """
        parts: list[list[list[Row]]] = []
        vectors = deltas(snapshot.params)
        for matrix, delta in vectors.items():
            singular_ETR = torch.linalg.svdvals(delta.nan_to_num(0.0, 0.0, 0.0))
            singular_ETR = singular_ETR.where(delta.isfinite().flatten(2).all(-1).unsqueeze(-1), torch.nan)
            at = {"matrix": matrix}
            for i in range(min(5, singular_ETR.shape[-1])):
                parts.append(rows("singular", i + 1, singular_ETR[..., i].mean(1), at))
            whole_ET = singular_ETR.norm(dim=-1)
            for k in self.ranks:
                rest_ET = singular_ETR[..., k:].norm(dim=-1)
                parts.append(rows("residual", k, rest_ET.mean(1), at))
                parts.append(rows("relative", k, (rest_ET / whole_ET).mean(1), at))
        for k in self.ranks:
            low = with_deltas(snapshot, {name: approximated(delta, k) for name, delta in vectors.items()})
            parts.append(rows("edit_hinge", k, _edit_losses(low, self.margin, self.samples)))
        parts.append(rows("second_on_irrelevant", 0, _second_on_irrelevant(vectors["V"], snapshot.configs)))
        return joined(parts)


def _second_on_irrelevant(V_ETmD: Tensor, configs: Sequence[OneLayer]) -> Tensor:
    right_ETRD = torch.linalg.svd(V_ETmD.nan_to_num(0.0, 0.0, 0.0), full_matrices=False).Vh
    first = configs[0].tasks + 1
    cosine_ET = right_ETRD[:, :, 1, first : first + configs[0].J].sum(-1).abs() / math.sqrt(configs[0].J)
    return cosine_ET.where(V_ETmD.isfinite().flatten(2).all(-1), torch.nan).mean(1)


@final
@dataclass(frozen=True, kw_only=True)
class PrunedRows(Measure):
    """Norms of the rows of Delta V, and the multi-task edit after the smallest, or random ones, were set to zero."""

    name: ClassVar[str] = "editing.pruned-rows"

    margin: float = 0.1
    fractions: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
    small: float = 0.1
    samples: int = 500

    BINS: ClassVar[int] = 20

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "edit_hinge" at x = pruned share with the coordinate order: "smallest" or "random".

        "small_share" and "middle_share" are the shares of rows below `small` times the largest and from there to half
        of it, "large_norm" is the median norm of those above half; "rows" is the share of rows in each of 20 bins of
        the norm over the largest, x the bin's middle. All are of the tasks together.
        """
        V_ETmD = deltas(snapshot.params)["V"]
        norm_ETm = V_ETmD.norm(dim=-1)
        relative_ETm = norm_ETm / norm_ETm.amax(-1, keepdim=True)
        edges = np.linspace(0, 1, self.BINS + 1)
        found: list[list[Row]] = []
        for norm_Tm, relative_Tm in zip(norm_ETm.cpu().numpy(), relative_ETm.cpu().numpy(), strict=True):
            there = bool(np.isfinite(relative_Tm).all())
            large = norm_Tm[relative_Tm >= 0.5]
            share = np.histogram(relative_Tm, edges)[0] / relative_Tm.size if there else np.full(self.BINS, np.nan)
            middle = (relative_Tm >= self.small) & (relative_Tm < 0.5)
            own = [
                Row("small_share", 0, float((relative_Tm < self.small).mean()) if there else math.nan),
                Row("middle_share", 0, float(middle.mean()) if there else math.nan),
                Row("large_norm", 0, float(np.median(large)) if there else math.nan),
            ]
            bins = zip((edges[:-1] + edges[1:]) / 2, share, strict=True)
            found.append(own + [Row("rows", float(x), float(value)) for x, value in bins])
        return joined([found, *(self._pruned(snapshot, norm_ETm, V_ETmD, order) for order in ("smallest", "random"))])

    def _pruned(self, snapshot: Snapshot, norm_ETm: Tensor, V_ETmD: Tensor, order: str) -> list[list[Row]]:
        if order == "random":
            draws = [
                stream("editing.pruned", seed).random(tuple(norm_ETm.shape[1:]), dtype=np.float32)
                for seed in snapshot.seeds
            ]
            key_ETm = torch.from_numpy(np.stack(draws)).to(norm_ETm.device)
        else:
            key_ETm = norm_ETm
        place_ETm = key_ETm.argsort(-1).argsort(-1)
        parts = []
        for fraction in self.fractions:
            keep_ETm = place_ETm >= round(fraction * norm_ETm.shape[-1])
            pruned = with_deltas(snapshot, {"V": kept_rows(V_ETmD, keep_ETm)})
            parts.append(
                rows("edit_hinge", fraction, _edit_losses(pruned, self.margin, self.samples), {"order": order})
            )
        return joined(parts)
