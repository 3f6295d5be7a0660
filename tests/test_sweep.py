"""Sweeps: the same numbers however they are run, nothing trained twice, and nothing lost but what was in flight."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import torch
import toy

from lemmata import cot, editing, graph, icl, vision
from lemmata.lab import sweep as room
from lemmata.lab.chunks import Chunk
from lemmata.lab.ensemble import Snapshot
from lemmata.lab.errors import DeviceError, EngineError, InputError, StoreError, UnknownNameError
from lemmata.lab.grid import Cell, measure
from lemmata.lab.store import Store
from lemmata.lab.sweep import check_device, plan, sweep
from lemmata.lab.trainee import Measure, Row, Trainee
from lemmata.lab.work import train


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def numbers(store: Store, cells: list[Cell]) -> pd.DataFrame:
    """Everything but the time it took."""
    return store.read(cells).drop(columns="seconds")


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


# Numbers


def test_a_member_is_the_same_alone_and_in_chunks_of_any_size() -> None:
    cells = toy.cells(64)
    together = measure(cells)[0]
    for size in (1, 3):
        assert [r for i in range(0, 64, size) for r in measure(cells[i : i + size])[0]] == together


def test_workers_and_other_conditions_change_nothing(tmp_path: Path) -> None:
    cells, others = toy.cells(24), toy.cells(8, start=-1.0) + toy.cells(8, steps=7)
    one, four = Store(tmp_path / "one"), Store(tmp_path / "four")
    assert len(sweep(cells, one, workers=1).trained) == 24
    assert len(sweep([*others, *cells], four, workers=4).trained) == 40
    before = numbers(one, cells)
    same(numbers(four, cells), before)
    sweep([*others, *cells], one, workers=1)
    same(numbers(one, cells), before)
    same(numbers(one, others), numbers(four, others))
    run, other = (store.provenance(toy.Toy())[0] for store in (one, four))
    assert run["threads"] == other["threads"] == 1 and {**run, **other}.keys() == run.keys()


def test_a_sweep_trains_each_missing_cell_once_and_then_none(store: Store) -> None:
    cells = toy.cells(10)
    sweep(cells[:4], store, workers=1)
    threads = torch.get_num_threads()
    assert sweep([*cells, *cells], store, workers=1).trained == {cell.id for cell in cells[4:]}
    assert torch.get_num_threads() == threads
    shards = set(store.path.rglob("*.parquet"))
    report = sweep(cells, store, workers=1)
    assert report.trained == frozenset() and report.damaged == () and set(store.path.rglob("*.parquet")) == shards


def test_a_damaged_shard_is_reported_and_trained_again_to_the_same_numbers(store: Store) -> None:
    cells = toy.cells(20)
    sweep(cells, store, workers=1)
    before = numbers(store, cells)
    damaged = sorted(store.path.rglob("*.parquet"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = Store(store.path)
    lost = {cell.id for cell in cells} - again.holds(cells)
    report = sweep(cells, again, workers=1)
    assert report.trained == lost and report.damaged == (Path(f"{damaged}.damaged"),)
    same(numbers(again, cells), before)


def test_no_cells_are_no_work(store: Store) -> None:
    assert sweep([], store).trained == frozenset() and not store.path.exists()


# Plans


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 13, 64, 200])
def test_chunks_hold_every_cell_once_and_suit_the_workers(store: Store, count: int, workers: int) -> None:
    planned = plan(toy.cells(count), store, workers=workers)
    chunks = toy.chunks(toy.cells(count), planned.workers)
    sizes = [len(chunk.cells) for chunk in chunks]
    assert (planned.chunks, planned.chunk_size) == (len(sizes), max(sizes))
    assert sorted(cell.id for chunk in chunks for cell in chunk.cells) == sorted(c.id for c in toy.cells(count))
    assert max(sizes) <= 8
    assert count == 1 or min(sizes) >= 2
    assert len(sizes) >= min(count // 2, 2 * workers if workers > 1 else 1)


def test_chunks_hold_only_cells_that_train_together_and_the_longest_come_first(store: Store) -> None:
    cells = [cell for steps in (5, 500, 50) for cell in toy.cells(16, steps=steps)]
    chunks = toy.chunks(cells, 2)
    assert all(len({cell.batch_key for cell in chunk.cells}) == 1 for chunk in chunks)
    work = [sum(cell.config.work() for cell in chunk.cells) for chunk in chunks]
    assert work == sorted(work, reverse=True)
    assert max(work) <= sum(work) / 4


def test_training_without_work_can_be_planned(store: Store) -> None:
    assert plan(toy.cells(5, steps=0), store, workers=2).minutes == 0.0


def test_a_plan_counts_what_is_stored_and_writes_nothing(store: Store) -> None:
    cells = toy.cells(12)
    assert plan(cells, store).stored == 0 and not store.path.exists()
    sweep(cells[:5], store, workers=1)
    planned = plan([*cells, *cells], store, workers=3)
    assert (planned.cells, planned.stored, planned.workers) == (12, 5, 3)
    assert planned.chunks == len(toy.chunks(cells[5:], 3))
    done = plan(cells[:5], store)
    assert (done.stored, done.chunks, done.minutes, done.chunk_size) == (5, 0, 0.0, 0)


def test_cells_from_a_generator_are_planned_and_trained_a_window_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, whole = toy.cells(25), Store(tmp_path / "whole")
    sweep(cells, whole, workers=1)
    monkeypatch.setattr(room, "WINDOW", 10)
    given: list[int] = []

    def generated() -> Iterator[Cell]:
        # Some come twice, in one window and in two.
        for i, cell in enumerate([*cells[:3], *cells, *cells[5:8]]):
            given.append(i)
            yield cell

    sweep(cells[4:9], store, workers=1)
    planned = plan(generated(), store, workers=1)
    assert (planned.cells, planned.stored) == (25, 5) and planned.chunks >= 3
    given.clear()
    seen: list[tuple[int, int, int]] = []
    report = sweep(
        generated(),
        store,
        workers=1,
        progress=lambda done, total, left, note="": seen.append((done, total, len(given))),
    )
    assert report.trained == {cell.id for cell in [*cells[:4], *cells[9:]]}
    assert seen[0][2] == 10 and seen[-1][:2] == (20, 20)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    same(numbers(store, cells), numbers(whole, cells))
    told: list[tuple[int, int, float | None]] = []
    longer = toy.cells(25, steps=7)
    sweep(longer, store, workers=1, progress=lambda done, total, left, note="": told.append((done, total, left)))
    assert {total for _, total, _ in told} == {25}, "how many there are is known of a list"
    assert all((left == 0) == (done == 25) for done, _, left in told if left is not None)


def test_minutes_follow_the_rate_that_the_store_has_seen(store: Store) -> None:
    cells = toy.cells(40)
    unseen = plan(cells, store, workers=2).minutes
    assert unseen == pytest.approx(40 * cells[0].config.work() / 1e10 / 2 / 60)
    store.write(measure(cells[:8])[0], seconds=16.0, provenance={"device": "cpu", "work": 8 * cells[0].config.work()})
    store.write(measure(cells[8:9])[0], seconds=0.1, provenance={"device": "cuda", "work": cells[8].config.work()})
    assert plan(cells, store, workers=2).minutes == pytest.approx(31 * 2.0 / 2 / 60)


def test_a_gpu_gets_wide_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    planned = plan(toy.cells(200), store, device="cuda")
    assert planned.workers == 1 and planned.chunk_size == 200


WIDE: dict[str, Trainee] = {
    "icl.one-layer": icl.OneLayer(steps=6, M2=7, l_tr=6, m=9, B=5),
    "cot.one-layer": cot.OneLayer(steps=6),
    "editing.one-layer": editing.OneLayer(steps=6, m=6),
    "vision.one-layer": vision.OneLayer(steps=6, m=6),
    "graph.one-layer": graph.OneLayer(steps=6, m=6, first=2, N=200, tested=50, labelled=60),
}


@dataclass(frozen=True, kw_only=True)
class Weights(Measure):
    """The sum of every parameter, whatever the network is."""

    name = "sums"

    def observe(self, snapshot: Snapshot, memory: dict[str, object]) -> list[list[Row]]:
        each = range(len(snapshot.configs))
        return [[Row(name, 0, p[e].double().sum().item()) for name, p in snapshot.params.items()] for e in each]


@pytest.mark.parametrize("kind", WIDE)
def test_the_wide_batch_of_a_gpu_gives_the_numbers_of_a_cpus_chunks(kind: str) -> None:
    # On the CPU, where they can be compared to the bit; on a GPU sums are in another order.
    cells = [Cell(WIDE[kind], seed, (Weights(),)) for seed in range(40)]
    (wide,) = toy.chunks(cells, 1, "cuda")
    narrow = toy.chunks(cells, 1, "cpu")
    assert len(wide.cells) == 40 and len(narrow) > 1
    found = {result.cell.id: result.rows for result in measure(wide.cells)[0]}
    assert found == {result.cell.id: result.rows for chunk in narrow for result in measure(chunk.cells)[0]}
    assert len({tuple(row.value for row in rows) for rows in found.values()}) == 40


# Progress


def test_progress_counts_up_to_the_end(store: Store) -> None:
    told: list[tuple[int, int, float | None, str]] = []
    sweep(toy.cells(4), store, workers=1)
    sweep(
        toy.cells(20),
        store,
        workers=1,
        progress=lambda done, total, left, note="": told.append((done, total, left, note)),
    )
    counts = [done for done, *_ in told]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 16
    assert {total for _, total, *_ in told} == {16}
    left = [inf if seconds is None else seconds for _, _, seconds, _ in told]
    assert left[0] == inf and left[-1] == 0.0 and all(seconds > 0 for seconds in left[:-1])


# The door


def test_no_workers_are_refused(store: Store) -> None:
    for call in (plan, sweep):
        with pytest.raises(InputError, match="at least 1"):
            call(toy.cells(1), store, workers=0)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "tpu", "cpu:1", "cuda:x", ""])
def test_a_device_that_is_not_there_is_refused(store: Store, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for call in (plan, sweep):
        with pytest.raises(DeviceError, match="--device cpu"):
            call(toy.cells(1), store, device=device)
    check_device("cpu")
    assert not store.path.exists()


def test_an_engine_that_is_not_there_is_refused(store: Store) -> None:
    for call in (plan, sweep):
        with pytest.raises(UnknownNameError, match="did you mean slurm"):
            call(toy.cells(1), store, engine="slrum")
        with pytest.raises(InputError, match="no --address with --engine local"):
            call(toy.cells(1), store, address="auto")
    assert not store.path.exists()


@dataclass(frozen=True)
class Backwards:
    """An engine of one's own: here, from the last chunk to the first."""

    name: ClassVar[str] = "backwards"
    here: ClassVar[bool] = True

    def workers(self, asked: int | None, device: str) -> int:
        return asked or 5

    def __call__(
        self, chunks: Sequence[Chunk], store: Path, *, workers: int, device: str
    ) -> Generator[Chunk, None, None]:
        for chunk in reversed(chunks):
            train(chunk, store, device=device)
            yield chunk


def test_an_engine_of_ones_own_will_do(store: Store, tmp_path: Path) -> None:
    cells, here = toy.cells(24), Store(tmp_path / "here")
    planned = plan(cells, store, engine=Backwards())
    assert (planned.engine, planned.workers) == ("backwards", 5)
    sweep(cells, store, engine=Backwards())
    sweep(cells, here, workers=1)
    same(numbers(store, cells), numbers(here, cells))


# Accidents


def test_a_killed_worker_costs_only_its_chunk(store: Store, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    cells = toy.cells(24, measures=[toy.Bomb(fuse=str(fuse)), toy.Weights()])
    fuse.touch()
    notes: set[str] = set()
    report = sweep(cells, store, workers=2, progress=lambda done, total, left, note="": notes.add(note))
    assert not fuse.exists() and report.trained == {cell.id for cell in cells}
    assert any("a worker was killed" in note for note in notes)
    clean = Store(tmp_path / "clean")
    sweep(cells, clean, workers=1)
    same(numbers(store, cells), numbers(clean, cells))


def test_workers_that_are_always_killed_end_the_sweep(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = tmp_path / "fuse"
    fuse.touch()
    monkeypatch.setattr(room, "ATTEMPTS", 1)
    with pytest.raises(EngineError, match="1 times in a row"):
        sweep(toy.cells(4, measures=[toy.Bomb(fuse=str(fuse), lasting=True)]), store, workers=2)
    assert store.ids() == set()


def test_a_disk_that_fails_in_a_worker_fails_in_the_parent(store: Store) -> None:
    cells = toy.cells(8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match="expected room for the results"):
            sweep(cells, store, workers=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(store.path.rglob("*.tmp"))
    assert len(sweep(cells, store, workers=1).trained) == 8


@contextmanager
def a_run(store: Store, first: int, last: int, *, steps: int, workers: int) -> Iterator[subprocess.Popen[str]]:
    """Another run on the store, in a group of its own, ready to begin once a line comes in."""
    call = f"import toy; toy.main({str(store.path)!r}, {first}, {last}, {steps}, {workers})"
    with subprocess.Popen(
        [sys.executable, "-c", call],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        start_new_session=True,
    ) as run:
        try:
            assert run.stdout is not None and run.stdout.readline() == "ready\n"
            yield run
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)


def begin(run: subprocess.Popen[str]) -> None:
    assert run.stdin is not None
    run.stdin.write("\n")
    run.stdin.flush()


def until_a_chunk_is_done(run: subprocess.Popen[str]) -> None:
    assert run.stdout is not None
    while run.stdout.readline().startswith("0 "):
        pass


def gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    cells, store = toy.cells(32, steps=1000), Store(tmp_path_factory.mktemp("undisturbed"))
    sweep(cells, store, workers=1)
    return numbers(store, cells)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_leaves_its_finished_chunks_and_no_process(
    store: Store, undisturbed: pd.DataFrame, ending: signal.Signals
) -> None:
    cells = toy.cells(32, steps=1000)
    with a_run(store, 0, 32, steps=1000, workers=2) as run:
        begin(run)
        until_a_chunk_is_done(run)
        if ending == signal.SIGINT:
            os.killpg(run.pid, ending)  # as a terminal does
        else:
            run.kill()
        run.wait(timeout=20)
        assert wait_for(lambda: gone(run.pid))
    stored = store.holds(cells)
    assert 0 < len(stored) < 32
    assert sweep(cells, store, workers=1).trained == {cell.id for cell in cells} - stored
    assert store.damaged == []
    same(numbers(store, cells), undisturbed)


def test_two_runs_at_once_share_the_work(store: Store) -> None:
    with a_run(store, 0, 16, steps=1000, workers=1) as one, a_run(store, 8, 24, steps=1000, workers=1) as other:
        begin(one)
        assert one.stdout is not None and one.stdout.readline().startswith("0 16")
        begin(other)
        trained = [set(json.loads(run.communicate(timeout=60)[0].splitlines()[-1])) for run in (one, other)]
    cells = toy.cells(24, steps=1000)
    assert trained == [{cell.id for cell in cells[:16]}, {cell.id for cell in cells[16:]}]
    assert len(numbers(store, cells)) == 4 * 24


HOLD = """
import sys, toy
from lemmata.lab.store import Store
with Store(sys.argv[1]).reserve(toy.cells(4)):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_cells_of_another_run_come_last_and_are_trained_here_if_it_dies(store: Store) -> None:
    cells = toy.cells(8)
    command = [sys.executable, "-c", HOLD, str(store.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        waited: list[int] = []

        def kill_the_other_when_waiting(done: int, total: int, left: float | None, note: str = "") -> None:
            if "waiting" in note:
                waited.append(done)
                other.kill()

        report = sweep(cells, store, workers=1, progress=kill_the_other_when_waiting)
    assert waited[0] == 4 and report.trained == {cell.id for cell in cells}
