"""Which neighbours of a node carry its label: the majority-vote margin by distance, and what a network learns of it.

    symbol      meaning                                                                             shape
    Delta_n(z)  margin: (nodes of n's label - those of the strongest other) / all, at distance z     (N, Z)
    chance      the same after all labels were dealt out anew, at random                             (N, Z)
    b_z         bias that a graph transformer learns for a distance, less its mean                   (S, Z)

A distance carries the label where the mean of Delta_n(z) - chance over nodes is above 0 with its whole 95 % interval.
It is advised where also the mean of b_z over seeds is above 0: where the network gives it more than the average
distance. Nodes of a graph are not independent, so that intervals over them are too short rather than too long.

Source: Assumption 1 and Theorem 4.1 of arXiv 2406.01977; the rule of the advice was made here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from lemmata.graph.theory import condition, core_distance, margins
from lemmata.lab.around import around, counts
from lemmata.lab.errors import InputError
from lemmata.lab.graphs import Graph
from lemmata.lab.grid import Cell, measure
from lemmata.lab.hop_data import HELD
from lemmata.lab.hop_measures import HopAccuracy, HopAttention
from lemmata.lab.hop_transformer import HopTransformer
from lemmata.lab.stats import Estimate, mean_t, paired_t
from lemmata.tools.sampler import Sampler

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


def _nothing(done: int, total: int) -> None:
    """Nobody listens."""


@final
@dataclass(frozen=True, kw_only=True)
class Distance:
    """One distance z.

    reached: share of the labelled nodes that have a node there. margin, excess: means over these, and over chance.
    obeying: share of all labelled nodes with a margin above 0. same, chance: share of same-label nodes there, and with
    labels dealt out anew.
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
    """What the network learned: b_z of each distance by its number, and accuracy on test nodes, over seeds."""

    bias: dict[int, Estimate]
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


def study(graph: Graph, *, max_hops: int, size: int = 4, told: Told = _nothing) -> Studied:
    """Measure a graph by distance. `told` hears of the nodes that were searched from, of all in both searches.

    Raises:
        InputError: max_hops below 1, or nobody labelled who has a neighbour.
    """
    if max_hops < 1:
        raise InputError("at least 1 hop", f"max-hops {max_hops}", "for example --max-hops 12")
    N = graph.nodes
    found = counts(graph, max_hops=max_hops, progress=lambda done, _: told(done, 2 * N))
    near = around(graph, max_hops=max_hops, S=HELD * size, progress=lambda done, _: told(N + done, 2 * N))
    known_N = graph.label_N >= 0
    margin_NZ, dealt_NZ = (
        margins(count_NZK, near.size_NZ, graph.label_N)[known_N] for count_NZK in (found.count_NZK, found.dealt_NZK)
    )
    own_at = np.maximum(graph.label_N, 0)[:, None, None]
    own_NZ, by_chance_NZ = (
        np.take_along_axis(c, own_at, 2)[..., 0][known_N] for c in (found.count_NZK, found.dealt_NZK)
    )
    distances = []
    for z in range(1, max_hops + 1):
        size_N = near.size_NZ[known_N, z - 1]
        there_N = size_N > 0
        if there_N.sum() < 2:
            break
        margin_N, dealt_N = margin_NZ[there_N, z - 1], dealt_NZ[there_N, z - 1]
        shares = [(of_NZ[there_N, z - 1] / size_N[there_N]).mean() for of_NZ in (own_NZ, by_chance_NZ)]
        distances.append(
            Distance(
                z=z,
                reached=float(there_N.mean()),
                margin=mean_t(margin_N),
                excess=paired_t(margin_N, dealt_N),
                obeying=condition(margin_NZ, z),
                same=float(shares[0]),
                chance=float(shares[1]),
            )
        )
    if not distances:
        raise InputError("labelled nodes that have a neighbour", "none", "label some, or add edges")
    return Studied(graph=graph, distances=tuple(distances), core=core_distance(margin_NZ[:, : len(distances)]))


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
    bias_SZ = np.array([[fit.get(("bias", z), 0.0) for z in config.hops] for fit in fits])
    return Learned(
        bias={z: mean_t(bias_S) for z, bias_S in zip(config.hops, bias_SZ.T, strict=True)},
        accuracy=mean_t([fit["accuracy", config.labelled] for fit in fits]),
        seconds=(time.monotonic() - began) / seeds,
    )


def advised(studied: Studied, learned: Learned) -> tuple[int, ...]:
    """The distances to sample from: those that carry the label and that the network gives more than the average."""
    return tuple(d.z for d in studied.distances if d.carries and learned.bias[d.z].value > 0)


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
