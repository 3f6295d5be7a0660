"""Real graphs: what their labels are like by distance, and the experiments on them.

The network is `lemmata.lab.hop_transformer`, on PubMed (homophilous) and Actor (which is not). Whether the answer sees
a node's own features is a condition: where it does, neighbours have little to add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd

from lemmata.graph.theory import margins
from lemmata.lab.around import around, counts
from lemmata.lab.claim import Prediction, provided
from lemmata.lab.ensemble import Snapshot
from lemmata.lab.frames import failing, pick
from lemmata.lab.graph_sets import open_graph
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.hop_measures import HopAccuracy, HopAttention
from lemmata.lab.hop_transformer import HopTransformer
from lemmata.lab.trainee import Measure, Row, Value

__all__ = ["AVERAGED", "DISTANCES", "GRAPHS", "NEEDS", "SHARES", "SINGLE", "SameLabel", "of_fitted"]

GRAPHS = ("PubMed", "Actor")
NEEDS = ("extra:torch_geometric", "data:planetoid", "data:actor")


@final
@dataclass(frozen=True, kw_only=True)
class SameLabel(Measure):
    """What the graph itself is like, whatever was trained on it."""

    name: ClassVar[str] = "graph.same_label"
    version: ClassVar[int] = 2

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows at x = z: "same_label", the share of nodes with one's own label; "margin", the mean Delta_n(z).

        "reached" is the share of the labelled nodes that have a node there.
        """
        config: HopTransformer = snapshot.configs[0]
        if not config.hops:
            return [[] for _ in snapshot.configs]
        graph, last = open_graph(config.graph), config.hops[-1]
        count_NZK = counts(graph, max_hops=last)
        size_NZ = around(graph, max_hops=last, S=2 * config.S).size_NZ
        margin_NZ = margins(count_NZK, size_NZ, graph.label_N)
        known_N = graph.label_N >= 0
        own_NZ = np.take_along_axis(count_NZK, np.maximum(graph.label_N, 0)[:, None, None], 2)[..., 0]
        found: list[Row] = []
        for z in config.hops:
            there_N = known_N & (size_NZ[:, z - 1] > 0)
            found.append(Row("reached", z, float(there_N.sum() / known_N.sum())))
            if there_N.any():
                share = float((own_NZ[there_N, z - 1] / size_NZ[there_N, z - 1]).mean())
                found += [Row("same_label", z, share), Row("margin", z, float(np.nanmean(margin_NZ[:, z - 1])))]
        return [found for _ in snapshot.configs]


# Distances to which a network is held, of which figure 8 has the accuracy.
SINGLE = (1, 3, 5, 7, 9, 11)


def _distances(single: tuple[int, ...]) -> tuple[dict[str, Value], ...]:
    held = [(1, 12), (1, 0), *((z, z) for z in single)]
    return tuple(
        {**at, "first": first, "last": last}
        for at in product(graph=GRAPHS, own=(True, False))
        for first, last in held
        if last or at["own"]
    )


# All distances together, each alone, and none.
DISTANCES = Experiment(
    name="distances",
    base=HopTransformer(),
    measures=(HopAccuracy(), HopAttention(), SameLabel()),
    points=ByProfile(_distances((1, 3, 7, 11)), _distances(SINGLE), _distances(SINGLE)),
    seeds=ByProfile(quick=5, default=10, full=20),
)

# Shares of labelled nodes that are averaged over in every profile.
AVERAGED = (0.02, 0.1, 0.6)

# The three networks by the share of labelled nodes.
SHARES = Experiment(
    name="shares",
    base=HopTransformer(),
    measures=(HopAccuracy(),),
    points=ByProfile(
        *[
            product(graph=GRAPHS, own=(True, False), attention=("encoded", "plain", "uniform"), labelled=shares)
            for shares in (AVERAGED, AVERAGED, (0.01, 0.02, 0.05, 0.1, 0.2, 0.6))
        ]
    ),
    seeds=ByProfile(quick=5, default=10, full=20),
)

# Of the nodes trained on, what a network gets right beyond those of the most frequent class.
FITTED = 0.05


def of_fitted(*predictions: Prediction, where: Mapping[str, object]) -> tuple[Prediction, ...]:
    """The same predictions, open where one of these networks has not learned even the nodes it was trained on."""
    return provided(partial(_unfitted, where=where), *predictions)


def _unfitted(frame: pd.DataFrame, *, where: Mapping[str, object]) -> tuple[str, ...]:
    words = f"networks are less than {FITTED} ahead of a constant answer on the nodes they were trained on"
    return failing(pick(frame, "learned", where), words, at_least=FITTED)
