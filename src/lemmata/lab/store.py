"""Results on disk: one immutable Parquet shard a chunk, found again by the identity of its cells.

    <store>/store.json                                     the format, for older versions to see
    <store>/<kind>/v<version>/<readable>-<digest>.parquet  a shard; see `lemmata.lab.shard`
    <store>/reserved                                       see `lemmata.lab.reservation`

A shard is written under a temporary name and renamed, so a file with a shard's name is whole. The
digest in the name is that of its bytes, so a file that has changed since is found out, set aside as
`<name>.damaged`, and its cells count as missing. A cell that two shards hold is read from one of
them. Nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from lemmata.lab import shard
from lemmata.lab.errors import StoreError, UnknownNameError
from lemmata.lab.files import write_whole
from lemmata.lab.grid import Cell, CellResult
from lemmata.lab.reservation import reserve
from lemmata.lab.trainee import Trainee

if TYPE_CHECKING:  # see lemmata.lab.shard
    import pandas as pd

__all__ = ["Store"]

# How often results are looked for while shards are being joined.
ATTEMPTS = 3
SHARD = re.compile(r"-[0-9a-f]{32}\.parquet$")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@final
@dataclass(frozen=True)
class _Known:
    """A shard whose bytes were verified when the file had this size and time of change."""

    stamp: tuple[int, int]
    ids: frozenset[str]
    parts: tuple[Mapping[str, Any], ...]


@final
class Store:
    """The results in one folder. Nothing is created until the first write.

    `damaged` lists the shards that this object has set aside; a store that is only looked at leaves them where they
    are.

    Raises:
        StoreError: the path is a file or, to be written, read-only; or it is of another format.

    >>> store = Store("no-such-folder")
    >>> store.ids(), store.path.exists()
    (set(), False)
    """

    def __init__(self, path: Path | str, *, look: bool = False) -> None:
        """With `look` nothing in the folder is changed, and it may be read-only."""
        self.path = Path(path)
        self._look = look
        self.damaged: list[Path] = []
        self._known: dict[Path, _Known] = {}
        self._check_folder()
        self._check_format()

    def ids(self) -> set[str]:
        """The ids of all cells that are stored."""
        for folder in self.path.glob("*/v*/"):
            self._refresh(folder)
        return set().union(*(known.ids for known in self._known.values()))

    def holds(self, cells: Iterable[Cell]) -> set[str]:
        """The ids of those of the cells that are stored."""
        return set(self._find(list(cells)))

    def spec(self, cell_id: str) -> dict[str, Any]:
        """The spec of a stored cell by its id or a beginning of it that no other id has.

        Raises:
            UnknownNameError: no stored cell has such an id, or several have.
        """
        found = sorted(name for name in self.ids() if name.startswith(cell_id))
        if len(found) != 1:
            raise _no_such_cell(cell_id, found)
        path = min(path for path, known in self._known.items() if found[0] in known.ids)
        data = self.load(path)
        if data is None:
            raise self._missing(1, 1)
        return shard.header(data).specs[found[0]]

    def provenance(self, config: Trainee) -> list[Mapping[str, Any]]:
        """How, where and when each chunk of this kind and version of trainee was trained."""
        folder = self.folder(config.kind, config.version)
        self._refresh(folder)
        return [part for path, known in self._known.items() if path.parent == folder for part in known.parts]

    def paths(self) -> list[Path]:
        """All shards in order of their names, of which the first that has a cell is the one that is read."""
        return sorted(path for folder in self.path.glob("*/v*/") for path in _stamps(folder))

    def folder(self, kind: str, version: int) -> Path:
        """Where the shards of a kind and version of trainee are."""
        return self.path / _slug(kind) / f"v{version}"

    def read(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """The rows of these cells, tidy, in the order of the cells and then as measured.

        The columns are those of `lemmata.lab.shard`; a coordinate that a row lacks is null. The
        frame is a function of the cells alone, whichever shards they lie in.

        Raises:
            StoreError: a cell is not stored.
        """
        asked = {cell.id: cell for cell in cells}
        # Shards may be joined, or set aside, between the look for them and the reading: then they are looked for again.
        for _ in range(ATTEMPTS):
            by_path: dict[Path, list[str]] = {}
            for name, path in self._find(cells).items():
                by_path.setdefault(path, []).append(name)
            whole = {path: data for path in sorted(by_path) if (data := self.load(path)) is not None}
            if len(whole) == len(by_path):
                break
        if lost := set(asked).difference(*(by_path[path] for path in whole)):
            raise self._missing(len(lost), len(asked))
        tables = (shard.decode(data, by_path[path]) for path, data in whole.items())
        return shard.tidy(tables, list(asked.values()))

    def write(self, results: Sequence[CellResult], *, seconds: float, provenance: Mapping[str, object]) -> Path:
        """Keep the results of a chunk of cells of one kind, trained together in `seconds`.

        Raises:
            StoreError: there is no room, or no permission; the store is as it was before.
        """
        return self.put(shard.encode(results, seconds=seconds, provenance=provenance))

    def put(self, data: bytes) -> Path:
        """Keep a shard, encoded already (see `lemmata.lab.shard`), under a name made of what it holds.

        Raises:
            StoreError: this is no shard, or there is no room, or no permission; the store is as it was before.
        """
        header = shard.header(data)
        specs = list(header.specs.values())
        seeds = [spec["seed"] for spec in specs]
        measures = "+".join(measure["name"] for measure in specs[0]["measures"])
        readable = f"{_slug(measures)[:40]}-seed{min(seeds)}-{max(seeds)}"
        path = self.folder(header.kind, header.version) / f"{readable}-{_digest(data)}.parquet"
        self._prepare()
        with _reported(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        return path

    @contextmanager
    def reserve(self, cells: Sequence[Cell]) -> Iterator[list[Cell]]:
        """Reserve those of the cells that are neither stored nor reserved by another run.

        Never waits. A reservation ends with the block, or with the process, however that ends.

        Raises:
            StoreError: the file of reservations cannot be made.
        """
        with ExitStack() as stack:
            self._prepare()
            with _reported(self.path / "reserved"):
                ids = [cell.id for cell in cells]
                granted = stack.enter_context(reserve(self.path / "reserved", ids))
            # Another run may have stored some between the caller's look and this reservation.
            free = granted - self.holds(cells)
            yield [cell for cell in cells if cell.id in free]

    def _check_folder(self) -> None:
        path = self.path.absolute()
        there = next(p for p in (path, *path.parents) if os.path.exists(p))
        if not there.is_dir():
            fix = "pass --store another folder, or move the file away"
            raise StoreError("a folder for the store", f"{there}, which is a file", fix)
        by_effective_user = os.access in os.supports_effective_ids
        needed = os.R_OK | os.X_OK | (0 if self._look else os.W_OK)
        if not os.access(there, needed, effective_ids=by_effective_user):
            fix = "change its permissions, or pass --store another folder"
            what, got = ("read", "unreadable") if self._look else ("written", "read-only")
            raise StoreError(f"a store that can be {what}", f"{there}, which is {got}", fix)

    def _check_format(self) -> None:
        path = self.path / "store.json"
        if not path.exists():
            return
        with _reported(path):
            data = path.read_bytes()
        try:
            found = int(json.loads(data)["format"])
        except (ValueError, TypeError, KeyError) as error:
            got, fix = f"{path}, which it did not write", "pass --store another folder"
            raise StoreError("a store of Lemmata", got, fix) from error
        if found > shard.FORMAT:
            raise StoreError(
                f"a store of format {shard.FORMAT}",
                f"{self.path}, written by a newer version of Lemmata (format {found})",
                "upgrade Lemmata, or pass --store another folder",
            )
        if found < shard.FORMAT:
            got = f"{self.path}, of an earlier one (format {found})"
            fix = "move it away, or pass --store another folder: a check trains what is missing"
            raise StoreError(f"a store of format {shard.FORMAT}", got, fix)

    def _prepare(self) -> None:
        """Make the folder and say what it is, before anything else is put into it."""
        path = self.path / "store.json"
        if not path.exists():
            with _reported(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, json.dumps({"format": shard.FORMAT}).encode())

    def _find(self, cells: Sequence[Cell]) -> dict[str, Path]:
        """Where each stored cell is; of several shards the first by name, however they were seen."""
        for folder in {self.folder(cell.config.kind, cell.config.version) for cell in cells}:
            self._refresh(folder)
        wanted = {cell.id for cell in cells}
        last_to_first = sorted(self._known, reverse=True)
        return {name: path for path in last_to_first for name in self._known[path].ids & wanted}

    def _refresh(self, folder: Path) -> None:
        """Know the shards that are in the folder now; only new or changed ones are opened."""
        with _reported(folder):
            stamps = _stamps(folder)
        gone = [path for path in self._known if path.parent == folder and path not in stamps]
        for path in gone:
            del self._known[path]
        for path, stamp in stamps.items():
            known = self._known.get(path)
            if (known is None or known.stamp != stamp) and (data := self.load(path)) is not None:
                header = shard.header(data)
                self._known[path] = _Known(stamp, frozenset(header.specs), header.parts)

    def load(self, path: Path) -> bytes | None:
        """The bytes of a shard; None, and the shard set aside, if they are no shard or not those written."""
        with _reported(path), suppress(FileNotFoundError):  # another run may set it aside just now
            data = path.read_bytes()
            if path.name.endswith(f"-{_digest(data)}.parquet") and _is_shard(data):
                return data
            aside = path if self._look else path.rename(path.with_name(f"{path.name}.damaged"))
            if aside not in self.damaged:
                self.damaged.append(aside)
        self._known.pop(path, None)
        return None

    def _missing(self, lost: int, asked: int) -> StoreError:
        return StoreError(
            f"the results of all {asked} cells in {self.path}",
            f"{lost} of them not there",
            "run `lemmata check`, which trains what is missing and nothing else",
        )


def _no_such_cell(cell_id: str, found: Sequence[str]) -> UnknownNameError:
    expected = "the id of one stored cell, or its first digits"
    if found:
        got = f"{cell_id}, with which {len(found)} ids begin, {found[0]} and {found[1]} among them"
        return UnknownNameError(expected, got, "give more of its digits")
    got = f"{cell_id}, with which none begins"
    return UnknownNameError(expected, got, "take one that `lemmata table CLAIM --seeds-apart` lists")


def _slug(text: str) -> str:
    """As a file name, which is never that of another folder."""
    return re.sub(r"[^A-Za-z0-9.+_-]+|^[.]+", "-", text)


def _is_shard(data: bytes) -> bool:
    try:
        shard.header(data)
    except StoreError:
        return False
    return True


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each shard in a folder, which need not exist."""
    stamps = {}
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if SHARD.search(entry.name):
                with suppress(FileNotFoundError):  # another run has just set it aside
                    stat = entry.stat()
                    stamps[folder / entry.name] = (stat.st_size, stat.st_mtime_ns)
    return stamps


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Say in three parts why something could not be read or written."""
    try:
        yield
    except OSError as error:
        got = f"{path}: {error.strerror}"
        if error.errno in FULL:
            fix = "make room, or raise the limit on file size, and run the same again: it continues"
            raise StoreError("room for the results", got, fix) from error
        fix = "check the disk and the permissions, or pass --store another folder"
        raise StoreError("a store that can be read and written", got, fix) from error
