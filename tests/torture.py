"""A stress test of the store and the engines: sweeps that are hurt in every way there is, and nothing may be lost.

    python tests/torture.py --minutes 10

Round after round some drivers sweep the same cells into one store, with random engines (this machine, a Ray cluster of
three nodes, submitit's stand-in for Slurm), workers and chunk sizes. Meanwhile drivers, workers and nodes are killed,
drivers interrupted, shards cut or their bytes flipped, shards joined, and writes fail: by a limit on the size of files,
by a file layer that raises, by a small file system that is full; and some run with their clocks days apart. Between the
rounds the store has to hold what it should: whatever `verify` calls damaged, and no more, is trained again. A driver
that nobody killed has to end well or with an error of Lemmata. When all cells are there, each has to be there with the
numbers of an undisturbed run, and it begins anew with an empty store. What is missing for one of these (ray, submitit,
libfaketime, the permission to mount) is said and left out. Exit status 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ray_nodes import Nodes
from torture_driver import asked, cells
from torture_machine import (
    FAKETIME,
    descendants,
    enlarge,
    go_apart,
    kill,
    nobody_left,
    ray_workers,
    small_file_system,
)

from lemmata.lab.compaction import compact
from lemmata.lab.errors import LemmataError
from lemmata.lab.grid import Cell
from lemmata.lab.store import Store
from lemmata.lab.sweep import sweep
from lemmata.lab.upkeep import verify

# How often each engine is chosen, against the others, and the package that it needs.
ENGINES = {"local": 3, "ray": 2, "slurm": 2}
PACKAGES = {"ray": "ray", "slurm": "submitit"}
# How often each misfortune is chosen, against the others, every tenth of a second.
HURTS = {
    "worker killed": 4,
    "driver killed": 2,
    "driver interrupted": 2,
    "node killed": 2,
    "node added": 2,
    "shard cut": 2,
    "byte flipped": 2,
    "joined": 1,
}


@dataclass
class Driver:
    """A sweep that runs; `hurt` once its end is not its own any more."""

    process: subprocess.Popen[bytes]
    engine: str
    log: Path
    hurt: bool = False

    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> bool:
        self.hurt = self.hurt or self.running()
        return kill(self.process.pid, number)

    def stored(self) -> int:
        """How many cells it says it has stored. Its children may have the pipe too, and nobody waits for them."""
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)
        lines = (self.process.stdout.read() or b"").splitlines()
        # Ray writes there as well.
        return sum(int(line.removeprefix(b"stored ")) for line in lines if line.startswith(b"stored "))


class Torture:
    """What is done to one store, and what was done so far."""

    def __init__(self, folder: Path, seed: int) -> None:
        """The undisturbed run comes first."""
        self.rng, self.folder, self.cells = random.Random(seed), folder, cells()
        self.faults: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.stored: Counter[str] = Counter()
        self.undisturbed = Store(folder / "undisturbed")
        sweep(self.cells, self.undisturbed, workers=1)
        self.faketime = next((path for path in FAKETIME if path.exists()), None)
        self.engines = [name for name in ENGINES if name not in PACKAGES or find_spec(PACKAGES[name])]
        self.nodes = Nodes(folder) if "ray" in self.engines else None
        self.filled = 0
        self.store = folder / "store-0"

    def calm(self) -> None:
        """A driver for each engine, one after the other and left alone; who asks for the fewest cells is the first."""
        for name in reversed(self.engines):
            driver = self._driver(name, str(self.store), self.rng.getrandbits(32))
            assert self._end(driver, 120) == 0, driver.log.read_text()
        self._verify()

    def round(self) -> None:
        """Some drivers, hurt for a few seconds."""
        weights = [ENGINES[name] for name in self.engines]
        names = self.rng.choices(self.engines, weights, k=self.rng.choice([1, 2, 3]))
        if self.nodes and "ray" in names:
            self.nodes.add()
        drivers = [self._random_driver(name) for name in names]
        # Other engines than the local one take a while to begin: they too shall have stored something at times.
        patience = 0.0 if set(names) == {"local"} else self.rng.uniform(0, 16)
        begin = time.monotonic() + patience
        end = begin + self.rng.uniform(3, 15)
        while time.monotonic() < end and any(driver.running() for driver in drivers):
            time.sleep(0.1)
            if time.monotonic() > begin and self.rng.random() < 0.15:
                self._hurt(self.rng.choices(list(HURTS), list(HURTS.values()))[0], drivers)
        for driver in drivers:
            if driver.running():
                self.faults["driver killed"] += driver.signal(signal.SIGKILL)
            self._end(driver)
        self._verify()

    def little_room(self, engine: str) -> bool:
        """A sweep runs out of room, says so, and the same command continues once there is some."""
        folder = self.folder / "small"
        folder.mkdir(exist_ok=True)
        with small_file_system(folder, 64) as permitted:
            if permitted:
                seed, store = self.rng.getrandbits(32), folder / "store"
                for status in (2, 0):
                    driver = self._driver(engine, str(store), seed)
                    assert self._end(driver, 120) == status, driver.log.read_text()
                    if status == 2:
                        said = [line[:9] for line in driver.log.read_text().splitlines()]
                        assert said == ["expected ", "got      ", "fix      "], driver.log.read_text()
                        self._nothing_spoilt(store)
                        enlarge(folder, 16_000)
                self._nothing_spoilt(store)
                self._same(Store(store), asked(seed, engine))
                self.faults["room run out"] += 1
        return permitted

    def finish(self) -> None:
        """Train what is missing, undisturbed, and compare all of it."""
        sweep(self.cells, Store(self.store), workers=2)
        filled = self.filled
        self._verify()
        assert self.filled == filled + 1, "a cell is missing"

    def _random_driver(self, engine: str) -> Driver:
        # The file layer that fails is the driver's, and with Slurm it is always the jobs that write.
        fails = self.rng.choices(["", "files limited", "writes failing"], [6, 1, engine != "slurm"])[0]
        days = ""
        if self.faketime and self.rng.random() < 0.2:
            days = f"{self.rng.choice('+-')}{self.rng.randint(1, 99)}d"
            self.faults["clock apart"] += 1
        if fails:
            self.faults[fails] += 1
        store = str(self.store)
        # What fails, fails in the driver: so that it is the one who writes, Ray's workers see no store.
        if engine == "ray" and (fails or self.rng.random() < 0.3):
            store = f"/proc/self/cwd/{self.store.name}"
            self.faults["store not seen by workers"] += 1
        return self._driver(engine, store, self.rng.getrandbits(32), fails, days)

    def _driver(self, engine: str, store: str, seed: int, fails: str = "", days: str = "") -> Driver:
        self.started[engine] += 1
        log = self.folder / f"driver-{self.started.total()}.log"
        address = self.nodes.address if engine == "ray" and self.nodes else ""
        script = Path(__file__).with_name("torture_driver.py")
        clock = {"LD_PRELOAD": str(self.faketime), "FAKETIME": days} if days else {}
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, script, store, str(seed), fails, engine, address],
                env={**os.environ, **clock},
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                preexec_fn=_interruptible,
            )
        return Driver(process, engine, log)

    def _end(self, driver: Driver, timeout: float | None = None) -> int:
        status = driver.process.wait(timeout)
        self.stored[driver.engine] += driver.stored()
        said = driver.log.read_text()
        well = status == 0 or (status == 2 and "expected " in said)
        assert driver.hurt or well, f"{driver.engine}, status {status}: {said}"
        self.faults["driver ended with an error"] += status == 2
        return status

    def _hurt(self, how: str, drivers: list[Driver]) -> None:
        alive = [driver for driver in drivers if driver.running()]
        driver = self.rng.choice(alive) if alive else None
        shards = sorted(self.store.rglob("*.parquet"))
        done = False
        if how == "worker killed" and driver:
            remote = self.nodes if driver.engine == "ray" else None
            workers = ray_workers(remote.raylets()) if remote else descendants(driver.process.pid)
            done = bool(workers) and kill(self.rng.choice(workers), signal.SIGKILL)
        elif how in ("driver killed", "driver interrupted") and driver:
            done = driver.signal(signal.SIGKILL if how == "driver killed" else signal.SIGINT)
        elif how in ("node killed", "node added") and self.nodes and any(each.engine == "ray" for each in alive):
            done = self.nodes.kill(self.rng) if how == "node killed" else self.nodes.add()
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
            self._same(store, self.cells)
            self.filled += 1
            self.store = self.folder / f"store-{self.filled}"

    def _nothing_spoilt(self, path: Path) -> None:
        found = verify(Store(path, look=True), cell=_cell_of(self.cells))
        assert not found.damaged and not found.wrong, found

    def _same(self, store: Store, wanted: list[Cell]) -> None:
        numbers, expected = (each.read(wanted).drop(columns="seconds") for each in (store, self.undisturbed))
        assert numbers.equals(expected), "other numbers"


def _cell_of(known: list[Cell]) -> Callable[[object], Cell]:
    return lambda spec: next(cell for cell in known if cell.spec == spec)


def _interruptible() -> None:
    """A background job of a shell ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> int:
    """Torture for so many minutes, then say what was survived."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    go_apart()
    # Nodes, jobs and workers import what the drivers do.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, nobody_left():
        torture = Torture(Path(folder), args.seed)
        if torture.faketime is None:
            print("clocks are not set apart: libfaketime is not installed", file=sys.stderr)
        for name in ENGINES.keys() - set(torture.engines):
            print(f"no sweep has the engine {name}: {PACKAGES[name]} is not installed", file=sys.stderr)
        end, rounds = time.monotonic() + 60 * args.minutes, 0
        torture.calm()
        if not torture.little_room("local"):
            print("no file system runs out of room: to mount a small one is not permitted", file=sys.stderr)
        while time.monotonic() < end or not rounds:
            torture.round()
            rounds += 1
            if rounds % 8 == 0:
                torture.little_room(torture.rng.choice(torture.engines))
        torture.finish()
    found = {
        "rounds": rounds,
        "stores filled": torture.filled,
        "cells": len(torture.cells),
        "sweeps": torture.started,
        "cells stored": torture.stored,
    }
    print(json.dumps(found | torture.faults, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
