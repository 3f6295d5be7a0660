"""`lemmata store`: what it tells, finds, joins and takes over, and that nothing is lost by it."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from lemmata.lab import shard, upkeep
from lemmata.lab.errors import InputError, StoreError
from lemmata.lab.grid import Cell, identity, measure
from lemmata.lab.store import Store
from lemmata.lab.sweep import sweep
from lemmata.lab.upkeep import compact, holdings, merge, verify

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
    assert [r.outcome for r in found.recomputed] == ["equal"] * 5 and told[-1] == (5, 5)
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
    found = verify(store, cell=cell_of)
    assert not found.sound and len(found.damaged) == 2 and found.cells == 3 and found.shards == 1
    assert third.exists() and not first.exists()


def test_cells_with_other_constants_and_rows_of_nobody_are_found(store):
    fill(store, toy.cells(3))
    (path,) = store.path.rglob("*.parquet")
    data = path.read_bytes()
    header = shard.header(data)
    one, two, _ = header.specs
    specs = {one: header.specs[two], two: header.specs[two]}
    changed = shard._file(shard.decode(data, header.specs), shard.Header(specs, header.parts))
    path.unlink()
    name = f"x-{hashlib.blake2b(changed, digest_size=16).hexdigest()}.parquet"
    (path.parent / name).write_bytes(changed)
    found = verify(store, cell=cell_of)
    assert not found.sound and [f"cell {one}" in each.what for each in found.wrong] == [True, False]
    assert "rows of 1 cells" in found.wrong[1].what


def test_shards_are_joined_and_every_row_stays(store, monkeypatch):
    cells = toy.cells(13)
    fill(store, cells, chunk=2)
    fill(store, cells[:4], chunk=4, machine="another")
    before, provenance = store.read(cells), store.provenance(cells[0].config)
    monkeypatch.setattr(upkeep, "JOINED", 8)
    count, after = compact(store)
    assert count == 8 and after < 4 and len(bytes_of(store)) == after
    opened = Store(store.path)
    assert opened.read(cells).drop(columns="seconds").equals(before.drop(columns="seconds"))
    parts = [
        sorted(json.dumps(part, sort_keys=True) for part in of) for of in (provenance, opened.provenance(toy.Toy()))
    ]
    assert parts[0] == parts[1]
    assert verify(opened, cell=cell_of, sample=3).sound
    monkeypatch.setattr(upkeep, "JOINED", 100)
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
    assert compact(store) == (2, 1)
    sweep(toy.cells(6), store, workers=1)


def test_another_stores_cells_are_taken_over(store, tmp_path):
    cells, other = toy.cells(9), Store(tmp_path / "other")
    fill(store, cells[:5], chunk=5)
    fill(other, cells[3:], chunk=2)
    theirs = bytes_of(other)
    told = []
    assert merge(store, other, told=lambda *progress: told.append(progress)) == (4, 2) and told[-1] == (4, 4)
    assert Store(store.path).read(cells).equals(Store(store.path).read(cells)) and bytes_of(other) == theirs
    for part in (cells[5:], cells[:3]):
        source = other if part[0] in cells[5:] else store
        assert Store(store.path).read(part).equals(source.read(part))
    unchanged = bytes_of(store)
    assert merge(store, other) == (0, 6) and bytes_of(store) == unchanged
    with pytest.raises(InputError, match="itself"):
        merge(store, Store(store.path))


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
    assert spoilt.status == 3 and "not sound" in spoilt.out and "set aside as damaged" in spoilt.err
    assert "holds nothing" in shell.run("store", "info", "--store", "none").out
    for call, said in (
        (["merge", "none"], "the folder of another store"),
        (["merge", "lemmata-store"], "another store"),
        (["verify", "--sample", "-1"], "at least 0"),
        (["verfy"], "did you mean verify"),
        (["info", "--store", "file"], "a folder for the store"),
    ):
        assert said in shell.refuse("store", *call)
