"""Rows of an ensemble, and the steps at which quantities first fall below their bounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import pytest
import torch
import toy

from lemmata.lab.ensemble import Snapshot
from lemmata.lab.grid import Cell, measure
from lemmata.lab.measures import FirstPassage, Repeated, Watched, joined, rows
from lemmata.lab.trainee import Measure, Row

INF, NAN = math.inf, math.nan

# What each member's two quantities are at steps 0, 4, 8, .. by its slope, which names it: both are to fall below 1.
SCRIPT = {
    1.0: ([5, 5, 0.5, 5, 5, 5], [5, 0.9, 0.9, 0.9, 0.9, 0.9]),  # below once is enough
    2.0: ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [5, 5, 5, 5, 5, 0.1]),  # at the start, and at the last step
    3.0: ([NAN, NAN, 0.0, 0.0, 0.0, 0.0], [1, 1, 1, 1, 1, 1]),  # at its bound is not below
    4.0: ([0, 0, 0, 0, 0, 0], [-1, -1, -1, -1, -1, -1]),
}
PASSED = {
    1.0: [("a", 4, 8), ("b", 0, 4)],
    2.0: [("a", 0, 0), ("b", 16, 20)],
    3.0: [("a", 4, 8), ("b", 20, INF)],
    4.0: [("a", 0, 0), ("b", 0, 0)],
}


@final
@dataclass(frozen=True, kw_only=True)
class Scripted(FirstPassage):
    """The quantities of `SCRIPT`, a and b; `memory` counts the looks."""

    name = "scripted"
    every: int = 4
    one: bool = False

    def watched(self, snapshot: Snapshot, memory: dict[str, Any]) -> Sequence[Watched]:
        memory["looks"] = looks = memory.get("looks", 0) + 1
        assert snapshot.step == min(4 * (looks - 1), 20)
        a, b = (
            torch.tensor([float(SCRIPT[config.slope][which][looks - 1]) for config in snapshot.configs])
            for which in (0, 1)
        )
        found = [Watched(a, 1.0, {"of": "a"}), Watched(b, 1.0, {"of": "b", "bound": 1})]
        return found[:1] if self.one else found


@final
@dataclass(frozen=True, kw_only=True)
class Looking(Measure):
    """Says at every step who is still there."""

    name = "looking"

    def steps(self, config: toy.Toy) -> Sequence[int]:
        return range(config.steps + 1)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        return [[Row("there", snapshot.step, 1.0)] for _ in snapshot.members]

    def finished(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[bool]:
        return [True] * len(snapshot.members)


def passages(measured):
    """(quantity, lo, hi) of each that was told, in order of the quantity."""
    lo, hi = ({r.at["of"]: r.value for r in measured if r.metric == f"steps_{end}"} for end in ("lo", "hi"))
    found = [row for row in measured if row.metric.startswith("steps_")]
    assert len(found) == 2 * len(lo) == 2 * len(hi) and all(row.x == 0 for row in found)
    return sorted((of, lo[of], hi[of]) for of in lo)


def run(slopes, *measures, steps=20):
    return measure([Cell(toy.Toy(slope=slope, steps=steps), 0, measures) for slope in slopes])


# First passage


@pytest.mark.parametrize("slopes", [(1.0,), (2.0,), (3.0,), (4.0,), (1.0, 2.0, 3.0, 4.0), (3.0, 1.0)])
def test_each_quantity_passes_between_the_last_look_before_and_the_first_below(slopes):
    results, _ = run(slopes, Scripted())
    for slope, result in zip(slopes, results, strict=True):
        assert passages(result.rows) == PASSED[slope]
        assert {tuple(row.at) for row in result.rows} == {("of",), ("of", "bound")}


def test_a_member_leaves_once_all_has_passed_and_keeps_the_weights_of_then():
    slopes = (1.0, 2.0, 3.0, 4.0)
    results, end = run(slopes, Scripted(), Looking())
    there = [max(row.x for row in result.rows if row.metric == "there") for result in results]
    assert there == [8, 20, 20, 0] and end.step == 20
    for e, (slope, last) in enumerate(zip(slopes, there, strict=True)):
        alone = toy.Toy(slope=slope, steps=int(last)).train([0])
        assert torch.equal(end.params["w"][e], alone.params["w"][0])
    # With one quantity nothing waits for the other.
    results, _ = run(slopes, Scripted(one=True), Looking())
    assert [max(row.x for row in r.rows if row.metric == "there") for r in results] == [8, 0, 8, 0]
    assert [passages(r.rows) for r in results] == [PASSED[slope][:1] for slope in slopes]


def test_a_measure_that_goes_on_changes_nothing_of_a_passage():
    for slope in SCRIPT:
        (alone,), _ = run((slope,), Scripted())
        (beside,), _ = run((slope,), toy.Weights(), Scripted())
        assert passages(beside.rows) == passages(alone.rows)
        assert {row.x for row in beside.rows if row.metric == "weight"} == {0, 20}


def test_it_looks_every_few_steps_and_at_the_end():
    assert isinstance(Scripted(), Repeated)
    assert list(Scripted().steps(toy.Toy(steps=20))) == [0, 4, 8, 12, 16, 20]
    assert list(Scripted(every=7).steps(toy.Toy(steps=20))) == [0, 7, 14, 20]
    # Once at a step, and the last may be the first.
    assert set(Scripted(every=10).steps(toy.Toy(steps=20))) == {0, 10, 20}
    assert set(Scripted().steps(toy.Toy(steps=0))) == {0}


def test_without_a_step_to_take_what_has_not_passed_never_does():
    (result,), _ = run((2.0,), Scripted(), steps=0)
    assert passages(result.rows) == [("a", 0, 0), ("b", 0, INF)]


# Rows


def test_rows_are_one_a_member_with_an_x_for_all_or_one_each():
    assert rows("error", 8, [0.1, 0.2], {"layer": 1}) == [
        [Row("error", 8, 0.1, {"layer": 1})],
        [Row("error", 8, 0.2, {"layer": 1})],
    ]
    value_E, x_E = torch.tensor([0.25, 0.5]), torch.tensor([3, 4])
    for x, values in ((x_E, value_E), ([3, 4], [0.25, 0.5])):
        assert rows("loss", x, values) == [[Row("loss", 3, 0.25, {})], [Row("loss", 4, 0.5, {})]]
    assert all(type(row.value) is float for (row,) in rows("loss", x_E, value_E))
    assert rows("loss", 0.5, value_E)[1] == [Row("loss", 0.5, 0.5, {})]


def test_rows_of_other_numbers_of_members_do_not_go_together():
    with pytest.raises(ValueError, match="zip"):
        rows("error", [1.0, 2.0, 3.0], [0.1, 0.2])
    with pytest.raises(ValueError, match="zip"):
        joined([rows("error", 8, [0.1, 0.2]), rows("loss", 8, [0.3])])


def test_joined_rows_stay_with_their_member_in_the_order_of_the_parts():
    parts = [rows(name, 1, [10.0 * i, 10.0 * i + 1]) for i, name in enumerate(("a", "b", "c"))]
    parts.insert(1, [[], [Row("more", 2, 5.0)]])
    assert [[(row.metric, row.value) for row in member] for member in joined(parts)] == [
        [("a", 0.0), ("b", 10.0), ("c", 20.0)],
        [("a", 1.0), ("more", 5.0), ("b", 11.0), ("c", 21.0)],
    ]
