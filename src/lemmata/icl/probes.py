"""What is measured inside a one-layer network: attention, the growth of W_Q and W_K, neurons and their rows.

    symbol      meaning
    attn_EBL    the query's attention on each column, itself last
    row_EMD     the rows of W_O W_V: what a neuron sees of a column in the coordinates of training
    feature     the part of a row on the patterns (the first V coordinates); label: its last coordinate, along q
    mu_bar      the mean of the IDR patterns
    lucky       a neuron that fires, before training, on the mean column of its own sign: row . (mu_bar; sign(a) q) > 0

Propositions 1 and 2 and Theorem 3 of Li et al. (ICML 2024, arXiv 2402.15607).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lemmata.icl.data import Prompts
from lemmata.icl.network import attention, pool, readout
from lemmata.icl.prompting import Prompting
from lemmata.icl.testing import TestSet, check_test
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.losses import error, hinge
from lemmata.lab.measures import Repeated, joined, rows
from lemmata.lab.streams import stream
from lemmata.lab.trainee import Measure, Row, coordinate

__all__ = ["AttentionGrowth", "Neurons", "Pruning", "gap", "row_norms", "same_pattern_mass", "value_rows"]


def same_pattern_mass(attn_EBL: Tensor, prompts: Prompts) -> Tensor:
    """Attention on the columns that carry the query's pattern, the query among them, averaged over prompts: (E,).

    >>> from lemmata import icl
    >>> net = icl.OneLayer(steps=0, delta=0.0).train()
    >>> prompts = TestSet(l=20, alpha=1.0, prompts=2).ensemble(net)
    >>> bool(0 < same_pattern_mass(icl.attention(net.params, prompts), prompts) < 1)
    True
    """
    idr_EBL = prompts.idr_EBL
    return (attn_EBL * (idr_EBL == idr_EBL[..., -1:])).sum(-1).mean(-1)


def value_rows(params: Params) -> Tensor:
    """The rows of W_O W_V, row_EMD."""
    return params["W_O"] @ params["W_V"]


def row_norms(params: Params) -> Tensor:
    """Norms of the rows of W_O, (E, M): what magnitude pruning sorts by."""
    return params["W_O"].norm(dim=-1)


def gap(norm_M: Tensor) -> tuple[float, int]:
    """How empty the middle between small and large row norms is, and how many of the norms are small.

    The norms are split in two where the variance within the parts is least. The first number is the share of neurons in
    the middle third between the two parts' means: about a sixth of evenly spread norms, none where there is a gap.

    >>> gap(torch.tensor([0.1, 0.11, 0.4, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46, 0.47]))
    (0.0, 2)
    >>> gap(torch.linspace(0, 1, 101))[0]
    0.1683...
    """
    sorted_M = norm_M.double().sort().values
    M = len(sorted_M)
    within = [float(sorted_M[:k].var(correction=0) * k + sorted_M[k:].var(correction=0) * (M - k)) for k in range(1, M)]
    small = 1 + min(range(M - 1), key=within.__getitem__)
    low, high = sorted_M[:small].mean(), sorted_M[small:].mean()
    between = (sorted_M > low + (high - low) / 3) & (sorted_M < high - (high - low) / 3)
    return float(between.double().mean()), small


@final
@dataclass(frozen=True, kw_only=True)
class AttentionGrowth(Repeated):
    """Attention mass on the query's pattern and the growth of W_Q and W_K, every few steps."""

    name: ClassVar[str] = "attention-growth"

    l: int = 20
    alpha: float = 0.8
    prompts: int = 512

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "attention_same", and for W in {W_Q, W_K} "norm" and "aligned", the part along the query's pattern."""
        prompts = TestSet(l=self.l, alpha=self.alpha, prompts=self.prompts).ensemble(snapshot)
        config, step = snapshot.configs[0], snapshot.step
        V = config.M1 + config.M2
        query_EBD = prompts.first(0).columns(V)[:, :, 0]
        pattern_EB = prompts.idr_EBL[..., -1]
        parts = [rows("attention_same", step, same_pattern_mass(attention(snapshot.params, prompts), prompts))]
        for name in ("W_Q", "W_K"):
            moved_EBD = query_EBD @ snapshot.params[name].transpose(1, 2)
            aligned_EB = moved_EBD.gather(2, pattern_EB.unsqueeze(-1)).squeeze(-1)
            parts.append(rows("norm", step, moved_EBD.norm(dim=-1).mean(-1), {"matrix": name}))
            parts.append(rows("aligned", step, aligned_EB.mean(-1), {"matrix": name}))
        return joined(parts)


@final
@dataclass(frozen=True, kw_only=True)
class Neurons(Measure):
    """Every neuron's row of W_O W_V from start to end: its two norms and angles, the lucky ones marked at the start.

    Per neuron at `looks` evenly spaced steps: "feature_norm" and "feature_angle" (to mu_bar), "label_norm" and
    "label_angle" (to q, in the plane of mu_bar and q), "row_norm" (of W_O); x = step. Over all neurons, at the end, see
    `observe`.
    """

    name: ClassVar[str] = "neurons"

    looks: int = 5

    def steps(self, config: Any) -> Sequence[int]:
        """Evenly spaced, the first and the last among them."""
        return sorted({round(config.steps * i / (self.looks - 1)) for i in range(self.looks)})

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """The neurons' rows now; at the end also what became of the lucky and of the large ones."""
        row_EMD, norm_EM = value_rows(snapshot.params), row_norms(snapshot.params)
        config = snapshot.configs[0]
        feature_EM, angle_EM, label_EM, tilt_EM = _polar(row_EMD, config.M1)
        plus_EM = snapshot.params["a"] > 0
        if snapshot.step == 0:
            memory["lucky"], memory["start"] = _lucky(row_EMD, plus_EM, config.M1), row_EMD
        found: list[list[Row]] = []
        for e in range(len(snapshot.members)):
            member = []
            for i in range(row_EMD.shape[1]):
                at = {"neuron": i, "sign": "+" if plus_EM[e, i] else "-", "lucky": bool(memory["lucky"][e, i])}
                values = {
                    "feature_norm": feature_EM,
                    "feature_angle": angle_EM,
                    "label_norm": label_EM.abs(),
                    "label_angle": tilt_EM,
                    "row_norm": norm_EM,
                }
                member += [Row(metric, snapshot.step, float(v[e, i]), at) for metric, v in values.items()]
            found.append(member)
        if snapshot.step < config.steps:
            return found
        ends = [
            self._ends(
                norm_EM[e], angle_EM[e], label_EM[e], plus_EM[e], row_EMD[e], memory["start"][e], memory["lucky"][e]
            )
            for e in range(len(snapshot.members))
        ]
        return [
            a + [Row(metric, snapshot.step, value) for metric, value in b.items()]
            for a, b in zip(found, ends, strict=True)
        ]

    @staticmethod
    def _ends(
        norm_M: Tensor,
        angle_M: Tensor,
        label_M: Tensor,
        plus_M: Tensor,
        row_MD: Tensor,
        start_MD: Tensor,
        lucky_M: Tensor,
    ) -> dict[str, float]:
        """One member at the end: how its row norms part, and the kinds of neurons on either side."""
        between, small = gap(norm_M)
        large_M = norm_M > norm_M.sort().values[small - 1]
        right_M = (label_M > 0) == plus_M
        moved_M = (row_MD - start_MD).norm(dim=-1)
        return {
            "between": between,
            "small_share": small / len(norm_M),
            "large_over_small": float(norm_M[large_M].mean() / norm_M[~large_M].mean()),
            "large_angle": float(angle_M[large_M].mean()),
            "large_label_right": float(right_M[large_M].float().mean()),
            "small_moved": float(moved_M[~large_M].mean() / moved_M[large_M].mean()),
            "lucky_share": float(lucky_M.float().mean()),
            "large_lucky": float(lucky_M[large_M].float().mean()),
            "lucky_large": float(large_M[lucky_M].float().mean()) if lucky_M.any() else 0.0,
        }


def _polar(row_EMD: Tensor, M1: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Feature norm, angle of the feature part to mu_bar, label coordinate, and its angle in the (q, mu_bar) plane."""
    feature_EMV, label_EM = row_EMD[..., :-1], row_EMD[..., -1]
    along_EM = feature_EMV[..., :M1].sum(-1) / M1**0.5
    norm_EM = feature_EMV.norm(dim=-1)
    angle_EM = (along_EM / norm_EM.clamp_min(1e-12)).clamp(-1, 1).acos()
    return norm_EM, angle_EM, label_EM, torch.atan2(along_EM.abs(), label_EM)


def _lucky(row_EMD: Tensor, plus_EM: Tensor, M1: int) -> Tensor:
    """Neurons that fire on the mean column of their own sign, (E, M)."""
    sign_EM = torch.where(plus_EM, 1.0, -1.0)
    return row_EMD[..., :M1].mean(-1) + sign_EM * row_EMD[..., -1] > 0


@final
@dataclass(frozen=True, kw_only=True)
class Pruning(Measure):
    """Out-of-domain losses after rows of W_O are set to 0: smallest first, largest first, at random."""

    name: ClassVar[str] = "pruning"

    shares: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    alpha_test: tuple[float, ...] = coordinate((0.6, 0.8, 1.0), "alpha' of the test prompts", origin="given")
    lengths: tuple[int, ...] = (10, 20)
    S_1: float = coordinate(1.2, "coefficient sum of the out-of-domain patterns", origin="chosen")
    prompts: int = 4096

    def validate(self, config: Prompting) -> None:
        """Out-of-domain patterns of this S_1 must exist."""
        check_test(config, self.alpha_test, (self.S_1,))

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "error" and "hinge" at x = share pruned, by policy, alpha_test and l.

        Policy "small" prunes the rows below the gap, and no others.
        """
        norm_EM = row_norms(snapshot.params)
        M = norm_EM.shape[1]
        chance_EM = torch.stack([torch.from_numpy(stream("icl.pruning", M, s).random(M)) for s in snapshot.seeds])
        ranks = {
            "magnitude": norm_EM.argsort(-1).argsort(-1),
            "random": chance_EM.argsort(-1).argsort(-1),
            "largest": norm_EM.argsort(-1, descending=True).argsort(-1),
        }
        small_E = torch.tensor([gap(norm_M)[1] for norm_M in norm_EM])
        every_E = torch.ones_like(small_E)
        cuts = [
            (policy, share * every_E.double(), round(share * M) * every_E) for policy in ranks for share in self.shares
        ]
        cuts.append(("small", small_E.double() / M, small_E))
        parts: list[list[list[Row]]] = []
        for alpha in self.alpha_test:
            test = TestSet(l=max(self.lengths), alpha=alpha, prompts=self.prompts, S_1=self.S_1)
            prompts = test.ensemble(snapshot)
            for l in self.lengths:
                target_EB, pooled_EBD = prompts.target_EB, pool(snapshot.params, prompts.first(l))
                for policy, share_E, cut_E in cuts:
                    # A neuron without its output sign is as good as one without its row.
                    keep_EM = ranks["magnitude" if policy == "small" else policy] >= cut_E.unsqueeze(-1)
                    pruned = snapshot.params | {"a": snapshot.params["a"] * keep_EM}
                    output_EB = readout(pruned, pooled_EBD)
                    at = {"policy": policy, "alpha_test": alpha, "l": l}
                    parts.append(rows("error", share_E, error(output_EB, target_EB), at))
                    parts.append(rows("hinge", share_E, hinge(output_EB, target_EB), at))
        return joined(parts)
