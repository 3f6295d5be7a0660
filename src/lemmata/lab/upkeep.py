"""Looking after a store: what it holds, whether that is right, fewer and larger shards, and another store's cells.

Each does its work shard by shard, writes whole files before it removes any, and can be stopped and repeated.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch

from lemmata.lab import shard
from lemmata.lab.errors import InputError, LemmataError, StoreError
from lemmata.lab.grid import Cell, identity, measure
from lemmata.lab.reservation import alone
from lemmata.lab.store import Store

__all__ = ["Found", "Holding", "Recomputed", "Verified", "compact", "holdings", "merge", "verify"]

# Told of so many of so many.
Told = Callable[[int, int], None]
# Cells in a joined shard: a few megabytes.
JOINED = 4096
# What must be the same for numbers to be the same to the bit.
_HERE = {
    "torch": torch.__version__,
    "numpy": np.__version__,
    "instructions": torch.backends.cpu.get_cpu_capability(),
    "device": "cpu",
    "compile": False,
    "mkl_cbwr": os.environ.get("MKL_CBWR"),
}
# Numbers that another machine, thread count or version may round otherwise, by a relative difference of this at most.
CLOSE = 1e-4

Outcome = Literal["equal", "close", "apart", "different", "not recomputed"]


def _nothing(done: int, total: int) -> None:
    """Nobody listens."""


@final
@dataclass(frozen=True)
class Holding:
    """What a store holds of one kind and version of trainee; `seconds` of training, `made` where and with what."""

    kind: str
    version: int
    shards: int
    cells: int
    twice: int
    bytes: int
    seconds: float
    made: tuple[str, ...]


@final
@dataclass(frozen=True)
class Recomputed:
    """A cell that was trained again.

    equal: to the bit. close: to CLOSE. Else it is different where it should be equal, and apart where it was trained
    with other versions, instructions, compiled or on a GPU: there seeds agree as a whole and not one by one. `why`
    says what stood against it, or how far the numbers are apart.
    """

    cell: str
    outcome: Outcome
    why: str = ""


@final
@dataclass(frozen=True)
class Found:
    """Something in a shard that cannot be."""

    path: Path
    what: str


@final
@dataclass
class Verified:
    """What `verify` found. `damaged` shards were set aside; `wrong` says what else cannot be."""

    shards: int = 0
    cells: int = 0
    twice: int = 0
    damaged: list[Path] = field(default_factory=list)
    wrong: list[Found] = field(default_factory=list)
    recomputed: list[Recomputed] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not (self.damaged or self.wrong or any(r.outcome == "different" for r in self.recomputed))


def holdings(store: Store) -> list[Holding]:
    """What the store holds, a line a kind and version of trainee.

    >>> holdings(Store("no-such-folder"))
    []
    """
    groups: dict[tuple[str, int], list[tuple[int, shard.Header]]] = {}
    for _, data in store.shards():
        header = shard.header(data)
        first = next(iter(header.specs.values()))
        groups.setdefault((first["kind"], first["version"]), []).append((len(data), header))
    found = []
    for (kind, version), shards in sorted(groups.items()):
        times = Counter(name for _, header in shards for name in header.specs)
        parts = [part for _, header in shards for part in header.parts]
        found.append(
            Holding(
                kind=kind,
                version=version,
                shards=len(shards),
                cells=len(times),
                twice=sum(n > 1 for n in times.values()),
                bytes=sum(size for size, _ in shards),
                seconds=sum(part["seconds"] for part in parts),
                made=tuple(sorted({_made(part) for part in parts})),
            )
        )
    return found


def verify(
    store: Store, *, cell: Callable[[Mapping[str, Any]], Cell], sample: int = 0, seed: int = 0, told: Told = _nothing
) -> Verified:
    """Read every shard, check its bytes against its name and its cells against their ids, and train a sample again.

    `cell` makes a cell of its stored spec, as `lemmata.registry.cell` does. Of `sample` cells, drawn by `seed`, all
    rows are compared.

    Raises:
        StoreError: the store cannot be read.
    """
    found, specs, here = Verified(), dict[str, Mapping[str, Any]](), dict[str, bool]()
    for path, data in store.shards():
        found.shards += 1
        header = shard.header(data)
        for name, spec in header.specs.items():
            if identity(spec) != name:
                found.wrong.append(Found(path, f"cell {name} has the constants of {identity(spec)}"))
            found.twice += name in specs
            specs[name] = spec
            here[name] = all(_HERE.items() <= part.items() for part in header.parts)
        if strangers := shard.cells(data) - set(header.specs):
            found.wrong.append(Found(path, f"rows of {len(strangers)} cells that it does not name"))
    found.cells, found.damaged = len(specs), list(store.damaged)
    chosen = random.Random(seed).sample(sorted(specs), min(sample, len(specs)))
    for done, name in enumerate(chosen):
        found.recomputed.append(_recomputed(store, name, specs[name], cell, here=here[name]))
        told(done + 1, len(chosen))
    return found


def compact(store: Store) -> tuple[int, int]:
    """Join the shards of each kind and version into ones of some thousand cells; how many there were, and are.

    Cells that were stored twice are kept once. The joined shard is written before those that it is made of go, so that
    nothing is lost whatever ends this.

    Raises:
        StoreError: another run uses the store, or there is no room.
    """
    if not store.path.exists():
        return 0, 0
    with _alone(store):
        before = after = 0
        for folder in _folders(store):
            before += len(folder)
            for batch in _batches(folder):
                after += 1
                if len(batch) > 1:
                    joined = store.put(shard.join([data for _, data in batch]))
                    for path, _ in batch:
                        if path != joined:
                            path.unlink(missing_ok=True)
        return before, after


def merge(store: Store, other: Store, *, told: Told = _nothing) -> tuple[int, int]:
    """Take over the shards of another store that have cells which this one lacks; the other one stays as it is.

    Returns how many cells are new and how many of the other's were here already.

    Raises:
        InputError: both are the same.
        StoreError: one cannot be read, or this one cannot be written.
    """
    if store.path.resolve() == other.path.resolve():
        raise InputError("another store", f"{other.path} itself", "name the one whose cells you want")
    held, theirs = store.ids(), other.ids()
    new, here = theirs - held, set(held)
    for _, data in other.shards():
        if set(ids := shard.header(data).specs) - here:
            store.put(data)
            here |= set(ids)
            told(len(new & here), len(new))
    return len(new), len(theirs) - len(new)


def _recomputed(
    store: Store, name: str, spec: Mapping[str, Any], cell: Callable[[Mapping[str, Any]], Cell], *, here: bool
) -> Recomputed:
    try:
        found = cell(spec)
        stored = store.read([found]).drop(columns="seconds")
        results, _ = measure([found])
    except LemmataError as error:
        return Recomputed(name, "not recomputed", f"expected {error.expected}, got {error.got}")
    file = shard.encode(results, seconds=0.0, provenance={})
    new = shard.tidy([shard.decode(file, [name])], [found]).drop(columns="seconds")
    if new.equals(stored):
        return Recomputed(name, "equal")
    differs: Outcome = "different" if here else "apart"
    if not new.drop(columns="value").equals(stored.drop(columns="value")):
        return Recomputed(name, differs, f"{len(new)} rows, or their coordinates, in place of {len(stored)}")
    apart = _apart(new["value"].to_numpy(), stored["value"].to_numpy())
    why = f"relative difference {apart:.1e}"
    return Recomputed(name, "close" if apart <= CLOSE and not here else differs, why)


def _apart(a_R: np.ndarray, b_R: np.ndarray) -> float:
    """The largest difference, relative where numbers are above 1; infinite where one of two is not finite."""
    if (np.isfinite(a_R) != np.isfinite(b_R)).any():
        return np.inf
    there_R = np.isfinite(a_R)
    return float((np.abs(a_R - b_R) / np.maximum(np.abs(b_R), 1))[there_R].max(initial=0.0))


def _made(part: Mapping[str, Any]) -> str:
    """Where and with what a chunk was trained."""
    known = [part.get(name) for name in ("machine", "instructions", "gpu")]
    versions = [f"{name} {part[name]}" for name in ("lemmata", "torch") if part.get(name)]
    compiled = ["compiled"] if part.get("compile") else []
    return ", ".join([*(str(each) for each in known if each), *versions, *compiled])


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """No other run reserves cells in the store meanwhile."""
    try:
        with alone(store.path / "reserved"):
            yield
    except BlockingIOError as error:
        fix = "wait until it has ended, and run the same again"
        raise StoreError("a store that no other run uses", f"{store.path}, in which one trains", fix) from error


def _folders(store: Store) -> list[list[tuple[Path, bytes]]]:
    """The shards of the store, a list a kind and version."""
    return [list(group) for _, group in itertools.groupby(store.shards(), key=lambda shard: shard[0].parent)]


def _batches(shards: Sequence[tuple[Path, bytes]]) -> Iterator[list[tuple[Path, bytes]]]:
    """Shards in order, as many together as have no more than JOINED cells."""
    batch: list[tuple[Path, bytes]] = []
    cells = 0
    for path, data in shards:
        count = len(shard.header(data).specs)
        if batch and cells + count > JOINED:
            yield batch
            batch, cells = [], 0
        batch.append((path, data))
        cells += count
    if batch:
        yield batch
