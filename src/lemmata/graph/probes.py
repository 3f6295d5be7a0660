"""What networks trained on the labelled nodes of a graph make of the others, and what they attend to.

Shapes: E members, B nodes, Z distances, M patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.graph.network import Nodes, attention, forward
from lemmata.lab.ensemble import Snapshot
from lemmata.lab.losses import error, hinge
from lemmata.lab.measures import FirstPassage, Repeated, Watched, joined, rows
from lemmata.lab.trainee import Measure, Row

__all__ = ["Attended", "Bias", "Loss", "Margins", "Passage", "held_out", "mass", "outputs"]


def held_out(snapshot: Snapshot) -> Nodes:
    """The nodes that each member is tested on."""
    pairs = zip(snapshot.configs, snapshot.seeds, strict=True)
    members = [config.held_out(seed) for config, seed in pairs]
    return Nodes(*(torch.cat(parts).to(snapshot.device) for parts in zip(*members, strict=True)))


def outputs(snapshot: Snapshot, nodes: Nodes) -> Tensor:
    """The answers of the members at their nodes, output_EB."""
    with torch.no_grad():
        return forward(snapshot.params, nodes)


def mass(snapshot: Snapshot, nodes: Nodes) -> dict[str, Tensor]:
    """Shares of attention at the core distance, (E,) each, the mean over nodes that have a "right" node.

    "right" is on discriminative nodes of a node's own class there, "wrong" on the other class's, "core" on all nodes.

    >>> from lemmata.graph.network import OneLayer
    >>> net = OneLayer(network="uniform", steps=0).train(seeds=[0])
    >>> found = mass(net, held_out(net))
    >>> bool(found["right"] + found["wrong"] < found["core"] < 0.4)
    True
    """
    with torch.no_grad():
        attn_EBZM = attention(snapshot.params, nodes)
    core_E = [config.core - config.distances[0] for config in snapshot.configs]
    attn_EBM = attn_EBZM[torch.arange(len(core_E)), :, core_E]
    own_EB1 = (nodes.label_EB < 0).long().unsqueeze(2)
    by_class = {"right": attn_EBM.gather(2, own_EB1), "wrong": attn_EBM.gather(2, 1 - own_EB1), "core": attn_EBM}
    count_EBM = nodes.count_EBZM[torch.arange(len(core_E)), :, core_E]
    able_EB = count_EBM.gather(2, own_EB1)[:, :, 0] > 0
    return {name: (found.sum(2) * able_EB).sum(1) / able_EB.sum(1) for name, found in by_class.items()}


def _train_losses(snapshot: Snapshot) -> list[tuple[float, float]]:
    """The hinge loss of each member on all its labelled nodes, and that of the best constant answer."""
    found: list[tuple[float, float]] = []
    for e, (config, seed) in enumerate(zip(snapshot.configs, snapshot.seeds, strict=True)):
        own = Nodes(*(part.to(snapshot.device) for part in config.training_nodes(seed)))
        # Of all constants -1 or 1 is the best, or any between where the classes are as large.
        constant = 2 * min((own.label_EB > 0).double().mean().item(), (own.label_EB < 0).double().mean().item())
        found.append((float(hinge(outputs(snapshot.take([e]), own), own.label_EB)), max(constant, 1e-9)))
    return found


@final
@dataclass(frozen=True, kw_only=True)
class Loss(Measure):
    """Loss and accuracy after the last step."""

    name: ClassVar[str] = "graph.loss"

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows at x = 0: "accuracy", "balanced" (the mean of the classes' accuracies), "error", "hinge".

        "train_hinge" is the loss on labelled nodes, "unlearned" the same over that of the best answer without features:
        one number for every node.
        """
        nodes = held_out(snapshot)
        output_EB = outputs(snapshot, nodes)
        right_EB = nodes.label_EB * output_EB > 0
        losses = _train_losses(snapshot)
        of_class = [(right_EB & own_EB).sum(1) / own_EB.sum(1) for own_EB in (nodes.label_EB > 0, nodes.label_EB < 0)]
        return joined(
            [
                rows("accuracy", 0, 1 - error(output_EB, nodes.label_EB)),
                rows("balanced", 0, torch.stack(of_class).mean(0)),
                rows("error", 0, error(output_EB, nodes.label_EB)),
                rows("hinge", 0, hinge(output_EB, nodes.label_EB)),
                rows("train_hinge", 0, [loss for loss, _ in losses]),
                rows("unlearned", 0, [loss / constant for loss, constant in losses]),
            ]
        )


@final
@dataclass(frozen=True, kw_only=True)
class Bias(Measure):
    """What the bias of each distance has become."""

    name: ClassVar[str] = "graph.bias"

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "bias" at x = distance, less their mean, which no softmax feels."""
        b_EZ = snapshot.params["b"] - snapshot.params["b"].mean(1, keepdim=True)
        return joined([rows("bias", z, b_EZ[:, i]) for i, z in enumerate(snapshot.configs[0].distances)])


@final
@dataclass(frozen=True, kw_only=True)
class Attended(Repeated):
    """Attention over training."""

    name: ClassVar[str] = "graph.attended"

    every: int = 25

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "mass_right", "mass_wrong" and "mass_core" at x = steps."""
        found = mass(snapshot, held_out(snapshot))
        return joined([rows(f"mass_{name}", snapshot.step, value_E) for name, value_E in found.items()])


@final
@dataclass(frozen=True, kw_only=True)
class Margins(Measure):
    """What the graph itself is like: the winning margin at each distance, of all nodes and not of a sample."""

    name: ClassVar[str] = "graph.margins"

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "margin", the mean of Delta_n(z) over nodes, and "obeying", the share above 0, at x = distance.

        "balanced_obeying" is the mean of the two classes' shares: the accuracy of the vote itself.
        """
        found: list[list[Row]] = []
        for config, seed in zip(snapshot.configs, snapshot.seeds, strict=True):
            margin_NZ = config.margins(seed)
            label_N = config.graph(seed).label_N
            by_metric = {
                "margin": np.nanmean(margin_NZ, 0),
                "obeying": (margin_NZ > 0).mean(0),
                "balanced_obeying": np.mean([(margin_NZ[label_N == y] > 0).mean(0) for y in (1, -1)], 0),
            }
            found.append([Row(name, z, float(x)) for name, x_Z in by_metric.items() for z, x in enumerate(x_Z, 1)])
        return found


@final
@dataclass(frozen=True, kw_only=True)
class Passage(FirstPassage):
    """The step at which the error on the nodes to test on is first below a bound."""

    name: ClassVar[str] = "graph.passage"

    below: float = 0.15

    def watched(self, snapshot: Snapshot, memory: dict[str, Any]) -> Sequence[Watched]:
        """The share of wrong answers."""
        nodes = held_out(snapshot)
        return [Watched(error(outputs(snapshot, nodes), nodes.label_EB), self.below, {})]
