"""Fewer and larger shards: those of a kind are joined, and a cell that was stored twice is kept once.

    shards in order of their names -> the cells of each that no earlier one has -> batches of the same columns -> files

Joined shards are written before those that they are made of go, so that nothing is lost whatever ends this.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from lemmata.lab import shard
from lemmata.lab.errors import StoreError
from lemmata.lab.reservation import alone
from lemmata.lab.store import Store
from lemmata.lab.upkeep import Told, nobody

__all__ = ["compact"]

# Cells in a joined shard: a few megabytes.
JOINED = 4096


def compact(store: Store, *, told: Told = nobody) -> tuple[int, int]:
    """Join the shards of each kind and version into ones of some thousand cells; how many there were, and are.

    Cells that were stored twice are kept once, as `Store.read` gives them. The joined shards of a kind are written
    before those that they are made of go, so that nothing is lost whatever ends this. What writers that were killed
    left goes too.

    Raises:
        StoreError: another run uses the store, or there is no room.
    """
    paths = store.paths()
    if not paths:
        return 0, 0
    with _alone(store):
        done = before = after = 0
        for _, group in itertools.groupby(store.paths(), key=lambda path: path.parent):
            shards = _each_once(store, list(group))
            before, kept = before + len(shards), set[Path]()
            for batch in _batches(shards):
                done += len(batch)
                told(done, len(paths))
                kept.add(_joined(store, batch))
            after += len(kept)
            for each in shards:
                if each.path not in kept:
                    _remove(each.path)
        for leftover in [*store.path.glob(".*.tmp"), *store.path.glob("*/v*/.*.tmp")]:
            _remove(leftover)
        return before, after


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """No other run reserves cells in the store meanwhile."""
    path = store.path / "reserved"
    try:
        with alone(path):
            yield
    except BlockingIOError as error:
        fix = "wait until it has ended, and run the same again"
        raise StoreError("a store that no other run uses", f"{store.path}, in which one trains", fix) from error


@final
@dataclass(frozen=True)
class _Shard:
    """A shard with its columns, how many cells it has, and those of them that no earlier one has."""

    path: Path
    columns: str
    cells: int
    own: frozenset[str]


def _each_once(store: Store, paths: Sequence[Path]) -> list[_Shard]:
    seen, found = set[str](), []
    for path in paths:
        if (data := store.load(path)) is not None:
            ids = frozenset(shard.header(data).specs)
            found.append(_Shard(path, str(shard.columns(data)), len(ids), ids - seen))
            seen |= ids
    return found


def _batches(shards: Sequence[_Shard]) -> Iterator[list[_Shard]]:
    """Shards of the same columns, as many together as have no more than JOINED cells of their own."""
    by_columns: dict[str, list[_Shard]] = {}
    for each in shards:
        by_columns.setdefault(each.columns, []).append(each)
    for alike in by_columns.values():
        batch: list[_Shard] = []
        for each in alike:
            if batch and sum(len(b.own) for b in batch) + len(each.own) > JOINED:
                yield batch
                batch = []
            if each.own:
                batch.append(each)
        if batch:
            yield batch


def _joined(store: Store, batch: Sequence[_Shard]) -> Path:
    """Where the cells of a batch are now: in one new shard, or in the one that has them alone."""
    if len(batch) == 1 and len(batch[0].own) == batch[0].cells:
        return batch[0].path
    files = [(data, each.own) for each in batch if (data := store.load(each.path)) is not None]
    if len(files) < len(batch):
        fix = "run the same again, which goes on with what is left"
        raise StoreError("shards that stay as they are", f"{len(batch) - len(files)} damaged meanwhile", fix)
    return store.put(shard.join(files))


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        fix = "change the permissions, and run the same again: every cell is in the store"
        raise StoreError("shards that can be removed", f"{path}: {error.strerror}", fix) from error
