"""What task vectors are made of: their rank, their rows, and how edits do with less of them.

    symbol       meaning                                                                shape
    Delta W      task vector of the attention                                           (E, T, D, D)
    Delta V      task vector of the values, a row a neuron                              (E, T, m, D)
    residual     Frobenius norm of what the best approximation of rank k leaves         (E, T)
    adding       Psi^(0) + Delta_1 + (1 - alpha + beta) Delta_2 on tasks 1 and 2, Theorem 1's edit
    forgetting   Psi^(0) + Delta_1 - Delta_2 on tasks 1 and 2, Theorem 2's
    reaching     Psi^(0) + lambda_1 Delta_1 + lambda_2 Delta_2 on the unseen task mu', Theorem 3's

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

from lemmata.editing.data import outside
from lemmata.editing.network import OneLayer
from lemmata.editing.probes import fresh_samples, scores
from lemmata.editing.theory import row_bounds
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


@dataclass(frozen=True, kw_only=True)
class _Edits(Measure):
    """What becomes of one edit of each theorem where task vectors have less in them; of irrelevant tasks, alpha = 0."""

    beta: float = 0.05
    gamma: tuple[float, float] = (0.7, -0.5)
    reach: tuple[float, float] = (3.0, -1.0)
    samples: int = 500

    def edits(self, snapshot: Snapshot, x: float, **at: Any) -> list[list[Row]]:
        """Rows "edit_hinge" at x with the coordinate edit.

        It is "adding" (the larger loss of tasks 1 and 2), "keeping" and "forgetting" (the losses of tasks 1 and 2 after
        forgetting task 2) or "reaching" (the loss on the unseen task).
        """
        found = _losses(self, snapshot)
        return joined([rows("edit_hinge", x, loss_E, {**at, "edit": edit}) for edit, loss_E in found.items()])


def _losses(edits: _Edits, snapshot: Snapshot) -> dict[str, Tensor]:
    none = [0.0] * (snapshot.configs[0].tasks - 2)
    samples = fresh_samples(snapshot, edits.samples, "editing.test")
    seen: list[Tensor] = []
    for e, config in enumerate(snapshot.configs):
        coefficient_LT = torch.tensor([[1.0, 1 - config.alpha + edits.beta, *none], [1.0, -1.0, *none]])
        one = type(samples)(*(t[e : e + 1] for t in vars(samples).values()))
        seen.append(scores(snapshot.take([e]), coefficient_LT, one).hinge_ELU[0, :, :2])
    added_EU, forgot_EU = torch.stack(seen, 1)
    direction_US = outside([*edits.gamma, *none])[None]
    unseen = fresh_samples(snapshot, edits.samples, "editing.outside", [direction_US] * len(snapshot.seeds))
    reached_E = scores(snapshot, torch.tensor([[*edits.reach, *none]]), unseen).hinge_ELU[:, 0, 0]
    parts = (added_EU.amax(1), forgot_EU[:, 0], forgot_EU[:, 1], reached_E)
    return dict(zip(("adding", "keeping", "forgetting", "reaching"), parts, strict=True))


@final
@dataclass(frozen=True, kw_only=True)
class Ranks(_Edits):
    """Task vectors against their approximations of low rank, and edits with those."""

    name: ClassVar[str] = "editing.ranks"
    version: ClassVar[int] = 2

    ranks: tuple[int, ...] = (1, 2, 3)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows at x = rank: "residual" and "relative" with the coordinate matrix, and those of `edits`.

        Edits are also at x = min(m, D), the rank of the whole task vectors.
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
        for k in sorted({*self.ranks, min(vectors["V"].shape[-2:])}):
            low = with_deltas(snapshot, {name: approximated(delta, k) for name, delta in vectors.items()})
            parts.append(self.edits(low, k))
        parts.append(rows("second_on_irrelevant", 0, _second_on_irrelevant(vectors["V"], snapshot.configs)))
        return joined(parts)


def _second_on_irrelevant(V_ETmD: Tensor, configs: Sequence[OneLayer]) -> Tensor:
    right_ETRD = torch.linalg.svd(V_ETmD.nan_to_num(0.0, 0.0, 0.0), full_matrices=False).Vh
    first = configs[0].tasks + 1
    cosine_ET = right_ETRD[:, :, 1, first : first + configs[0].J].sum(-1).abs() / math.sqrt(configs[0].J)
    return cosine_ET.where(V_ETmD.isfinite().flatten(2).all(-1), torch.nan).mean(1)


@final
@dataclass(frozen=True, kw_only=True)
class PrunedRows(_Edits):
    """Norms of the rows of Delta V, and edits after the smallest, or random ones, were set to zero."""

    name: ClassVar[str] = "editing.pruned-rows"
    version: ClassVar[int] = 2

    fractions: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
    small: float = 0.1
    eps: float = 0.01

    BINS: ClassVar[int] = 20

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows of `edits` at x = pruned share with the coordinate order: "smallest" or "random".

        "small_share" and "middle_share" are the shares of rows below `small` times the largest and from there to half
        of it, "large_norm" is the median norm of those above half, "unpromised_share" the share of the others whose
        norm is above m^-1/2 eps; "rows" is the share of rows in each of 20 bins of the norm over the largest, x the
        bin's middle. All are of the tasks together.
        """
        V_ETmD = deltas(snapshot.params)["V"]
        norm_ETm = V_ETmD.norm(dim=-1)
        relative_ETm = norm_ETm / norm_ETm.amax(-1, keepdim=True)
        edges = np.linspace(0, 1, self.BINS + 1)
        found: list[list[Row]] = []
        small_norm = row_bounds(V_ETmD.shape[2], self.eps)[1]
        for norm_Tm, relative_Tm in zip(norm_ETm.cpu().numpy(), relative_ETm.cpu().numpy(), strict=True):
            there = bool(np.isfinite(relative_Tm).all())
            large = norm_Tm[relative_Tm >= 0.5]
            share = np.histogram(relative_Tm, edges)[0] / relative_Tm.size if there else np.full(self.BINS, np.nan)
            shares = {
                "small": relative_Tm < self.small,
                "middle": (relative_Tm >= self.small) & (relative_Tm < 0.5),
                "unpromised": (relative_Tm < 0.5) & (norm_Tm > small_norm),
            }
            own = [Row(f"{name}_share", 0, float(of.mean()) if there else math.nan) for name, of in shares.items()]
            own.append(Row("large_norm", 0, float(np.median(large)) if there else math.nan))
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
            parts.append(self.edits(pruned, fraction, order=order))
        return joined(parts)
