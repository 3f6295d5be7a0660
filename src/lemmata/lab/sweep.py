"""From cells to results: cells -> those not in the store -> chunks -> engine -> store.

`sweep` may be ended at any moment and started again: what is in the store is not trained twice, neither by this run nor
by another one on the same store, and a chunk's size, order or worker change no number. Cells may come from a generator:
WINDOW of them are in memory at a time, and of the others their ids.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, pairwise
from math import ceil, inf
from pathlib import Path
from typing import Protocol, final

from lemmata.lab import engines
from lemmata.lab.errors import EngineError
from lemmata.lab.grid import Cell
from lemmata.lab.store import Store
from lemmata.lab.trainee import Trainee
from lemmata.lab.work import Chunk, Engine, WorkersKilled, check_device

__all__ = ["Plan", "Progress", "Report", "check_device", "chunked", "plan", "sweep"]

# Members a chunk on a GPU, one wide batch; on a CPU what a trainee's `together` says.
WIDE = 1024
# Cells that are planned together, longest chunks first: more than a claim has.
WINDOW = 50_000
# Operations a second of one worker, until the store knows better.
RATE = 1e10
# How often in a row workers may be killed before anything is stored.
ATTEMPTS = 3
# Seconds between looks at what another run has finished.
POLL = 0.5


class Progress(Protocol):
    """Is told after each chunk how many of the cells to train are done, and about how long the others take."""

    def __call__(self, done: int, total: int, seconds_left: float | None, /, note: str = "") -> None:
        """Show it; `seconds_left` is None as long as nothing is known."""
        ...


@final
@dataclass(frozen=True)
class Plan:
    """What a sweep would do: of `cells` cells `stored` are there already, the others are trained in `chunks` chunks."""

    cells: int
    stored: int
    chunks: int
    minutes: float
    workers: int
    chunk_size: int
    engine: str = "local"


@final
@dataclass(frozen=True)
class Report:
    """What a sweep did: the ids of the cells it trained, its seconds, and the damaged shards it set aside."""

    trained: frozenset[str]
    seconds: float
    damaged: tuple[Path, ...]


def plan(
    cells: Iterable[Cell],
    store: Store,
    *,
    workers: int | None = None,
    device: str = "cpu",
    engine: str | Engine = "local",
    address: str | None = None,
    slurm: Mapping[str, str | int] | None = None,
) -> Plan:
    """What `sweep` would do with these cells.

    Raises:
        InputError: fewer than one worker, no such engine, or its package is missing.
        DeviceError: the device is not there.
        EngineError: the cluster, asked how many workers it has, does not answer.
    """
    train = _engine(engine, address, slurm)
    workers = train.workers(workers, device)
    count, stored, seconds, sizes = 0, 0, 0.0, [0]
    for window in _windows(cells):
        missing = _missing(window, store)
        count, stored = count + len(window), stored + len(window) - len(missing)
        seconds += _seconds(missing, store, device)
        sizes += map(len, chunked(missing, workers, device))
    chunks = len(sizes) - 1
    return Plan(
        cells=count,
        stored=stored,
        chunks=chunks,
        minutes=seconds / min(workers, max(1, chunks)) / 60,
        workers=workers,
        chunk_size=max(sizes),
        engine=train.name,
    )


def sweep(
    cells: Iterable[Cell],
    store: Store,
    *,
    workers: int | None = None,
    device: str = "cpu",
    compile: bool = False,
    engine: str | Engine = "local",
    address: str | None = None,
    slurm: Mapping[str, str | int] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Train those of the cells that the store lacks, on `workers` workers of the engine (default: one a core).

    `engine`, `address` and `slurm` are as in `lemmata.lab.engines.engine`; an engine of one's own will do as well.
    Cells that another run has reserved are left to it and waited for; if it ends without them, they are trained here.

    Raises:
        InputError: fewer than one worker, no such engine, or its package is missing.
        DeviceError: the device is not there.
        StoreError: the store cannot be written; what it holds is good.
        EngineError: workers were killed again and again, or the cluster does not answer.
    """
    train = _engine(engine, address, slurm)
    workers = train.workers(workers, device)
    began = time.perf_counter()
    trained: set[str] = set()
    meter = _Meter(progress, len(cells) if isinstance(cells, Sized) else 0)
    for window in _windows(cells):
        failures, killed = 0, None
        while missing := _missing(window, store):
            with store.reserve(missing) as mine:
                meter.begin(missing, _note(killed, len(mine)))
                killed = _train(train, chunked(mine, workers, device), store, workers, device, compile, meter)
                new = store.holds(mine)
            trained |= new
            failures = failures + 1 if killed and not new else 0
            if killed and failures == ATTEMPTS:
                got = f"{ATTEMPTS} times in a row a worker that died first: {killed}"
                raise EngineError("workers that live until something is stored", got, killed.fix) from killed
            if not mine:
                time.sleep(POLL)
        meter.end(window)
    return Report(frozenset(trained), time.perf_counter() - began, tuple(store.damaged))


def _train(
    train: Engine, chunks: Sequence[Chunk], store: Store, workers: int, device: str, compile: bool, meter: _Meter
) -> WorkersKilled | None:
    """Train the chunks, or those whose worker is not killed: then the error that says so."""
    done = train(chunks, store.path.absolute(), workers=workers, device=device, compile=compile)
    try:
        with closing(done):
            for chunk in done:
                meter.advance(chunk)
    except WorkersKilled as error:
        return error
    return None


def chunked(cells: Sequence[Cell], workers: int, device: str = "cpu") -> tuple[Chunk, ...]:
    """Cells that can be trained together, longest first.

    With several workers a chunk is so small that each gets two, since they wait for the last one; no member trains
    alone that could have company, since one costs nearly as much as two.
    """
    groups: defaultdict[tuple[object, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.batch_key].append(cell)
    fair = _work(cells) / (2 * workers) if workers > 1 else inf
    chunks: list[Chunk] = []
    for group in groups.values():
        most = type(group[0].config).together if device == "cpu" else WIDE
        each = _work(group) / len(group)
        size = most if fair >= most * each else max(2, int(fair / each))
        count = min(ceil(len(group) / size), max(1, len(group) // 2))
        bounds = [round(i * len(group) / count) for i in range(count + 1)]
        chunks += [tuple(group[a:b]) for a, b in pairwise(bounds)]
    return tuple(sorted(chunks, key=_work, reverse=True))


def _work(cells: Iterable[Cell]) -> float:
    return sum(cell.work for cell in cells)


def _seconds(cells: Iterable[Cell], store: Store, device: str) -> float:
    """What one worker would need for these cells, at the rate of those of the same kind in the store."""
    kinds: defaultdict[type[Trainee], list[Cell]] = defaultdict(list)
    for cell in cells:
        kinds[type(cell.config)].append(cell)
    return sum(_work(group) / _rate(group[0].config, store, device) for group in kinds.values())


def _rate(config: Trainee, store: Store, device: str) -> float:
    runs = [run for run in store.provenance(config) if run["device"] == device]
    work, seconds = (sum(run[name] for run in runs) for name in ("work", "seconds"))
    return work / seconds if work and seconds else RATE


def _engine(engine: str | Engine, address: str | None, slurm: Mapping[str, str | int] | None) -> Engine:
    return engines.engine(engine, address=address, slurm=slurm) if isinstance(engine, str) else engine


def _windows(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """The cells in order, each once, WINDOW of them at a time."""
    seen: set[str] = set()
    source = iter(cells)
    while part := list(islice(source, WINDOW)):
        window = {cell.id: cell for cell in part if cell.id not in seen}
        seen |= set(window)
        yield list(window.values())


def _missing(cells: Sequence[Cell], store: Store) -> list[Cell]:
    stored = store.holds(cells)
    return [cell for cell in cells if cell.id not in stored]


def _note(killed: WorkersKilled | None, mine: int) -> str:
    if killed:
        return "a worker was killed: what it had not stored is trained again"
    return "" if mine else "waiting for another run that trains these cells"


@final
class _Meter:
    """Foresees how long the cells that are left will take from the work that this run has done so far.

    Of the cells of later windows (`rest`) it is assumed that none is stored, and each as much work as one that is done.
    """

    def __init__(self, progress: Progress | None, cells: int) -> None:
        self.progress = progress
        self.began = time.perf_counter()
        self.rest = cells
        self.before = 0
        self.total = 0
        self.done = 0.0
        self.left: dict[str, float] = {}

    def begin(self, missing: Sequence[Cell], note: str) -> None:
        """Another round, in which these cells are missing."""
        self.left = {cell.id: cell.work for cell in missing}
        self.total = max(self.total, len(missing))
        self._tell(note)

    def advance(self, chunk: Chunk) -> None:
        """These are stored now."""
        self.done += sum(self.left.pop(cell.id) for cell in chunk)
        self._tell("")

    def end(self, window: Sequence[Cell]) -> None:
        """All of these are stored."""
        self.rest = max(self.rest - len(window), 0)
        self.before, self.total = self.before + self.total, 0

    def _tell(self, note: str) -> None:
        if self.progress is not None:
            later, here = max(self.rest - WINDOW, 0), self.total - len(self.left)
            passed, left = time.perf_counter() - self.began, sum(self.left.values())
            left += later * self.done / max(self.before + here, 1)
            seconds_left = passed * left / self.done if self.done else None
            self.progress(self.before + here, self.before + self.total + later, seconds_left, note)
