"""The store: what is written is what is read, whatever happens to its files, its disk or the runs that share it."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import toy

from lemmata.lab.errors import RegistryError, StoreError, UnknownNameError
from lemmata.lab.grid import Cell, CellResult, measure
from lemmata.lab.store import Store
from lemmata.lab.trainee import Row

HERE = {"device": "cpu", "work": 3e6}
HEAD = ["cell", "seed", "status", "seconds", "lr", "steps", "slope", "law", "start", "bias"]


def fill(store: Store, cells: Sequence[Cell], *, chunk: int = 3) -> list[Path]:
    """Train the cells and store them in chunks of six seconds each."""
    parts = [cells[i : i + chunk] for i in range(0, len(cells), chunk)]
    return [store.write(measure(part)[0], seconds=6.0, provenance=HERE) for part in parts]


def files_in(store: Store) -> set[Path]:
    return {path for path in store.path.rglob("*") if path.is_file()}


@contextmanager
def limit_on_file_size(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


# What is written and read


def test_a_row_comes_back_with_its_cell_its_constants_and_its_coordinates(store: Store) -> None:
    cells = toy.cells(3, law="sign")
    fill(store, cells)
    frame = store.read(cells)
    assert list(frame.columns) == [*HEAD, "layer", "of", "metric", "x", "value"]
    assert list(frame["cell"]) == [cell.id for cell in cells for _ in range(4)]
    assert (frame["seconds"] == 2.0).all() and (frame["law"] == "sign").all() and frame["bias"].all()
    rows = [row for result in measure(cells)[0] for row in result.rows]
    assert list(frame["value"]) == [row.value for row in rows]
    assert list(frame["x"]) == [row.x for row in rows]
    assert list(frame["of"]) == [row.at["of"] for row in rows]
    np.testing.assert_array_equal(frame["layer"], [row.at.get("layer", np.nan) for row in rows])


def test_reading_depends_on_the_cells_alone(tmp_path: Path) -> None:
    cells = toy.cells(7)
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    fill(one, cells, chunk=7)
    fill(other, cells[::-1], chunk=2)
    fill(other, cells, chunk=3)
    asked = [cells[5], cells[1], cells[4], cells[1]]
    frame = one.read(asked).drop(columns="seconds")
    assert list(dict.fromkeys(frame["cell"])) == [cell.id for cell in asked[:3]]
    pd.testing.assert_frame_equal(frame, other.read(asked).drop(columns="seconds"), check_exact=True)
    assert len(other.read(cells)) == 4 * len(cells)


def test_a_coordinate_that_only_other_cells_of_the_shard_have_is_no_column(store: Store) -> None:
    plain, layered = toy.cells(2)
    results = [
        CellResult(plain, "ok", (Row("mass", 1, 0.5, {"depth": 2}),)),
        CellResult(layered, "ok", (Row("mass", 1, 0.5, {"depth": 1.5, "pruned": True}),)),
    ]
    store.write(results, seconds=1.0, provenance=HERE)
    assert list(store.read([plain]).columns) == [*HEAD, "depth", "metric", "x", "value"]
    assert store.read([plain, layered])["pruned"].tolist() == [None, True]
    assert store.read([plain])["depth"].dtype == store.read([plain, layered])["depth"].dtype == float


def test_a_cell_without_rows_is_stored(store: Store) -> None:
    cells = toy.cells(2, measures=[toy.Silent()])
    fill(store, cells)
    assert store.holds(cells) == {cell.id for cell in cells}
    assert list(store.read(cells).columns) == [*HEAD, "metric", "x", "value"] and store.read(cells).empty


def test_no_cells_are_an_empty_frame(store: Store) -> None:
    assert store.read([]).empty


def test_a_diverged_member_keeps_its_status_and_its_values(store: Store) -> None:
    cells = toy.cells(1, lr=1e30)
    fill(store, cells)
    frame = store.read(cells)
    assert set(frame["status"]) == {"diverged"} and not np.isfinite(frame["value"].iloc[-1])


def test_a_whole_number_for_a_real_constant_is_real_in_the_table(store: Store) -> None:
    cells = [replace(cell, config=cell.config.replace({"slope": slope})) for cell in toy.cells(1) for slope in (2, 2.5)]
    fill(store, cells)
    assert store.read(cells[:1])["slope"].dtype == float


@pytest.mark.parametrize("name", ["slope", "value", "cell"])
def test_a_coordinate_named_like_another_column_is_refused(store: Store, name: str) -> None:
    result = CellResult(toy.cells(1)[0], "ok", (Row("mass", 1, 0.5, {name: 1.0}),))
    with pytest.raises(RegistryError, match=name):
        store.write([result], seconds=1.0, provenance=HERE)
    assert not store.path.exists()


def test_a_shard_is_a_parquet_file_that_says_what_it_holds(store: Store) -> None:
    cells = toy.cells(3)
    (path,) = fill(store, cells)
    assert (
        path.parent == store.path / "toy" / "v1" and path.name.startswith("weights-seed0-2-") and len(path.name) < 100
    )
    about = json.loads(pq.read_schema(path).metadata[b"lemmata"])
    assert about["cells"] == {cell.id: cell.spec for cell in cells}
    assert (
        about["parts"]
        == [{**HERE, "seconds": 6.0, "cells": [c.id for c in cells]}]
        == store.provenance(cells[0].config)
    )
    assert json.loads((store.path / "store.json").read_text()) == {"format": 2}


def test_other_versions_are_other_results(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = toy.cells(1)
    fill(store, old)
    monkeypatch.setattr(toy.Toy, "version", 2)
    assert store.holds(toy.cells(1)) == set() and store.provenance(toy.Toy()) == []
    assert store.ids() == {old[0].id}


def test_a_cell_that_is_not_stored_cannot_be_read(store: Store) -> None:
    cells = toy.cells(5)
    fill(store, cells[:3])
    with pytest.raises(StoreError, match=r"all 5 cells(.|\n)*2 of them"):
        store.read(cells)


def test_a_cell_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    cells = toy.cells(40)
    fill(store, cells, chunk=40)
    for cell in cells:
        assert store.spec(cell.id) == store.spec(cell.id[:12]) == cell.spec
    several = next(d for d in "0123456789abcdef" if sum(cell.id.startswith(d) for cell in cells) > 1)
    with pytest.raises(UnknownNameError, match="give more of its digits"):
        store.spec(several)
    with pytest.raises(UnknownNameError, match="none begins"):
        store.spec("no-such-cell")


def test_nothing_is_made_before_the_first_write(store: Store) -> None:
    cells = toy.cells(2)
    assert store.holds(cells) == store.ids() == set()
    with pytest.raises(StoreError):
        store.read(cells)
    with pytest.raises(UnknownNameError):
        store.spec("00")
    assert not store.path.exists()


# Damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, empty, flip])
@pytest.mark.parametrize("seen", [False, True])
def test_a_damaged_shard_is_set_aside_reported_and_can_be_replaced(
    store: Store, damage: Callable[[Path], None], seen: bool
) -> None:
    cells = toy.cells(6)
    path, _ = fill(store, cells)
    before = store.read(cells)
    reader = store if seen else Store(store.path)
    damage(path)
    os.utime(path, (0, 0))
    assert reader.holds(cells) == {cell.id for cell in cells[3:]}
    assert reader.damaged == [Path(f"{path}.damaged")] and reader.damaged[0].exists() and not path.exists()
    with pytest.raises(StoreError, match="3 of them"):
        reader.read(cells)
    fill(reader, cells[:3])
    pd.testing.assert_frame_equal(reader.read(cells), before, check_exact=True)
    assert len(reader.damaged) == 1


def test_damage_between_a_look_and_the_reading_is_found(store: Store) -> None:
    cells = toy.cells(3)
    (path,) = fill(store, cells)
    store.holds(cells)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    flip(path)
    os.utime(path, ns=times)
    with pytest.raises(StoreError, match="3 of them"):
        store.read(cells)
    assert len(store.damaged) == 1 and store.holds(cells) == set()


def test_a_shard_that_is_deleted_is_missed(store: Store) -> None:
    cells = toy.cells(3)
    (path,) = fill(store, cells)
    assert store.holds(cells)
    path.unlink()
    assert store.holds(cells) == set() and store.damaged == []


def test_other_files_are_left_alone(store: Store) -> None:
    cells = toy.cells(3)
    (path,) = fill(store, cells)
    strays = [path.with_name(".0123.tmp"), path.with_name("notes.txt"), path.with_name("mine.parquet")]
    for stray in strays:
        stray.write_bytes(path.read_bytes()[:50])
    store.read(cells)
    assert all(stray.exists() for stray in strays) and store.damaged == []


# The disk


def test_a_limit_on_file_size_is_a_clear_error_and_leaves_the_store_usable(store: Store) -> None:
    cells = toy.cells(6)
    fill(store, cells[:3])
    before = files_in(store)
    with limit_on_file_size(1000), pytest.raises(StoreError, match="expected room for the results"):
        fill(store, cells[3:])
    assert files_in(store) == before
    fill(store, cells[3:])
    assert len(store.read(cells)) == 24


def test_a_disk_that_fills_up_is_a_clear_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("lemmata.lab.files.os.fsync", full)
        with pytest.raises(StoreError, match="No space left on device"):
            fill(store, toy.cells(3))
    assert files_in(store) == set()
    assert fill(store, toy.cells(3))


def test_a_folder_that_cannot_be_made_is_a_clear_error(store: Store) -> None:
    fill(store, toy.cells(1))
    (store.path / "toy" / "v1").rename(store.path / "toy" / "v0")
    (store.path / "toy" / "v1").write_text("in the way")
    for use in (fill, Store.holds):
        with pytest.raises(StoreError, match="can be read and written"):
            use(Store(store.path), toy.cells(1))


# The door


def test_a_path_that_is_a_file_or_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match="which is a file"):
            Store(path)


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(json.dumps({"format": 3}))
    with pytest.raises(StoreError, match="newer version"):
        Store(tmp_path)


def test_an_older_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(StoreError, match="of an earlier one"):
        Store(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "new"}'])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreError, match="a store of Lemmata"):
        Store(tmp_path)


READ_ONLY = """
import os, sys
from lemmata.lab.errors import StoreError
from lemmata.lab.store import Store
if os.geteuid() == 0:
    os.seteuid(65534)
for path in sys.argv[1:]:
    try:
        Store(path)
    except StoreError as error:
        print(error)
"""


def test_a_read_only_store_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        there, inside = Path(folder), Path(folder, "store")
        inside.mkdir()
        inside.chmod(0o555)
        there.chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, str(inside), str(there / "new")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        there.chmod(0o755)
    assert f"{inside}, which is read-only" in printed and f"{there}, which is read-only" in printed


# Reservations

HOLD = """
import sys, toy
from lemmata.lab.store import Store
with Store(sys.argv[1]).reserve(toy.cells(4)[:2]) as mine:
    print(len(mine), flush=True)
    sys.stdin.read()
"""


def test_what_another_process_has_reserved_is_free_again_when_it_is_killed(store: Store) -> None:
    cells = toy.cells(4)
    command = [sys.executable, "-c", HOLD, str(store.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "2\n"
        with store.reserve(cells) as mine:
            assert mine == cells[2:]
        with store.reserve(cells[:2]) as mine:
            assert mine == []
        other.kill()
        other.wait()
        with store.reserve(cells) as mine:
            assert mine == cells


def test_reservations_of_one_process_exclude_each_other_and_end_apart(store: Store) -> None:
    cells = toy.cells(4)
    with store.reserve(cells[:2]) as first, Store(store.path).reserve(cells) as second:
        assert (first, second) == (cells[:2], cells[2:])
    with store.reserve(cells[:1]):
        with store.reserve(cells[1:2]):
            pass
        with store.reserve(cells[:2]) as mine:
            assert mine == cells[1:2]


def test_what_is_stored_by_now_is_not_reserved(store: Store) -> None:
    cells = toy.cells(4)
    fill(Store(store.path), cells[:3])
    with store.reserve(cells) as mine:
        assert mine == cells[3:]


def test_without_locks_everything_is_granted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("lemmata.lab.reservation.fcntl.lockf", no_locks)
    cells = toy.cells(2)
    with store.reserve(cells) as mine:
        assert mine == cells
