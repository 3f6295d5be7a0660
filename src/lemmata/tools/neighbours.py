"""Which neighbours of a node carry its label: the majority-vote margin by distance, and what a network learns of it.

    symbol      meaning                                                                             shape
    Delta_n(z)  margin: (nodes of n's label - those of the strongest other) / all, at distance z     (L, Z)
    b_z         bias that a graph transformer learns for a distance, less its mean                   (S, Z)
    weight      exp(b_z - the largest b_z): a node there against one where it is largest             (S, Z)

A distance carries the label where the mean of Delta_n(z) over nodes is above what labels show that are dealt out anew
at random (`lemmata.tools.votes`), with the whole of an interval that holds for all distances together, 95 %. It is
advised where also the mean weight over seeds is at least a tenth. Intervals of Delta_n(z) itself are over nodes, which
are not independent: they are too short rather than too long.

Shapes: L labelled nodes, Z distances, S seeds.

Source: Assumption 1 and Theorem 4.1 of arXiv 2406.01977; the rule of the advice was made here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from lemmata.graph.theory import condition, core_distance
from lemmata.lab.errors import InputError
from lemmata.lab.graphs import Graph
from lemmata.lab.grid import Cell, measure
from lemmata.lab.hop_measures import HopAccuracy, HopAttention
from lemmata.lab.hop_transformer import HopTransformer
from lemmata.lab.stats import Estimate, above_chance, mean_t, paired_t
from lemmata.tools.sampler import Sampler
from lemmata.tools.votes import votes

__all__ = [
    "Arm",
    "Distance",
    "Learned",
    "Sampler",
    "Studied",
    "advised",
    "compare",
    "expected_seconds",
    "learn",
    "network",
    "study",
]

# Told of so many of so many.
Told = Callable[[int, int], None]
# Nodes at each distance that count as the whole neighbourhood, where there are as many.
WHOLE = 16
# A distance is left out where the network gives a node less than this, of what it gives where b_z is largest.
LIGHT = 0.1


def _nothing(done: int, total: int) -> None:
    """Nobody listens."""


@final
@dataclass(frozen=True, kw_only=True)
class Distance:
    """One distance z.

    reached: share of the labelled nodes that have a node there. margin: its mean over these; excess: what that is above
    chance. obeying: share of all labelled nodes with a margin above 0. same, chance: share of same-label nodes there,
    and with labels dealt out anew.
    """

    z: int
    reached: float
    margin: Estimate
    excess: Estimate
    obeying: float
    same: float
    chance: float

    @property
    def carries(self) -> bool:
        """Whether it carries the label."""
        return self.excess.lo > 0


@final
@dataclass(frozen=True, kw_only=True)
class Studied:
    """The graph by distance, those that any node reaches, and the estimated core distance."""

    graph: Graph
    distances: tuple[Distance, ...]
    core: int

    @property
    def obeying(self) -> float:
        """For which share of the nodes the vote at the core distance is right, as the theorem assumes of all."""
        return self.distances[self.core - 1].obeying


@final
@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the network learned: b_z and weights by distance, and accuracy on test nodes, over seeds."""

    bias: dict[int, Estimate]
    weight: dict[int, Estimate]
    accuracy: Estimate
    seconds: float


@final
@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to sample: its accuracy, what the advised distances are ahead of it (None of themselves), seconds a fit."""

    name: str
    accuracy: Estimate
    behind: Estimate | None
    seconds: float


def study(graph: Graph, *, max_hops: int, told: Told = _nothing) -> Studied:
    """Measure a graph by distance. `told` hears of the nodes that were searched from, of all.

    Raises:
        InputError: max_hops below 1, or nobody labelled who has a neighbour.
    """
    if max_hops < 1:
        raise InputError("at least 1 hop", f"max-hops {max_hops}", "for example --max-hops 12")
    found = votes(graph, max_hops=max_hops, told=told)
    there_LZ = found.size_LZ > 0
    # One node has no interval. Beyond a distance that nobody reaches there is none.
    reached = int((there_LZ.sum(0) >= 2).cumprod().sum())
    if not reached:
        raise InputError("labelled nodes that have a neighbour", "none", "label some, or add edges")
    level = 1 - 0.05 / reached
    distances = []
    for z in range(1, reached + 1):
        there_L, dealt_R = there_LZ[:, z - 1], found.dealt_margin_RZ[:, z - 1]
        margin = mean_t(found.margin_LZ[there_L, z - 1])
        distances.append(
            Distance(
                z=z,
                reached=float(there_L.mean()),
                margin=margin,
                excess=above_chance(margin.value, dealt_R, level=level),
                obeying=condition(found.margin_LZ, z),
                same=float(found.same_LZ[there_L, z - 1].mean()),
                chance=float(found.dealt_same_RZ[:, z - 1].mean()),
            )
        )
    return Studied(graph=graph, distances=tuple(distances), core=core_distance(found.margin_LZ[:, :reached]))


def network(studied: Studied, *, size: int, labelled: float, steps: int) -> HopTransformer:
    """The graph transformer that is fitted: all distances, `size` nodes at each.

    Raises:
        ConstantError: a size, share or number of steps that cannot be.
    """
    # Counts and words have no sign; what does is brought to mean 0.
    scaling = "rows" if studied.graph.feature_NC.min() >= 0 else "columns"
    scale = 3.0 if scaling == "rows" else 1.0
    base = HopTransformer(graph=studied.graph.key, last=len(studied.distances), S=size, labelled=labelled, steps=steps)
    return base.replace({"scaling": scaling, "scale": scale})


def learn(config: HopTransformer, seeds: int, *, told: Told = _nothing) -> Learned:
    """Fit the network once a seed. `told` hears of the fits."""
    began = time.monotonic()
    fits = []
    for seed in range(seeds):
        fits.append(_fitted(config, seed))
        told(seed + 1, seeds)
    bias_SZ = np.array([[fit["bias", z] for z in config.hops] for fit in fits])
    weight_SZ = np.exp(bias_SZ - bias_SZ.max(1, keepdims=True))
    bias, weight = (
        {z: mean_t(of_S) for z, of_S in zip(config.hops, of_SZ.T, strict=True)} for of_SZ in (bias_SZ, weight_SZ)
    )
    return Learned(
        bias=bias,
        weight=weight,
        accuracy=mean_t([fit["accuracy", config.labelled] for fit in fits]),
        seconds=(time.monotonic() - began) / seeds,
    )


def advised(studied: Studied, learned: Learned) -> tuple[int, ...]:
    """The distances to sample from: those that carry the label and are not light."""
    return tuple(d.z for d in studied.distances if d.carries and learned.weight[d.z].value >= LIGHT)


def compare(config: HopTransformer, hops: Sequence[int], seeds: int, *, told: Told = _nothing) -> list[Arm]:
    """The advised distances against other ways to sample, on the same splits, steps and seeds.

    Raises:
        InputError: no distance is advised.
    """
    arms = arms_of(config, hops)
    done, found = 0, {}
    for name, arm in arms.items():
        began, accuracy = time.monotonic(), []
        for seed in range(seeds):
            fit = _fitted(arm, seed)
            accuracy.append(fit["accuracy", arm.labelled])
            done += 1
            told(done, len(arms) * seeds)
        found[name] = (np.array(accuracy), (time.monotonic() - began) / seeds)
    first_S, _ = next(iter(found.values()))
    return [
        Arm(
            name=name,
            accuracy=mean_t(accuracy_S),
            behind=None if accuracy_S is first_S else paired_t(first_S, accuracy_S),
            seconds=seconds,
        )
        for name, (accuracy_S, seconds) in found.items()
    ]


def arms_of(config: HopTransformer, hops: Sequence[int]) -> dict[str, HopTransformer]:
    """The ways to sample that are compared, the advised one first.

    Raises:
        InputError: no distance is advised.
    """
    if not hops:
        fix = "leave --compare out: no distance carries the label here"
        raise InputError("distances that are advised", "none", fix)
    only = ",".join(map(str, hops))
    far, S = max(hops), config.S
    return {
        f"advised distances, {S} nodes at each": config.replace({"only": only, "last": far}),
        f"uniform over {far} hops, {len(hops) * S} nodes": config.replace(
            {"last": far, "sampling": "ball", "S": math.ceil(len(hops) * S / far)}
        ),
        f"the whole neighbourhood, up to {WHOLE} nodes at each of {config.last}": config.replace({"S": WHOLE}),
        "no neighbours": config.replace({"last": 0}),
    }


def expected_seconds(config: HopTransformer, hops: Sequence[int], seeds: int, learned: Learned) -> float:
    """How long the comparison takes, about, from how long a fit of all distances took."""
    return sum(learned.seconds * arm.work() / config.work() for arm in arms_of(config, hops).values()) * seeds


def _fitted(config: HopTransformer, seed: int) -> dict[tuple[str, float], float]:
    """The rows of one fit, by metric and x."""
    ((result,), _) = measure([Cell(config, seed, (HopAccuracy(), HopAttention()))])
    return {(row.metric, row.x): row.value for row in result.rows}
