"""How many are trained together and which of them compiled: by what was measured, and where that is worth it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch._dynamo.exc import TorchDynamoException

from lemmata.lab import chunks, pace
from lemmata.lab.cache import keep
from lemmata.lab.chunks import Choice, choose, chunked, joined
from lemmata.lab.grid import Cell
from lemmata.lab.pace import Pace
from lemmata.lab.store import Store
from lemmata.lab.sweep import plan, sweep
from lemmata.lab.trainee import Trainee

# Of a step, as toy.Toy.work says.
OPERATIONS = 1e6
FLAT = Pace((4, 8), (100.0, 100.0), 0.1)


class Machine:
    """One that is as fast as it is told, and remembers what was measured on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paces: dict[tuple[int, bool], Pace] = {}
        self.measured: list[tuple[int, bool]] = []
        monkeypatch.setattr(pace, "measured", self.measure)
        monkeypatch.setattr(pace, "remembered", self.remember)

    def measure(self, config: Any, *, device: str = "cpu", compile: bool = False) -> Pace:
        if (config.steps, compile) not in self.measured:
            self.measured.append((config.steps, compile))
        return self.paces[config.steps, compile]

    def remember(self, config: Any, *, device: str = "cpu", compile: bool = False) -> Pace | None:
        return self.paces[config.steps, compile] if (config.steps, compile) in self.measured else None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def chosen(
    cells: list[Cell], *, rate: float | None = None, workers: int = 1, compile: bool = False, here: bool = True
) -> dict[int, Choice]:
    """By the steps of the shape."""
    found = choose(cells, rate=lambda _: rate, workers=workers, compile=compile, here=here)
    return {int(choice.constants["steps"]): choice for choice in found.values()}


def test_of_little_work_nothing_is_measured(machine: Machine) -> None:
    # At 10^10 operations a second: just below five seconds.
    choices = chosen(toy.cells(49, steps=1000))
    assert choices[1000].source == "usual" and choices[1000].together == toy.Toy.together and not machine.measured
    assert choices[1000].seconds == pytest.approx(4.9)


def test_of_a_kind_that_takes_seconds_the_heaviest_shape_is_measured_and_the_others_are_taken_as_like_it(
    machine: Machine,
) -> None:
    machine.paces[1000, False] = Pace((4, 8, 16), (1e4, 1.9e4, 2e4), 0.1)
    choices = chosen([*toy.cells(20, steps=100), *toy.cells(60, steps=1000)])
    assert machine.measured == [(1000, False)]
    assert [(choices[n].source, choices[n].together) for n in (100, 1000)] == [("similar", 8), ("measured", 8)]
    # 60 000 steps at 20 000 a second.
    assert choices[1000].seconds == pytest.approx(3.0)


def test_every_shape_that_takes_minutes_is_measured(machine: Machine) -> None:
    machine.paces = {(3000, False): Pace((4, 8), (100, 200), 0.1), (2000, False): Pace((4, 8), (200, 100), 0.1)}
    choices = chosen([*toy.cells(8, steps=2000), *toy.cells(8, steps=3000), *toy.cells(8, steps=1)], rate=1e8)
    assert machine.measured == [(3000, False), (2000, False)]
    assert [choices[n].together for n in (3000, 2000)] == [8, 4]
    # The last is as much work a step as either, and takes after the first of them.
    assert choices[1].source == "similar"
    # What the store knows of the rate says how long it takes.
    assert choices[3000].seconds == pytest.approx(8 * 3000 * OPERATIONS / 1e8)


def test_a_similar_shape_is_the_one_that_is_nearest_in_work(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.Toy, "work", lambda self: OPERATIONS * self.steps**2)
    machine.paces = {(900, False): Pace((4,), (100,), 0.1), (100, False): Pace((16,), (1000,), 0.1)}
    machine.measured = [(900, False), (100, False)]
    choices = chosen([cell for steps in (900, 500, 200, 100) for cell in toy.cells(2, steps=steps)])
    assert [choices[n].together for n in (900, 500, 200, 100)] == [4, 4, 16, 16]


def test_what_is_remembered_is_used_however_little_there_is_to_do(machine: Machine) -> None:
    machine.paces[20, False], machine.measured = Pace((8, 32), (100, 300), 0.1), [(20, False)]
    assert chosen(toy.cells(1))[20].together == 32


def test_nothing_is_measured_for_workers_elsewhere(machine: Machine) -> None:
    machine.paces[20, False], machine.measured = Pace((8, 32), (100, 300), 0.1), [(20, False)]
    assert chosen(toy.cells(400, steps=20), rate=1e6, here=False)[20].source == "usual"
    assert not chosen(toy.cells(40, steps=20), rate=1e8, compile=True, here=False)[20].compile
    assert chosen(toy.cells(400, steps=20), rate=1e6, compile=True, here=False)[20].compile


@pytest.mark.parametrize(
    ("gain", "first", "workers", "compiled"),
    [
        (2.0, 499.0, 1, True),  # 2000 seconds become 1000, and two programs are compiled
        (2.0, 501.0, 1, False),
        (2.0, 499.0, 2, False),  # of each worker, 1000 become 500
        (2.0, 249.0, 2, True),
        (1.0, 0.1, 1, False),
        (0.5, 0.1, 1, False),
    ],
)
def test_a_shape_is_compiled_where_that_saves_more_than_it_costs(
    machine: Machine, gain: float, first: float, workers: int, compiled: bool
) -> None:
    machine.paces = {(2000, False): FLAT, (2000, True): Pace((8, 16), (90 * gain, 100 * gain), first)}
    cells = toy.cells(100, steps=2000)
    choice = chosen(cells, workers=workers, compile=True)[2000]
    assert choice.compile is compiled and choice.together == (16 if compiled else 4)
    assert choice.seconds == pytest.approx(2000 / (gain if compiled else 1))
    assert all(chunk.compile is compiled for chunk in chunked(cells, 1, {("toy", cells[0].config.shape_key()): choice}))


def test_compiling_is_not_tried_for_a_minute_nor_unasked(machine: Machine) -> None:
    machine.paces = {(2000, False): FLAT}
    assert not chosen(toy.cells(100, steps=2000))[2000].compile
    assert not chosen(toy.cells(100, steps=2000), workers=34, compile=True)[2000].compile
    assert machine.measured == [(2000, False)]


def test_without_a_compiler_nothing_is_compiled_and_it_is_said(machine: Machine, monkeypatch: Any) -> None:
    machine.paces = {(2000, False): FLAT}

    def measured(config: Any, *, device: str = "cpu", compile: bool = False) -> Pace:
        if compile:
            raise TorchDynamoException("no compiler\nand more")
        return machine.measure(config)

    monkeypatch.setattr(pace, "measured", measured)
    notes: list[str] = []
    found = choose(toy.cells(100, steps=2000), rate=lambda _: None, workers=1, compile=True, tell=notes.append)
    assert [choice.compile for choice in found.values()] == [False]
    assert notes[-1] == "toy is not compiled: no compiler"


def test_what_takes_no_steps_is_not_measured(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.Weights, "work", lambda self, config: 1e12)
    (choice,) = chosen(toy.cells(20, steps=0), compile=True).values()
    assert choice.source == "usual" and not choice.compile and choice.seconds > 1000 and not machine.measured


@pytest.mark.parametrize(("together", "count"), [(1, 5), (2, 3), (2, 5), (3, 7), (8, 9)])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_chunk_has_more_members_than_were_chosen(together: int, count: int, workers: int) -> None:
    cells = toy.cells(count)
    choice = Choice("toy", {}, count, together, False, 1.0, "measured")
    sizes = [len(chunk.cells) for chunk in chunked(cells, workers, {("toy", cells[0].config.shape_key()): choice})]
    assert max(sizes) <= together and sum(sizes) == count


def test_choices_that_are_equal_are_joined_the_most_work_first() -> None:
    one = Choice("toy", {"steps": 5}, 3, 8, False, 1.0, "usual")
    other = replace(one, constants={"steps": 6}, seconds=9.0)
    assert joined([one, other, replace(one, cells=4, seconds=2.0)]) == (other, replace(one, cells=7, seconds=3.0))
    assert len(joined([one, replace(one, compile=True), replace(one, together=4), replace(one, source="similar")])) == 4


def test_a_plan_tells_the_choices_and_a_sweep_trains_by_them(store: Store, machine: Machine, tmp_path: Path) -> None:
    machine.paces[20, False], machine.measured = Pace((3, 6), (100, 300), 0.1), [(20, False)]
    cells = toy.cells(24, measures=[toy.Diary(folder=str(tmp_path))])
    planned = plan(cells, store, workers=1)
    (choice,) = planned.choices
    assert (choice.kind, choice.cells, choice.together, choice.source) == ("toy", 24, 6, "measured")
    assert (planned.chunks, planned.chunk_size) == (4, 6)
    sweep(cells, store, workers=1)
    assert sorted(len(file.read_text().split()) for file in tmp_path.glob("*-*")) == [6] * 4


def test_what_is_being_measured_is_told(store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "WORTH_ONE", 0.0)
    machine.paces[20, False] = FLAT
    notes: list[str] = []
    plan(toy.cells(4), store, workers=1, progress=lambda done, total, left, note="": notes.append(note))
    assert notes == ["measuring how many of toy to train together"]


# Measuring


def test_a_shape_is_measured_once_a_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEMMATA_CACHE", str(tmp_path))
    monkeypatch.setattr(pace, "SECONDS", 0.3)
    config = toy.Toy(steps=3)
    assert pace.remembered(config) is None
    found = pace.measured(config)
    assert found.together == (4, 8, 16, 32) and all(rate > 0 for rate in found.rate) and found.first > 0
    monkeypatch.setattr(pace, "steps_of", None)
    assert pace.measured(config.replace({"slope": 2.0, "lr": 0.5})) == pace.remembered(config) == found
    for other in (toy.Toy(steps=4), toy.Toy(steps=3)):
        assert pace.remembered(other, compile=other.steps == 3) is None
    monkeypatch.setattr(pace, "processor", lambda: "another")
    assert pace.remembered(config) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"rate": np.array([1.0, np.nan])},
        {"rate": np.array([1.0, 0.0])},
        {"rate": np.array([1.0])},
        {"together": np.array([4.5, 8.0])},
        {"together": np.array([]), "rate": np.array([])},
        {"first": np.array(0.1)},
        {"first": np.array([0.1, 0.2])},
    ],
    ids=str,
)
def test_what_is_odd_in_the_cache_is_measured_again(odd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEMMATA_CACHE", str(tmp_path))
    monkeypatch.setattr(pace, "SECONDS", 0.3)
    sound = {"together": np.array([4, 8]), "rate": np.array([1.0, 2.0]), "first": np.array([0.1])}
    keep("pace", pace._of(toy.Toy(), "cpu", False), sound | odd)
    assert pace.remembered(toy.Toy()) is None
    assert pace.measured(toy.Toy()).together == (4, 8, 16, 32) and pace.remembered(toy.Toy()) is not None


def test_whoever_has_no_home_measures_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SECONDS", 0.3)
    monkeypatch.setattr("lemmata.lab.cache.folder", raising(RuntimeError("Could not determine home directory.")))
    assert pace.remembered(toy.Toy()) is None and pace.measured(toy.Toy()).rate


def test_no_more_are_tried_than_the_kind_allows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEMMATA_CACHE", str(tmp_path))
    monkeypatch.setattr(pace, "SECONDS", 0.3)
    monkeypatch.setattr(toy.Toy, "most", 12)
    assert pace.measured(toy.Toy()).together == (4, 8, 12)
    # Nothing said: no more than are usual.
    monkeypatch.setattr(toy.Toy, "most", 0)
    assert pace.measured(toy.Toy(steps=3)).together == (4, 8)


def raising(error: Exception) -> Any:
    """A function that raises it."""

    def function(*_: object) -> None:
        raise error

    return function


def steps_in(seconds: dict[int, float], room: float = float("inf")) -> Any:
    """A machine on whose clock a step of so many members takes so long, if there is room for them."""
    clock = [0.0]

    def steps_of(configs: list[Trainee], seeds: range, *, device: str, compile: bool) -> Iterator[float]:
        assert len(configs) == len(seeds)
        if len(configs) > room:
            raise torch.OutOfMemoryError
        while True:
            clock[0] += seconds[len(configs)]
            yield 0.0

    return steps_of, lambda: clock[0]


@pytest.mark.parametrize(
    ("seconds", "room", "rates", "best"),
    [
        ({4: 0.001, 8: 0.001, 16: 0.002, 32: 0.004}, 99, [4000, 8000, 8000, 8000], 8),
        ({4: 0.1, 8: 0.2, 16: 0.4, 32: 0.8}, 99, [40, 40, 40, 40], 4),
        ({4: 0.3, 8: 0.6}, 99, [13.3, 13.3], 4),
        ({4: 0.01, 8: 0.01}, 8, [400, 800], 8),
        ({4: 0.01}, 4, [400], 4),
    ],
)
def test_turns_are_timed_until_a_second_is_over(
    seconds: dict[int, float],
    room: float,
    rates: list[float],
    best: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LEMMATA_CACHE", str(tmp_path))
    steps_of, clock = steps_in(seconds, room)
    monkeypatch.setattr(pace, "steps_of", steps_of)
    monkeypatch.setattr(pace.time, "perf_counter", clock)
    found = pace.measured(toy.Toy())
    assert list(found.together) == list(seconds) and found.rate == pytest.approx(rates, rel=0.01)
    assert found.best() == best and found.first == pytest.approx(max(seconds.values()))


def test_without_room_for_the_fewest_there_is_no_pace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEMMATA_CACHE", str(tmp_path))
    monkeypatch.setattr(pace, "steps_of", steps_in({}, room=3)[0])
    with pytest.raises(torch.OutOfMemoryError):
        pace.measured(toy.Toy())
