"""What a step of a network costs: by how many are trained, by the length of its samples, and by its width.

    python -m lemmata.bench.cost docs/performance.md docs/images/cost.png

rewrites the table of that page and draws the figure, on one core and in some minutes.

    members  whole trainings of 200 steps, in chunks of as many as are chosen here: making the data is part of it
    length   steps at the beginning of training, of as many members as are usual; columns, tokens or nodes a distance
    width    the same by the neurons of the hidden layer, or in CoT, which has none, by the patterns
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import torch

from lemmata.bench.worker import WORKLOADS, Workload
from lemmata.lab.ensemble import steps_of
from lemmata.lab.figure import Curve, Figure, Panel
from lemmata.lab.pace import TURN, measured
from lemmata.lab.page import check_marks, rewrite
from lemmata.show.draw import figure

__all__ = ["main", "of_a_step", "of_training"]

MEMBERS = (1, 8, 64, 256, 1024)
STEPS, ROUNDS = 200, 5
# The constant that is the length of a sample, and the one that is the width, in each network.
LENGTH = {
    "icl.one-layer": ("l_tr", (10, 20, 40, 80)),
    "cot.one-layer": ("l_tr", (10, 20, 40, 80)),
    "editing.one-layer": ("P", (10, 20, 40, 80)),
    "vision.one-layer": ("L", (100, 200, 400, 800)),
    "graph.one-layer": ("S", (8, 16, 32, 64)),
}
WIDTH = {
    "icl.one-layer": ("m", (100, 200, 400, 800)),
    "cot.one-layer": ("M", (5, 10, 20, 30)),
    "editing.one-layer": ("m", (50, 100, 200, 400)),
    "vision.one-layer": ("m", (20, 40, 80, 160)),
    "graph.one-layer": ("m", (20, 40, 80, 160)),
}
# Microseconds of a member-step: of every round.
Times = list[float]


def of_training(workload: Workload, members: int, *, steps: int = STEPS, rounds: int = ROUNDS) -> Times:
    """Microseconds of a member-step in whole trainings of so many members, one after another on one core.

    >>> all(t > 0 for t in of_training(WORKLOADS["graph.one-layer"], 2, steps=8, rounds=2))
    True
    """
    config = workload.config.replace({"steps": steps})
    size = measured(workload.config).best()
    chunks = [range(first, min(first + size, members)) for first in range(0, members, size)]
    found: Times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for chunk in chunks:
            config.train(chunk)
        found.append((time.perf_counter() - began) * 1e6 / (members * steps))
    return found


def of_a_step(workload: Workload, changes: Mapping[str, int], *, rounds: int = ROUNDS) -> Times:
    """Microseconds of a member-step with other constants, without making the data.

    >>> all(t > 0 for t in of_a_step(WORKLOADS["graph.one-layer"], {"m": 20}, rounds=2))
    True
    """
    config = workload.config.replace(changes)
    run = steps_of([config] * config.together, range(config.together))
    next(run)
    found: Times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(TURN):
            next(run)
        found.append((time.perf_counter() - began) * 1e6 / (TURN * config.together))
    return found


def _all() -> dict[str, dict[str, dict[int, Times]]]:
    """The times of every network by members, length and width."""
    found: dict[str, dict[str, dict[int, Times]]] = {"members": {}, "length": {}, "width": {}}
    for name, workload in WORKLOADS.items():
        print(name, file=sys.stderr)
        few = {n: ROUNDS if n <= 64 else 1 for n in MEMBERS}
        of_training(workload, MEMBERS[0], rounds=1)
        found["members"][name] = {n: of_training(workload, n, rounds=rounds) for n, rounds in few.items()}
        for axis, constants in (("length", LENGTH), ("width", WIDTH)):
            constant, values = constants[name]
            found[axis][name] = {value: of_a_step(workload, {constant: value}) for value in values}
    return found


def table(found: Mapping[str, Mapping[str, Mapping[int, Times]]]) -> str:
    """The medians, as Markdown."""
    lines = ["| network | members: " + ", ".join(map(str, MEMBERS)) + " | length | width |", "|---|---|---|---|"]
    for name in WORKLOADS:
        members = _medians(found["members"][name])
        others = [
            f"{constant} = {', '.join(map(str, values))}: {_medians(found[axis][name])}"
            for axis, (constant, values) in (("length", LENGTH[name]), ("width", WIDTH[name]))
        ]
        lines.append(f"| {name} | {members} | {' | '.join(others)} |")
    return "\n".join(lines)


def _medians(times: Mapping[int, Times]) -> str:
    return ", ".join(f"{median(each):.0f}" if median(each) >= 10 else f"{median(each):.1f}" for each in times.values())


def drawn(found: Mapping[str, Mapping[str, Mapping[int, Times]]]) -> Figure:
    """A panel for members, length and width, a curve a network."""
    heads = {"members": "members in all", "length": "length of a sample", "width": "width"}
    panels = [
        Panel(
            title=f"by {axis}",
            x=head,
            y="microseconds a member-step",
            marks=tuple(_curve(name, found[axis][name], group) for group, name in enumerate(WORKLOADS)),
            x_log=True,
            y_log=True,
        )
        for axis, head in heads.items()
    ]
    return Figure(panels=tuple(panels), caption="What a step of a network costs on one core.")


def _curve(name: str, times: Mapping[int, Times], group: int) -> Curve:
    each: Sequence[Times] = list(times.values())
    return Curve(
        label=name,
        x=tuple(map(float, times)),
        mean=tuple(map(median, each)),
        lo=tuple(map(min, each)),
        hi=tuple(map(max, each)),
        n=min(map(len, each)),
        group=group,
    )


def main() -> None:
    """Rewrite the table between the marks of a page, and draw the figure."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("image", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    check_marks(asked.page, ["cost"])
    found = _all()
    rewrite(asked.page, {"cost": table(found)})
    figure(drawn(found)).savefig(asked.image, dpi=150)


if __name__ == "__main__":
    main()
