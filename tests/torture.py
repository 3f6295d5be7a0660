"""A stress test of the store and the engines: sweeps that are hurt in every way there is, and nothing may be lost.

    python tests/torture.py --minutes 10

Round after round some drivers sweep the same cells into one store, with random workers and chunk sizes, and meanwhile
drivers and workers are killed or interrupted, shards cut or their bytes flipped, shards joined, and writes fail: by a
limit on the size of files, by a file layer that raises, and where libfaketime is installed some run with their clocks
days apart. Between the rounds the store has to hold what it should: whatever `verify` calls damaged, and no more, is
trained again. When all cells are there, each has to be there with the numbers of an undisturbed run, and it begins anew
with an empty store. Exit status 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import toy

from lemmata import icl
from lemmata.icl.testing import ErrorCurve
from lemmata.lab import files
from lemmata.lab.compaction import compact
from lemmata.lab.errors import LemmataError
from lemmata.lab.grid import Cell
from lemmata.lab.store import Store
from lemmata.lab.sweep import sweep
from lemmata.lab.upkeep import verify

FAKETIME = [Path(f"/usr/lib/{where}/faketime/libfaketime.so.1") for where in ("x86_64-linux-gnu", "aarch64-linux-gnu")]
# How often each misfortune is chosen, against the others, every tenth of a second.
HURTS = {
    "worker killed": 4,
    "driver killed": 2,
    "driver interrupted": 2,
    "shard cut": 2,
    "byte flipped": 2,
    "joined": 1,
}


def cells() -> list[Cell]:
    """Small networks of a paper, and some that train at once."""
    small = icl.OneLayer(steps=40, B=8, m=10, M1=4, M2=6, l_tr=8)
    measures = (ErrorCurve(prompts=64),)
    networks = [Cell(small.replace({"lr": lr}), seed, measures) for lr in (0.1, 0.2, 0.5) for seed in range(40)]
    return networks + toy.cells(240, steps=300)


def drive(store: str, seed: int, fails: str) -> None:
    """One driver: sweep what is missing, with workers, chunk sizes and misfortune by this seed."""
    rng = random.Random(seed)
    if fails == "files limited":
        most = rng.choice([2000, 12000, 16000])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    if fails == "writes failing":
        whole = files.os.fsync

        def fsync(descriptor: int) -> None:
            if rng.random() < 0.3:
                raise OSError(28, "No space left on device")
            whole(descriptor)

        files.os.fsync = fsync
    for kind in (toy.Toy, icl.OneLayer):
        kind.together = rng.choice([2, 3, 8, 16])
    order = cells()
    rng.shuffle(order)
    try:
        sweep(order, Store(store), workers=rng.choice([1, 2, 3]))
    except LemmataError:
        sys.exit(2)


class Torture:
    """What is done to one store, and what was done so far."""

    def __init__(self, folder: Path, seed: int) -> None:
        """The undisturbed run comes first."""
        self.rng, self.folder, self.cells = random.Random(seed), folder, cells()
        self.faults: Counter[str] = Counter()
        undisturbed = Store(folder / "undisturbed")
        sweep(self.cells, undisturbed, workers=1)
        self.expected = undisturbed.read(self.cells).drop(columns="seconds")
        self.faketime = next((path for path in FAKETIME if path.exists()), None)
        self.filled = 0
        self.store = folder / "store-0"

    def round(self) -> None:
        """Some drivers, hurt for a few seconds."""
        drivers = [self._driver() for _ in range(self.rng.choice([1, 2, 3]))]
        end = time.monotonic() + self.rng.uniform(3, 15)
        while time.monotonic() < end and any(driver.poll() is None for driver in drivers):
            time.sleep(0.1)
            if self.rng.random() < 0.15:
                self._hurt(self.rng.choices(list(HURTS), list(HURTS.values()))[0], drivers)
        for driver in drivers:
            if driver.poll() is None:
                self.faults["driver killed"] += 1
                driver.kill()
            driver.wait()
        self._verify()

    def finish(self) -> None:
        """Train what is missing, undisturbed, and compare all of it."""
        sweep(self.cells, Store(self.store), workers=2)
        filled = self.filled
        self._verify()
        assert self.filled == filled + 1, "a cell is missing"

    def _driver(self) -> subprocess.Popen[bytes]:
        fails = self.rng.choices(["", "files limited", "writes failing"], [6, 1, 1])[0]
        environment = dict(os.environ)
        if self.faketime and self.rng.random() < 0.2:
            environment |= {
                "LD_PRELOAD": str(self.faketime),
                "FAKETIME": f"{self.rng.choice('+-')}{self.rng.randint(1, 99)}d",
            }
            self.faults["clock apart"] += 1
        if fails:
            self.faults[fails] += 1
        self.faults["sweep started"] += 1
        command = [sys.executable, __file__, "--drive", str(self.store), str(self.rng.getrandbits(32)), fails]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, preexec_fn=_interruptible)

    def _hurt(self, how: str, drivers: list[subprocess.Popen[bytes]]) -> None:
        alive = [driver for driver in drivers if driver.poll() is None]
        driver = self.rng.choice(alive) if alive else None
        shards = sorted(self.store.rglob("*.parquet"))
        done = False
        if how == "worker killed" and driver and (workers := _children(driver.pid)):
            done = _signal(self.rng.choice(workers), signal.SIGKILL)
        elif how in ("driver killed", "driver interrupted") and driver:
            done = _signal(driver.pid, signal.SIGKILL if how == "driver killed" else signal.SIGINT)
        elif how in ("shard cut", "byte flipped") and shards:
            done = self._spoil(self.rng.choice(shards), cut=how == "shard cut")
        elif how == "joined" and not alive:
            with suppress(LemmataError):
                compact(Store(self.store))
                done = True
        self.faults[how] += done

    def _spoil(self, path: Path, *, cut: bool) -> bool:
        with suppress(FileNotFoundError):
            data = bytearray(path.read_bytes())
            if cut:
                data = data[: self.rng.randrange(len(data))]
            else:
                data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
            # Written in place, as what spoils a file does it. One that is gone stays so.
            with path.open("r+b") as file:
                file.truncate(0)
                file.write(data)
            return True
        return False

    def _verify(self) -> None:
        """Nothing in the store is wrong but what was spoilt, and once all is there it is what it should be."""
        if self.rng.random() < 0.3:
            with suppress(LemmataError):
                compact(Store(self.store))
                self.faults["joined"] += 1
        store = Store(self.store)
        found = verify(Store(self.store, look=True), cell=_cell_of(self.cells))
        self.faults["damage found"] += len(found.damaged)
        assert not found.wrong, found.wrong
        # Workers whose driver was killed may store a last shard meanwhile.
        held = store.holds(self.cells)
        assert store.ids() <= {cell.id for cell in self.cells}, "cells that nobody asked for"
        if len(held) == len(self.cells):
            assert store.read(self.cells).drop(columns="seconds").equals(self.expected), "other numbers"
            self.filled += 1
            self.store = self.folder / f"store-{self.filled}"


def _cell_of(known: list[Cell]) -> Callable[[object], Cell]:
    return lambda spec: next(cell for cell in known if cell.spec == spec)


def _interruptible() -> None:
    """A background job of a shell ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _children(parent: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = status.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                found.append(int(status.parent.name))
    return found


def _signal(process: int, number: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, number)
        return True
    return False


def main() -> int:
    """Torture for so many minutes, then say what was survived."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", nargs=3, metavar=("STORE", "SEED", "FAILS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        drive(args.drive[0], int(args.drive[1]), args.drive[2])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(Path(folder), args.seed)
        if torture.faketime is None:
            print("clocks are not set apart: libfaketime is not installed", file=sys.stderr)
        end, rounds = time.monotonic() + 60 * args.minutes, 0
        while time.monotonic() < end:
            torture.round()
            rounds += 1
        torture.finish()
    print(
        json.dumps(
            {"rounds": rounds, "stores filled": torture.filled, "cells": len(torture.cells), **torture.faults}, indent=2
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
