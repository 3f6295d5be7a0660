"""`lemmata store`: what it tells, finds, joins and takes over, and that nothing is lost by it."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy

from lemmata.lab import compaction, shard, upkeep
from lemmata.lab.compaction import compact
from lemmata.lab.errors import InputError, StoreError
from lemmata.lab.grid import Cell, identity, measure
from lemmata.lab.store import Store
from lemmata.lab.sweep import sweep
from lemmata.lab.upkeep import holdings, merge, verify

HERE = {"device": "cpu", "work": 3e6, **upkeep._HERE, "machine": "this one"}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def fill(store, cells, *, chunk=3, **provenance):
    for i in range(0, len(cells), chunk):
        store.write(measure(cells[i : i + chunk])[0], seconds=6.0, provenance=HERE | provenance)


def cell_of(spec):
    """As `registry.cell` does it, for the toy."""
    return next(cell for n in range(1, 21) for cell in toy.cells(n) if cell.id == identity(spec))


def bytes_of(store):
    return {path.relative_to(store.path): path.read_bytes() for path in store.path.rglob("*.parquet")}


def test_a_store_tells_what_it_holds(store):
    fill(store, toy.cells(7))
    fill(store, toy.cells(2), seconds_apart=1)
    (held,) = holdings(store)
    assert (held.kind, held.version, held.shards, held.cells, held.twice) == ("toy", 1, 4, 7, 2)
    assert held.seconds == 24.0 and held.bytes == sum(map(len, bytes_of(store).values()))
    assert held.made == (f"this one, {HERE['instructions']}, torch {HERE['torch']}",)


def test_a_sound_store_is_sound_and_a_sample_is_trained_again(store):
    fill(store, toy.cells(7))
    told = []
    found = verify(store, cell=cell_of, sample=5, told=lambda *progress: told.append(progress))
    assert found.sound and (found.shards, found.cells, found.twice) == (3, 7, 0)
    assert [r.outcome for r in found.recomputed] == ["equal"] * 5 and told[-1] == (8, 8)
    assert len({r.cell for r in found.recomputed}) == 5
    other = verify(store, cell=cell_of, sample=5, seed=1)
    assert {r.cell for r in other.recomputed} != {r.cell for r in found.recomputed}
    assert len(verify(store, cell=cell_of, sample=50).recomputed) == 7


def spoilt(by):
    """Results with other values, as if this code had measured them."""
    results, _ = measure(toy.cells(3))
    return [replace(r, rows=tuple(replace(row, value=row.value + by) for row in r.rows)) for r in results]


@pytest.mark.parametrize(
    ("by", "provenance", "outcome", "sound"),
    [
        (1e-6, {}, "different", False),
        (1e-6, {"torch": "1.0"}, "close", True),
        (1e-6, {"compile": True}, "close", True),
        (0.5, {"instructions": "NEON"}, "apart", True),
        (0.5, {}, "different", False),
        (float("nan"), {}, "different", False),
    ],
)
def test_numbers_that_are_others_are_found_where_they_should_be_equal(store, by, provenance, outcome, sound):
    store.write(spoilt(by), seconds=1.0, provenance=HERE | provenance)
    found = verify(store, cell=cell_of, sample=3)
    assert {r.outcome for r in found.recomputed} == {outcome} and found.sound is sound
    assert all(r.why for r in found.recomputed)


def test_what_cannot_be_trained_again_says_why(store):
    def gone(spec):
        raise StoreError("version 2", "version 1", "check it")

    fill(store, toy.cells(3))
    found = verify(store, cell=gone, sample=2)
    assert {r.outcome for r in found.recomputed} == {"not recomputed"} and found.sound
    assert "version 2" in found.recomputed[0].why


def test_a_flipped_byte_a_cut_and_a_false_name_are_found(store):
    fill(store, toy.cells(9))
    first, second, third = sorted(store.path.rglob("*.parquet"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.write_bytes(second.read_bytes()[:-7])
    for _ in range(2):
        found = verify(Store(store.path, look=True), cell=cell_of)
        assert not found.sound and found.damaged == [first, second] and found.cells == 3 and found.shards == 1
    assert holdings(Store(store.path, look=True))[0].cells == 3 and first.exists()
    assert Store(store.path).ids() == set(shard.header(third.read_bytes()).specs) and not first.exists()


def test_cells_with_other_constants_and_rows_of_nobody_are_found(store, tmp_path):
    fill(store, toy.cells(3))
    (path,) = store.path.rglob("*.parquet")
    data = path.read_bytes()
    header = shard.header(data)
    one, two, _ = header.specs
    specs = {one: header.specs[two], two: header.specs[two]}
    changed = shard._file(shard.decode(data, set(header.specs)), shard.Header(specs, header.parts))
    path.unlink()
    put_as_it_is(path.parent, changed)
    found = verify(store, cell=cell_of)
    assert not found.sound and [f"cell {one}" in each.what for each in found.wrong] == [True, False, False]
    assert "rows of 1 cells" in found.wrong[1].what and "parts of 1 cells" in found.wrong[2].what
    with pytest.raises(StoreError, match="has the constants of"):
        merge(Store(tmp_path / "mine"), store)
    assert not list((tmp_path / "mine").rglob("*.parquet"))


def put_as_it_is(folder, data):
    """A file with the name of a shard, whatever is in it."""
    path = folder / f"x-{hashlib.blake2b(data, digest_size=16).hexdigest()}.parquet"
    path.write_bytes(data)
    return path


def parquet(**about):
    sink = pa.BufferOutputStream()
    table = pa.table({"cell": ["a"]}).replace_schema_metadata({"lemmata": json.dumps(about)} if about else {})
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


SPEC = {"kind": "toy", "version": 1, "seed": 0, "measures": []}
PART = {"seconds": 1.0, "cells": ["a"]}


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        parquet(),
        parquet(cells={}, parts=[PART]),
        parquet(cells={"a": SPEC}, parts=[]),
        parquet(cells={"a": {**SPEC, "version": "1/../../.."}}, parts=[PART]),
        parquet(cells={"a": SPEC, "b": {**SPEC, "version": 2}}, parts=[PART]),
        parquet(cells={"a": "b"}, parts=[PART]),
    ],
    ids=["text", "bare", "no cells", "no parts", "a path", "two versions", "no spec"],
)
def test_a_file_that_is_no_shard_is_damaged_for_everybody(store, tmp_path, data):
    fill(store, toy.cells(3))
    path = put_as_it_is(store.path / "toy" / "v1", data)
    looked = Store(store.path, look=True)
    found = verify(looked, cell=cell_of)
    assert not found.sound and found.damaged == [path] and found.cells == 3
    assert merge(Store(tmp_path / "mine"), Store(store.path, look=True)) == (3, 0)
    assert (
        compact(Store(store.path)) == (1, 1) and not path.exists() and path.with_name(f"{path.name}.damaged").exists()
    )


def test_no_kind_leaves_the_folder_of_its_store(store):
    for kind in ("..", ".", "../x", "a/b"):
        assert store.folder(kind, 1).resolve().parent.parent == store.path.resolve()
    with pytest.raises(StoreError, match="a shard of Lemmata"):
        store.put(parquet(cells={"a": {**SPEC, "version": "../x"}}, parts=[PART]))


def test_cells_in_the_folder_of_others_are_found(store):
    fill(store, toy.cells(3))
    (store.path / "toy" / "v1").rename(store.path / "toy" / "v2")
    assert "in the folder of others" in verify(store, cell=cell_of).wrong[0].what


def test_of_two_copies_the_one_that_is_read_is_compared(store):
    for provenance, by in (({}, 0.0), ({"torch": "1.0"}, 1e-6), ({"torch": "0.9"}, 0.5)):
        store.write(spoilt(by), seconds=1.0, provenance=HERE | provenance)
    made = shard.header(store.paths()[0].read_bytes()).parts[0]["torch"]
    found = verify(store, cell=cell_of, sample=3)
    assert found.twice == 6 and found.sound
    assert {r.outcome for r in found.recomputed} == {{"1.0": "close", "0.9": "apart"}.get(made, "equal")}
    read = store.read(toy.cells(3)).drop(columns="seconds")
    assert compact(Store(store.path)) == (3, 1)
    joined = Store(store.path)
    assert joined.read(toy.cells(3)).drop(columns="seconds").equals(read) and holdings(joined)[0].seconds == 1.0


def test_what_was_trained_elsewhere_stays_apart_in_a_joined_shard(store):
    store.write(spoilt(1e-6)[:1], seconds=1.0, provenance=HERE)
    store.write(spoilt(1e-6)[1:], seconds=4.0, provenance=HERE | {"torch": "1.0"})
    for _ in range(2):
        found = verify(store, cell=cell_of, sample=3)
        assert sorted(r.outcome for r in found.recomputed) == ["close", "close", "different"] and not found.sound
        compact(store)
        store = Store(store.path)
    assert holdings(store)[0].seconds == 5.0 and holdings(store)[0].shards == 1


def test_shards_with_other_columns_are_not_joined(store):
    results, _ = measure(toy.cells(2))
    numbered = [replace(r, rows=tuple(replace(row, at={"of": 1.0}) for row in r.rows)) for r in results[:1]]
    store.write(numbered, seconds=1.0, provenance=HERE)
    store.write(results[1:], seconds=1.0, provenance=HERE)
    assert compact(Store(store.path)) == (2, 2) and holdings(store)[0].cells == 2


def test_leftovers_of_killed_writers_go(store):
    fill(store, toy.cells(4))
    for folder in (store.path, store.path / "toy" / "v1"):
        (folder / ".0123.tmp").write_bytes(b"half")
    compact(Store(store.path))
    assert not list(store.path.rglob("*.tmp"))


def test_who_reads_while_shards_are_joined_looks_again(store, monkeypatch):
    cells = toy.cells(6)
    fill(store, cells, chunk=2)
    expected = store.read(cells).drop(columns="seconds")
    reader, load = Store(store.path), Store.load

    def joined_first(self, path):
        monkeypatch.setattr(Store, "load", load)
        compact(Store(store.path))
        return load(self, path)

    reader.holds(cells)
    monkeypatch.setattr(Store, "load", joined_first)
    assert reader.read(cells).drop(columns="seconds").equals(expected)


def test_a_store_that_cannot_be_written_can_be_looked_at(store, monkeypatch):
    fill(store, toy.cells(4))
    monkeypatch.setattr("os.access", lambda path, mode, **others: not mode & os.W_OK)
    with pytest.raises(StoreError, match="written"):
        Store(store.path)
    looked = Store(store.path, look=True)
    assert holdings(looked)[0].cells == 4 and verify(looked, cell=cell_of).sound


def test_shards_are_joined_and_every_row_stays(store, monkeypatch):
    cells = toy.cells(13)
    fill(store, cells, chunk=2)
    fill(store, cells[:4], chunk=4, machine="another")
    before, provenance = store.read(cells), store.provenance(cells[0].config)
    monkeypatch.setattr(compaction, "JOINED", 8)
    count, after = compact(store)
    assert count == 8 and after == 2 and len(bytes_of(store)) == after
    assert max(len(shard.header(data).specs) for data in bytes_of(store).values()) <= 8
    opened = Store(store.path)
    assert opened.read(cells).drop(columns="seconds").equals(before.drop(columns="seconds"))
    parts = opened.provenance(toy.Toy())
    assert sorted(name for part in parts for name in part["cells"]) == sorted(cell.id for cell in cells)
    assert {part["machine"] for part in parts} <= {part["machine"] for part in provenance}
    for part in parts:
        whole = [p for p in provenance if p["machine"] == part["machine"] and set(part["cells"]) <= set(p["cells"])]
        assert any(part["seconds"] == 6.0 * len(part["cells"]) / len(p["cells"]) for p in whole)
    assert verify(opened, cell=cell_of, sample=3).sound
    monkeypatch.setattr(compaction, "JOINED", 100)
    assert compact(opened)[1] == 1 and holdings(opened)[0].twice == 0
    unchanged = bytes_of(store)
    assert compact(Store(store.path)) == (1, 1) and bytes_of(store) == unchanged


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    assert compact(Store(tmp_path / "none")) == (0, 0) and not (tmp_path / "none").exists()


def test_joining_that_is_stopped_loses_nothing(store, monkeypatch):
    cells = toy.cells(6)
    fill(store, cells, chunk=2)
    before = store.read(cells).drop(columns="seconds")

    unlink = Path.unlink

    def stop(self, missing_ok=False):
        if self.suffix == ".parquet":
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", stop)
        compact(store)
    assert Store(store.path).read(cells).drop(columns="seconds").equals(before)
    compact(Store(store.path))
    assert Store(store.path).read(cells).drop(columns="seconds").equals(before) and len(bytes_of(store)) == 1


HOLD = """
import sys
from lemmata.lab.store import Store
sys.path.insert(0, sys.argv[2])
import toy
with Store(sys.argv[1]).reserve(toy.cells(20)[15:]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_store_that_a_run_trains_into_is_not_joined(store):
    fill(store, toy.cells(4))
    args = [sys.executable, "-c", HOLD, str(store.path), str(Path(__file__).parent)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        before = bytes_of(store)
        with pytest.raises(StoreError, match="in which one trains"):
            compact(store)
        assert bytes_of(store) == before
        other.communicate()
    with store.reserve(toy.cells(20)[15:]), pytest.raises(StoreError, match="in which one trains"):
        compact(Store(store.path))
    assert compact(store) == (2, 1)
    sweep(toy.cells(6), store, workers=1)


def test_another_stores_cells_are_taken_over(store, tmp_path):
    cells, other = toy.cells(9), Store(tmp_path / "other")
    fill(store, cells[:5], chunk=5)
    fill(other, cells[3:], chunk=2)
    theirs = bytes_of(other)
    told = []
    assert merge(store, other, told=lambda *progress: told.append(progress)) == (4, 2) and told[-1] == (3, 3)
    assert bytes_of(other) == theirs
    for part in (cells[5:], cells[:3]):
        source = other if part[0] in cells[5:] else store
        assert Store(store.path).read(part).equals(source.read(part))
    unchanged = bytes_of(store)
    assert merge(store, other) == (0, 6) and bytes_of(store) == unchanged
    (tmp_path / "link").symlink_to(store.path)
    for same in (store.path, tmp_path / "link"):
        with pytest.raises(InputError, match="itself"):
            merge(store, Store(same, look=True))


def test_a_store_that_loses_cells_while_it_is_taken_over_is_said_so(store, tmp_path, monkeypatch):
    other = Store(tmp_path / "other")
    fill(other, toy.cells(4))
    ids = other.ids()
    for path in other.paths():
        path.unlink()
    monkeypatch.setattr(Store, "ids", lambda self: ids if self is other else set())
    with pytest.raises(StoreError, match="4 of 4 cells gone"):
        merge(store, other)


def test_the_verb_says_and_exits(shell):
    fill(Store(shell.folder / "lemmata-store"), [Cell(c.config, c.seed, c.measures) for c in toy.cells(5)])
    assert "toy v1" in shell.run("store", "info").out
    assert shell.run("store", "info", "--json").json["holds"][0]["cells"] == 5
    found = shell.run("store", "verify", "--sample", 2, "--json").json
    assert found["sound"] and {r["outcome"] for r in found["recomputed"]} == {"not recomputed"}, "no claim trains a toy"
    assert shell.run("store", "compact", "--json").json == {"before": 2, "after": 1}
    shell.run("store", "merge", "lemmata-store", "--store", "new")
    (shell.folder / "file").write_text("")
    (path,) = (shell.folder / "new").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    spoilt = shell("store", "verify", "--store", "new")
    assert spoilt.status == 3 and "not sound" in spoilt.out and str(path.relative_to(shell.folder)) in spoilt.out
    assert path.exists(), "who only looks changes nothing"
    assert "holds nothing" in shell.run("store", "info", "--store", "none").out
    for call, said in (
        (["merge", "none"], "the folder of another store"),
        (["merge", "lemmata-store"], "another store"),
        (["verify", "--sample", "-1"], "at least 0"),
        (["verfy"], "did you mean verify"),
        (["info", "--store", "file"], "a folder for the store"),
    ):
        assert said in shell.refuse("store", *call)
