"""What `lemmata neighbours` prints of what it measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lemmata.cli.output import ends

if TYPE_CHECKING:
    from lemmata.lab.graphs import Graph
    from lemmata.tools.neighbours import Arm, Learned, Studied

__all__ = ["lines", "record", "setting"]


def setting(graph: Graph, hops: Sequence[int], size: int) -> dict[str, Any]:
    """What `--output` writes: the arguments of `lemmata.tools.neighbours.Sampler`."""
    return {"graph": graph.name, "hops": list(hops), "size": size}


def record(
    studied: Studied, learned: Learned, hops: Sequence[int] | None, arms: Sequence[Arm] | None, *, size: int
) -> dict[str, Any]:
    """What `--json` prints; its schema is in docs/schemas."""
    graph = studied.graph
    return {
        "graph": {
            "name": graph.name,
            "nodes": graph.nodes,
            "edges": graph.edges,
            "classes": graph.classes,
            "repairs": list(graph.repairs),
        },
        "distances": [
            {
                "distance": d.z,
                "reached": d.reached,
                "margin": ends(d.margin),
                "over_chance": ends(d.excess),
                "carries": d.carries,
                "obeying": d.obeying,
                "same_label": d.same,
                "chance": d.chance,
                "bias": ends(learned.bias[d.z]),
                "weight": ends(learned.weight[d.z]),
            }
            for d in studied.distances
        ],
        "core": {"distance": studied.core, "obeying": studied.obeying, "holds": studied.obeying == 1},
        "accuracy": ends(learned.accuracy),
        "advice": None if hops is None else {"hops": list(hops), "size": size},
        "comparison": None
        if arms is None
        else [
            {
                "sampling": arm.name,
                "accuracy": ends(arm.accuracy),
                "behind": None if arm.behind is None else ends(arm.behind),
                "seconds": arm.seconds,
            }
            for arm in arms
        ],
    }


def lines(
    studied: Studied, learned: Learned, hops: Sequence[int] | None, arms: Sequence[Arm] | None, *, size: int
) -> list[str]:
    """The same for reading."""
    from lemmata.show.words import count, shown
    from lemmata.tools.neighbours import LIGHT

    graph = studied.graph
    found = [
        f"graph     {graph.name}: {count(graph.nodes, 'node')}, {count(graph.edges, 'edge')}, "
        f"{count(graph.classes, 'class', 'classes')}",
        "",
        "distance  reached  margin                      over chance                 same label  chance  weight  b_z",
    ]
    for d in studied.distances:
        cells = [" ".join(shown(each)) for each in (d.margin, d.excess, learned.bias[d.z])]
        shares = f"{d.same:10.2f}  {d.chance:6.2f}  {learned.weight[d.z].value:6.2f}"
        found.append(f"{d.z:8}  {d.reached:7.0%}  {cells[0]:26}  {cells[1]:26}  {shares}  {cells[2]}")
    carrying = [d.z for d in studied.distances if d.carries]
    accuracy, interval = shown(learned.accuracy)
    found += [
        "",
        f"label     {_words(carrying, 'carries', 'carry')} more of the label than chance",
        f"core      distance {studied.core} has the largest margin; the vote there is right for {studied.obeying:.1%} "
        f"of the labelled nodes, and the theorem wants all: its condition "
        f"{'holds' if studied.obeying == 1 else 'does not hold'}",
        f"network   accuracy {accuracy} {interval} on test nodes, with {size} nodes of each distance",
    ]
    if hops is not None:
        why = f"more of the label than chance, and a weight of {LIGHT} or more"
        found.append(
            f"advice    sample at {', '.join(map(str, hops))}: {why}" if hops else f"advice    none: none has {why}"
        )
    for arm in arms or ():
        (accuracy, interval), (behind, of_behind) = shown(arm.accuracy), shown(arm.behind)
        ahead = f", {behind} {of_behind} behind the advised distances" if arm.behind else ""
        found.append(f"compare   {accuracy} {interval} with {arm.name}{ahead}; {arm.seconds:.0f} seconds a fit")
    return found


def _words(distances: Sequence[int], one: str, many: str) -> str:
    if not distances:
        return f"no distance {one}"
    named = ", ".join(map(str, distances))
    return f"distances {named} {many}" if len(distances) > 1 else f"distance {named} {one}"
