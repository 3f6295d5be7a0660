"""From cells to results: cells -> those not in the store -> chunks -> engine -> store.

`sweep` may be ended at any moment and started again: what is in the store is not trained twice, neither by this run nor
by another one on the same store, and a chunk's size, order or worker change no number. Cells may come from a generator:
WINDOW of them are in memory at a time, and of the others their ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, final

from lemmata.lab import engines
from lemmata.lab.chunks import Choice, Chunk, Shape, choose, chunked, joined
from lemmata.lab.errors import EngineError
from lemmata.lab.grid import Cell
from lemmata.lab.store import Store
from lemmata.lab.trainee import Trainee
from lemmata.lab.work import Engine, WorkersKilled, check_device

__all__ = ["Plan", "Progress", "Report", "check_device", "plan", "sweep"]

# Cells that are planned together, longest chunks first: more than a claim has.
WINDOW = 50_000
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
    """What a sweep would do: of `cells` cells `stored` are there already, the others are trained in `chunks` chunks.

    `choices` say how, for each shape of network that is to be trained.
    """

    cells: int
    stored: int
    chunks: int
    minutes: float
    workers: int
    chunk_size: int
    engine: str = "local"
    choices: tuple[Choice, ...] = ()


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
    compile: bool = False,
    engine: str | Engine = "local",
    address: str | None = None,
    slurm: Mapping[str, str | int] | None = None,
    progress: Progress | None = None,
) -> Plan:
    """What `sweep` would do with these cells; what it has to measure for that is measured now (`lab.chunks`).

    Raises:
        InputError: fewer than one worker, no such engine, or its package is missing.
        DeviceError: the device is not there.
        EngineError: the cluster, asked how many workers it has, does not answer.
    """
    train = _engine(engine, address, slurm)
    workers = train.workers(workers, device)
    meter = _Meter(progress, 0)
    count, stored, sizes = 0, 0, [0]
    choices: list[Choice] = []
    for window in _windows(cells):
        missing = _missing(window, store)
        count, stored = count + len(window), stored + len(window) - len(missing)
        chosen = _choose(missing, store, train, workers, device, compile, meter)
        sizes += [len(chunk.cells) for chunk in chunked(missing, workers, chosen)]
        choices += chosen.values()
    chunks = len(sizes) - 1
    return Plan(
        cells=count,
        stored=stored,
        chunks=chunks,
        minutes=sum(choice.seconds for choice in choices) / min(workers, max(1, chunks)) / 60,
        workers=workers,
        chunk_size=max(sizes),
        engine=train.name,
        choices=joined(choices),
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
                chosen = _choose(mine, store, train, workers, device, compile, meter)
                killed = _train(train, chunked(mine, workers, chosen), store, workers, device, meter)
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


def _choose(
    cells: Sequence[Cell],
    store: Store,
    train: Engine,
    workers: int,
    device: str,
    compile: bool,
    meter: _Meter,
) -> dict[Shape, Choice]:
    """How the cells are trained, by what the store and this machine know of them."""
    return choose(
        cells,
        rate=lambda config: _rate(config, store, device),
        workers=workers,
        device=device,
        compile=compile,
        here=train.here,
        tell=meter.say,
    )


def _train(
    train: Engine, chunks: Sequence[Chunk], store: Store, workers: int, device: str, meter: _Meter
) -> WorkersKilled | None:
    """Train the chunks, or those whose worker is not killed: then the error that says so."""
    done = train(chunks, store.path.absolute(), workers=workers, device=device)
    try:
        with closing(done):
            for chunk in done:
                meter.advance(chunk)
    except WorkersKilled as error:
        return error
    return None


def _rate(config: Trainee, store: Store, device: str) -> float | None:
    """Operations a second of a worker at networks of this kind, by what is in the store."""
    runs = [run for run in store.provenance(config) if run["device"] == device]
    work, seconds = (sum(run[name] for run in runs) for name in ("work", "seconds"))
    return work / seconds if work and seconds else None


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
        self.say(note)

    def advance(self, chunk: Chunk) -> None:
        """These are stored now."""
        self.done += sum(self.left.pop(cell.id) for cell in chunk.cells)
        self.say("")

    def end(self, window: Sequence[Cell]) -> None:
        """All of these are stored."""
        self.rest = max(self.rest - len(window), 0)
        self.before, self.total = self.before + self.total, 0

    def say(self, note: str) -> None:
        """How far it is, and what happens."""
        if self.progress is not None:
            later, here = max(self.rest - WINDOW, 0), self.total - len(self.left)
            passed, left = time.perf_counter() - self.began, sum(self.left.values())
            left += later * self.done / max(self.before + here, 1)
            seconds_left = passed * left / self.done if self.done else None
            self.progress(self.before + here, self.before + self.total + later, seconds_left, note)
