"""What is measured of a graph transformer: accuracy at its best step, b_z, and attention by distance.

Shapes: E members, B nodes, T sampled nodes, Z distances, N nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.ensemble import Snapshot
from lemmata.lab.graph_sets import open_graph
from lemmata.lab.hop_data import features, split
from lemmata.lab.hop_transformer import HopTransformer, forward, hidden, seen_by
from lemmata.lab.measures import Repeated
from lemmata.lab.trainee import Measure, Row

__all__ = ["HopAccuracy", "HopAttention", "answers"]

# Nodes that are answered at once.
SLICE = 2048


@torch.no_grad()
def answers(snapshot: Snapshot, member: int, node_B: np.ndarray, h_ND: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """For slices of the nodes one member's outputs (B, K), its attention (B, T), and the places of distances (B, T)."""
    one = snapshot.take([member])
    config, seed = one.configs[0], one.seeds[0]
    for begin in range(0, len(node_B), SLICE):
        node, key, hop = (part.to(one.device) for part in seen_by(config, seed, node_B[begin : begin + SLICE]))
        logit_EBK, attn_EBT = forward(one.params, h_ND[None], node, key, hop)
        yield logit_EBK[0], attn_EBT[0], hop[0]


@torch.no_grad()
def _hidden(snapshot: Snapshot) -> Tensor:
    """H of every node, (E, N, D)."""
    config: HopTransformer = snapshot.configs[0]
    feature_NC = torch.from_numpy(features(config.graph, config.scaling, config.scale)).to(snapshot.device)
    return hidden(snapshot.params, feature_NC)


@final
@dataclass(frozen=True, kw_only=True)
class HopAccuracy(Repeated):
    """Accuracy on the test nodes at the step with the best validation accuracy, the first of them."""

    name: ClassVar[str] = "lab.hop_accuracy"
    version: ClassVar[int] = 2

    every: int = 12

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """After the last step rows "accuracy" and "validation" at x = share labelled, and "best_step".

        "learned" is how much of the nodes trained on, up to SLICE, it gets right after the last step, less the share of
        the most frequent class: an answer that sees nothing has 0.
        """
        h_END, found = _hidden(snapshot), []
        best: dict[int, tuple[float, float, int]] = memory.setdefault("best", {})
        for e, (member, config, seed) in enumerate(
            zip(snapshot.members, snapshot.configs, snapshot.seeds, strict=True)
        ):
            parts = split(config.graph, config.labelled, seed)
            right = self._right(snapshot, e, parts.validation, h_END[e])
            if member not in best or right > best[member][0]:
                best[member] = (right, self._right(snapshot, e, parts.test, h_END[e]), snapshot.step)
            names, last = ("validation", "accuracy", "best_step"), snapshot.step >= config.steps
            if not last:
                found.append([])
                continue
            train_B = parts.train[:SLICE]
            frequent = np.bincount(open_graph(config.graph).label_N[train_B]).max() / len(train_B)
            learned = self._right(snapshot, e, train_B, h_END[e]) - float(frequent)
            rows = [Row(name, config.labelled, v) for name, v in zip(names, best[member], strict=True)]
            found.append([*rows, Row("learned", config.labelled, learned)])
        return found

    def _right(self, snapshot: Snapshot, member: int, node_B: np.ndarray, h_ND: Tensor) -> float:
        label_N, graph_slices = open_graph(snapshot.configs[0].graph).label_N, answers(snapshot, member, node_B, h_ND)
        given_B = torch.cat([logit_BK.argmax(-1) for logit_BK, _, _ in graph_slices])
        return float((given_B.cpu().numpy() == label_N[node_B]).mean())


@final
@dataclass(frozen=True, kw_only=True)
class HopAttention(Measure):
    """What becomes of the distances after the last step."""

    name: ClassVar[str] = "lab.hop_attention"

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "bias" at x = z: b_z less its mean over distances with nodes; "mass": attention there, of test nodes.

        Attention is the mean over test nodes that have a sampled node. Without the bias there are no rows of it.
        """
        h_END, found = _hidden(snapshot), []
        for e, (config, seed) in enumerate(zip(snapshot.configs, snapshot.seeds, strict=True)):
            hops, rows = config.hops, []
            if hops:
                hop_NT = config.table(seed).hop_NT
                exists_Z = np.array([(hop_NT == z).any() for z in range(len(hops))])
                mass_Z = self._mass(snapshot, e, split(config.graph, config.labelled, seed).test, h_END[e])
                rows += [Row("mass", z, float(m)) for z, m, there in zip(hops, mass_Z, exists_Z, strict=True) if there]
                if "bias" in snapshot.params:
                    bias_Z = snapshot.params["bias"][e].cpu().numpy().astype(float)
                    bias_Z = bias_Z - bias_Z[exists_Z].mean() if exists_Z.any() else bias_Z
                    rows += [
                        Row("bias", z, float(b)) for z, b, there in zip(hops, bias_Z, exists_Z, strict=True) if there
                    ]
            found.append(rows)
        return found

    def _mass(self, snapshot: Snapshot, member: int, node_B: np.ndarray, h_ND: Tensor) -> np.ndarray:
        sums_Z, nodes = torch.zeros(len(snapshot.configs[0].hops), dtype=torch.float64), 0
        for _, attn_BT, hop_BT in answers(snapshot, member, node_B, h_ND):
            sums_Z.index_add_(0, hop_BT.clamp_min(0).flatten().cpu(), attn_BT.flatten().double().cpu())
            nodes += int((hop_BT >= 0).any(1).sum())
        return (sums_Z / max(nodes, 1)).numpy()
