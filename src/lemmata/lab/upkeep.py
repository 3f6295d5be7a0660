"""Looking after a store: what it holds, whether that is right, and another store's cells.

Each does its work shard by shard and can be stopped and repeated. To look at a store (`holdings`, `verify`, the other
one of `merge`) open it with `Store(path, look=True)`. `lemmata.lab.compaction` joins shards.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch

from lemmata.lab import shard
from lemmata.lab.errors import InputError, LemmataError, StoreError
from lemmata.lab.grid import Cell, identity, measure
from lemmata.lab.store import Store

__all__ = ["Found", "Holding", "Recomputed", "Told", "Verified", "holdings", "merge", "nobody", "verify"]

# Told of so many of so many.
Told = Callable[[int, int], None]
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


def nobody(done: int, total: int) -> None:
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
    """What `verify` found. `damaged` shards are not those that were written; `wrong` says what else cannot be."""

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


def holdings(store: Store, *, told: Told = nobody) -> list[Holding]:
    """What the store holds, a line a kind and version of trainee. `told` hears of the shards that were read.

    >>> holdings(Store("no-such-folder"))
    []
    """
    groups: dict[tuple[str, int], list[tuple[int, shard.Header]]] = {}
    for _, data in _read(store, told):
        header = shard.header(data)
        groups.setdefault((header.kind, header.version), []).append((len(data), header))
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
    store: Store,
    *,
    cell: Callable[[Mapping[str, Any]], Cell],
    sample: int = 0,
    seed: int = 0,
    told: Told = nobody,
) -> Verified:
    """Read every shard, check its bytes against its name and its cells against their ids, and train a sample again.

    `cell` makes a cell of its stored spec, as `lemmata.registry.cell` does. Of `sample` cells, drawn by `seed`, all
    rows are compared, of the copy that `Store.read` gives if there are several. `told` hears of the shards, and then of
    the cells that were trained.

    Raises:
        StoreError: the store cannot be read.
    """
    found, specs, here = Verified(), dict[str, Mapping[str, Any]](), dict[str, bool]()
    for path, data in _read(store, lambda done, total: told(done, total + sample)):
        found.shards += 1
        header = shard.header(data)
        found.wrong += [Found(path, what) for what in _wrong(data, header)]
        if path.parent != store.folder(header.kind, header.version):
            found.wrong.append(Found(path, f"cells of {header.kind} v{header.version} in the folder of others"))
        made = {name: _HERE.items() <= part.items() for part in header.parts for name in part["cells"]}
        for name, spec in header.specs.items():
            found.twice += name in specs
            specs.setdefault(name, spec)
            here.setdefault(name, made.get(name, False))
    found.cells, found.damaged = len(specs), list(store.damaged)
    shards = len(store.paths())
    chosen = random.Random(seed).sample(sorted(specs), min(sample, len(specs)))
    for done, name in enumerate(chosen):
        found.recomputed.append(_recomputed(store, name, specs[name], cell, here=here[name]))
        told(shards + done + 1, shards + len(chosen))
    return found


def merge(store: Store, other: Store, *, told: Told = nobody) -> tuple[int, int]:
    """Take over the shards of another store that have cells which this one lacks; the other one stays as it is.

    Returns how many cells are new and how many of the other's were here already. `told` hears of the other's shards.

    Raises:
        InputError: both are the same.
        StoreError: one cannot be read or holds what cannot be, or this one cannot be written.
    """
    if store.path.resolve() == other.path.resolve():
        raise InputError("another store", f"{other.path} itself", "name the one whose cells you want")
    held, theirs = store.ids(), other.ids()
    here = set(held)
    for path, data in _read(other, told):
        header = shard.header(data)
        if wrong := _wrong(data, header):
            fix = "ask `lemmata store verify` about it, and take that shard away"
            raise StoreError("a store whose cells are what their ids say", f"{path} with {wrong[0]}", fix)
        if set(header.specs) - here:
            store.put(data)
            here |= set(header.specs)
    if lost := theirs - here:
        got = f"{len(lost)} of {len(theirs)} cells gone meanwhile"
        raise StoreError(f"a store that stays as it is: {other.path}", got, "run the same again: it continues")
    return len(here - held), len(theirs & held)


def _read(store: Store, told: Told) -> Iterator[tuple[Path, bytes]]:
    """The sound shards with their bytes, one after the other."""
    paths = store.paths()
    for done, path in enumerate(paths):
        if (data := store.load(path)) is not None:
            yield path, data
        told(done + 1, len(paths))


def _wrong(data: bytes, header: shard.Header) -> list[str]:
    """What cannot be in a shard whose bytes are those that were written."""
    wrong = [
        f"cell {name} has the constants of {of}"
        for name, spec in header.specs.items()
        if (of := identity(spec)) != name
    ]
    for what, ids in (
        ("rows", shard.cells(data)),
        ("parts", {name for part in header.parts for name in part["cells"]}),
    ):
        if strangers := ids - set(header.specs):
            wrong.append(f"{what} of {len(strangers)} cells that it does not name")
    return wrong


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
