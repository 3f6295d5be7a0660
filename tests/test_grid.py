"""Cells: what makes two results the same one, and which cells an experiment has at each profile."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from lemmata import icl
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import ErrorCurve, ErrorPassage
from lemmata.lab import grid
from lemmata.lab.errors import ConstantError, InputError
from lemmata.lab.grid import FIRST_CHOOSING_SEED, PROFILES, ByProfile, Cell, Experiment, measure, product
from lemmata.lab.trainee import Measure, Trainee, constant

EXPERIMENTS = {e.name: e for claim in icl.PAPER.claims for e in claim.experiments}


@final
@dataclass(frozen=True, kw_only=True)
class Point(Trainee):
    """A trainee with a constant of every type, which is never trained."""

    kind = "test.point"
    version = 3

    share: float = constant(0.5, "a share", origin="given", room="data", low=0, high=1)
    count: int = constant(4, "a count", origin="given", room="network", low=1, shape=True)
    even: bool = constant(False, "a mark", origin="chosen", room="network")
    law: str = constant("normal", "a law", origin="chosen", room="data", choices=("normal", "uniform"))

    def validate(self) -> None:
        if self.even and self.count % 2:
            raise ConstantError("an even count", f"{self.count}", "raise it")

    def work(self) -> float:
        return 0.0

    @classmethod
    def job(cls, configs, seeds, device):
        raise NotImplementedError


def sweep(**changes):
    """An experiment on Points that grows with the profile."""
    shares = ([0.2, 0.8], [0.2, 0.4, 0.8], [0.2, 0.3, 0.4, 0.8])
    made = Experiment(
        name="sweep",
        base=Point(),
        measures=(toy.Weights(),),
        points=ByProfile(*[product(share=some) for some in shares]),
        seeds=ByProfile(quick=3, default=5, full=8),
        settings={"even": {"even": True}, "small": {"share": 0.1, "count": 2}},
        setting_seeds=ByProfile(quick=0, default=2, full=9),
    )
    return replace(made, **changes)


ONE_POINT = ByProfile(({},), ({},), ({},))


def ids(cells):
    return [cell.id for cell in cells]


def values(cells, *names):
    return [tuple(getattr(cell.config, name) for name in names) for cell in cells]


# Identity


def test_the_ids_of_two_cells_are_pinned():
    """With other ids everything that was ever stored would have to be trained again."""
    assert Cell(Point(), 7, (toy.Weights(),)).id == "7cd8e1935b9cdef755f2"
    data = {"M1": 6, "M2": 24, "beta": 2.0, "kappa": 0.5, "alpha": 0.8, "tasks": "cyclic", "sampler": "iid"}
    sizes = {"l_tr": 20, "l_min": 0, "B": 64, "d_Y": 1, "m": 64, "steps": 400}
    rest = {"delta": 0.2, "xi": 0.03, "lr": 0.5}
    passage = ErrorPassage(every=4, below=0.01, loss="error", l=20, alpha=0.8, prompts=2048)
    assert Cell(OneLayer().replace(data | sizes | rest), 3, (passage,)).id == "cdc89f2618b92260228a"


def test_an_id_is_the_same_in_another_process():
    code = "from test_grid import *; print(Cell(OneLayer(), 3, (ErrorCurve(),)).id)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    assert run.stdout.strip() == Cell(OneLayer(), 3, (ErrorCurve(),)).id


def changed(config, name):
    """The same with another value of one constant."""
    value, about = getattr(config, name), config.constants()[name]
    if isinstance(value, bool):
        return config.replace({name: not value})
    if isinstance(value, str):
        return config.replace({name: next(choice for choice in about.choices if choice != value)})
    if isinstance(value, int):
        return config.replace({name: value + 2})
    return config.replace({name: value * 0.5})


CONFIGS = [Point(), OneLayer(), icl.SmallGPT(l_min=0)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_every_constant_and_the_seed_are_part_of_the_id(config):
    cells = [Cell(config, 0, ()), Cell(config, 1, ())]
    cells += [Cell(changed(config, name), 0, ()) for name in config.constants()]
    assert len(set(ids(cells))) == 2 + len(config.constants())


def test_what_is_measured_and_both_versions_are_part_of_the_id(monkeypatch):
    cell = Cell(OneLayer(), 0, (ErrorCurve(),))
    others = [
        Cell(OneLayer(), 0, ()),
        Cell(OneLayer(), 0, (ErrorPassage(),)),
        Cell(OneLayer(), 0, (ErrorCurve(prompts=100),)),
        Cell(OneLayer(), 0, (ErrorCurve(alpha_test=(0.6,)),)),
        Cell(OneLayer(), 0, (ErrorCurve(), ErrorPassage())),
    ]
    assert len({cell.id, *ids(others)}) == 6
    for kind, name, value in ((OneLayer, "version", 99), (ErrorCurve, "version", 99), (grid, "GENERATOR", "another")):
        with monkeypatch.context() as patch:
            patch.setattr(kind, name, value)
            assert Cell(OneLayer(), 0, (ErrorCurve(),)).id != cell.id
    assert Cell(OneLayer(), 0, (ErrorCurve(),)).id == cell.id


def test_neither_the_experiment_nor_how_it_runs_is_part_of_the_id():
    named = replace(sweep(), name="another", seeds=ByProfile(9, 9, 9), settings={}, points=sweep().points)
    assert set(ids(sweep().cells("quick"))) < set(ids(named.cells("quick")))
    spec = Cell(OneLayer(), 0, (ErrorPassage(),)).spec
    assert set(spec) == {"kind", "version", "generator", "config", "seed", "measures"}
    assert set(spec["config"]) == set(OneLayer.constants())
    assert json.loads(json.dumps(spec)) == json.loads(json.dumps(spec, sort_keys=True))


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0, -0.0), (0.0, -0.0)])
def test_a_number_written_in_two_ways_is_the_same_constant(one, other):
    cells = [Cell(Point(share=value), 0, ()) for value in (one, other)]
    assert cells[0].id == cells[1].id and cells[0].config.axes("data") == cells[1].config.axes("data")
    assert json.dumps(cells[0].config.axes("data")) == json.dumps(cells[1].config.axes("data"))


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_cells_are_equal_where_their_ids_are(one, other):
    cells = [Cell(Point(share=value), 0, ()) for value in (one, other)]
    assert (cells[0] == cells[1]) == (cells[0].id == cells[1].id) == (one == other)


def test_cells_of_one_key_train_together():
    def key(**changes):
        return Cell(Point(**changes), 0, (toy.Weights(),)).batch_key

    assert key() == key(share=0.1, law="uniform", even=True, lr=2.0)
    assert key() != key(count=2) and key() != key(steps=7)
    assert key() != Cell(Point(), 0, ()).batch_key


# Measuring


def test_a_cell_has_its_own_rows_whatever_it_is_measured_with():
    cells = toy.cells(6, steps=5)
    results, end = measure(cells)
    assert [r.cell for r in results] == cells and [r.status for r in results] == ["ok"] * 6
    assert list(end.configs) == [c.config for c in cells] and end.step == 5
    for cell, result in zip(cells, results, strict=True):
        (alone,), _ = measure([cell])
        assert alone == result
        assert [(row.x, row.at["of"]) for row in result.rows] == [(0, "w"), (0, "b"), (5, "w"), (5, "b")]


@final
@dataclass(frozen=True, kw_only=True)
class Until(Measure):
    """Looks every step until the seed is reached."""

    name = "until"

    def steps(self, config):
        return range(config.steps + 1)

    def observe(self, snapshot, memory):
        memory["looks"] = memory.get("looks", 0) + 1
        return [[grid.Row("looks", snapshot.step, memory["looks"])] for _ in snapshot.members]

    def finished(self, snapshot, memory):
        return [snapshot.step >= seed for seed in snapshot.seeds]


def test_a_member_trains_until_all_measures_are_done_with_it():
    cells = [Cell(toy.Toy(steps=4), seed, (Until(),)) for seed in (2, 0, 9)]
    assert [[row.x for row in r.rows] for r in measure(cells)[0]] == [[0, 1, 2], [0], [0, 1, 2, 3, 4]]
    both = [replace(cell, measures=(Until(), toy.Weights())) for cell in cells]
    for result in measure(both)[0]:
        assert [row.x for row in result.rows if row.metric == "looks"] == [0, 1, 2, 3, 4]
        assert [row.x for row in result.rows if row.metric == "weight"] == [0, 0, 4, 4]


# Grids


def test_a_product_has_every_combination_the_last_axis_fastest():
    points = product(a=[1, 2], b=["x", "y"])
    assert [tuple(point.values()) for point in points] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert [tuple(point) for point in points] == [("a", "b")] * 4
    assert product() == ({},) and product(a=[]) == ()


def test_profiles_differ_in_points_and_seeds():
    counts = [(3, 2), (5, 3), (8, 4)]
    for profile, (seeds, points) in zip(PROFILES, counts, strict=True):
        cells = sweep().cells(profile)
        assert len(cells) == len(set(ids(cells))) == seeds * points
        assert {cell.seed for cell in cells} == set(range(seeds))
    assert ByProfile(1, 2, 3).at("full") == 3


@pytest.mark.parametrize("experiment", [sweep(), *EXPERIMENTS.values()], ids=lambda e: e.name)
def test_a_smaller_profile_is_part_of_a_larger_one(experiment):
    quick, default = (set(ids(experiment.cells(profile))) for profile in ("quick", "default"))
    assert quick <= default
    assert experiment.seeds.quick <= experiment.seeds.default <= experiment.seeds.full
    for setting in experiment.settings:
        few, some, many = (set(ids(experiment.cells(profile, setting=setting))) for profile in PROFILES)
        assert few <= some and len(some) <= len(many)
        assert not some & default, f"{setting} is the registered setting in all or in part"


def test_seeds_can_be_asked_for():
    assert {cell.seed for cell in sweep().cells("quick", seeds=6)} == set(range(6))
    assert set(ids(sweep().cells("quick"))) < set(ids(sweep().cells("quick", seeds=6)))
    top = FIRST_CHOOSING_SEED - 1
    assert len(sweep(points=ONE_POINT).cells("quick", seeds=top)) == top


@pytest.mark.parametrize("seeds", [0, -3, FIRST_CHOOSING_SEED, 10**9])
def test_seeds_out_of_range_are_refused(seeds):
    with pytest.raises(InputError, match=f"from 1 to {FIRST_CHOOSING_SEED - 1}"):
        sweep().cells("quick", seeds=seeds)


def test_a_setting_repeats_the_grid_with_its_own_constants_and_seeds():
    small = sweep().cells("default", setting="small")
    # Its share is that of the whole sweep, so one condition is left.
    assert values(small, "share", "count") == [(0.1, 2)] * 2 and [cell.seed for cell in small] == [0, 1]
    even = sweep().cells("default", setting="even")
    assert values(even, "share", "even") == [(share, True) for share in (0.2, 0.4, 0.8) for _ in range(2)]
    assert sweep().cells("quick", setting="even") == []
    # No more than the registered setting has.
    assert len({c.seed for c in sweep().cells("full", setting="even")}) == 8
    assert {c.seed for c in sweep().cells("default", setting="even", seeds=1)} == {0}


def test_changes_go_over_points_and_settings_and_merge_what_becomes_equal():
    assert values(sweep().cells("quick", changes={"share": 0.9}, seeds=1), "share") == [(0.9,)]
    more = sweep().cells("quick", changes={"count": 8}, seeds=1)
    assert values(more, "share", "count") == [(0.2, 8), (0.8, 8)]
    assert set(values(sweep().cells("full", setting="small", changes={"count": 6}), "count")) == {(6,)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shre": 0.2}, "did you mean share"),
        ({"share": 1.5}, r"\[0, 1\]"),
        ({"share": float("nan")}, "share"),
        ({"count": 2.5}, "whole number"),
        ({"count": True}, "whole number"),
        ({"even": 1}, "true or false"),
        ({"law": "norm"}, "did you mean normal"),
        ({"law": 3}, "a word"),
        ({"even": True, "count": 3}, "an even count"),
    ],
)
def test_changes_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ConstantError, match=words):
        sweep().cells("quick", changes=changes)


def test_the_coordinates_of_measures_can_be_changed_too():
    measures = (ErrorCurve(alpha_test=(0.6, 0.8), S_1=(1.0,)), ErrorCurve())
    experiment = sweep(base=OneLayer(), measures=measures, points=ONE_POINT, settings={})
    (cell,) = experiment.cells("quick", seeds=1, changes={"alpha_test": 0.5, "S_1": 1, "lr": 1.0})
    assert values([cell], "lr") == [(1.0,)]
    # The second measure makes no sweep over S_1, and begins none.
    assert cell.measures == (ErrorCurve(alpha_test=(0.5,), S_1=(1.0,)), ErrorCurve(alpha_test=(0.5,)))
    with pytest.raises(InputError, match=r"\|S_1\| <= 1.41421"):
        experiment.cells("quick", changes={"S_1": 1.6})
    with pytest.raises(ConstantError, match="alpha_test"):
        experiment.cells("quick", changes={"alpha_test": 1.2})
    assert {"lr", "alpha_test", "S_1"} <= set(experiment.changeable())


# Constants


def test_a_constant_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ConstantError, match="did you mean beta"):
        OneLayer().replace({"bta": 1.0})
    assert OneLayer().replace({"beta": 1.5}) == OneLayer(beta=1.5)


def test_a_constant_knows_who_fixed_it_and_what_it_is_an_axis_of():
    about = Point.constants()
    assert list(about) == ["lr", "steps", "share", "count", "even", "law"]
    assert (about["share"].meaning, about["share"].origin, about["share"].room) == ("a share", "given", "data")
    assert Point(share=0.25).axes("data") == {"share": 0.25, "law": "normal"}
    assert Point().axes("network") == {"count": 4, "even": False}
    assert Point(count=6).shape_key() == (400, 6)


@pytest.mark.parametrize("kind", [OneLayer, icl.SmallGPT])
def test_every_constant_of_the_paper_is_in_one_room_and_has_a_meaning(kind):
    for about in kind.constants().values():
        assert about.meaning and about.origin in ("given", "chosen")
    rooms = [kind().axes(room) for room in ("data", "network", "training")]
    assert sum(map(len, rooms)) == len(kind.constants())
