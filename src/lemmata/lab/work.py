"""A unit of work, wherever it is done: a chunk of cells is trained as one ensemble, and leaves its shard.

An `Engine` decides where and when; `lemmata.lab.engines` chooses one. On this machine a worker keeps the shard itself
(`train`). On another one (`Order`, `train_away`) it does so where it sees the very same store, on a shared disk, and
otherwise hands back the bytes for the driver to keep.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol, final

import numpy as np
import torch

from lemmata.lab import shard
from lemmata.lab.chunks import Chunk
from lemmata.lab.errors import DeviceError, EngineError, InputError, StoreError
from lemmata.lab.grid import measure
from lemmata.lab.store import Store

__all__ = [
    "Engine",
    "Order",
    "WorkersKilled",
    "check_device",
    "check_workers",
    "not_the_same_code",
    "orders",
    "train",
    "train_away",
]

# The variables that a claim's own code reads; workers elsewhere do not inherit them.
PASSED_ON = ("LEMMATA_DATA",)


class Engine(Protocol):
    """Where and when chunks are trained."""

    name: ClassVar[str]
    """As in `--engine NAME`."""

    here: ClassVar[bool]
    """Whether its workers are of this machine, so that what is measured here is true of them."""

    def workers(self, asked: int | None, device: str) -> int:
        """How many chunks are trained at once, at the engine's own choice if none was asked for.

        Raises:
            InputError: fewer than one, or the engine's package is missing.
            DeviceError: the device cannot be had there.
            EngineError: what the engine runs on does not answer.
        """
        ...

    def __call__(
        self, chunks: Sequence[Chunk], store: Path, *, workers: int, device: str
    ) -> Generator[Chunk, None, None]:
        """Train the chunks and yield each once its shard is in the store; to close the generator is to stop.

        Raises:
            StoreError: a shard could not be written.
            WorkersKilled: a worker was killed; all other chunks may be finished.
        """
        ...


class WorkersKilled(Exception):
    """Workers ended before what they trained was stored; `fix` is what usually helps if it happens again."""

    def __init__(self, reason: str, fix: str) -> None:
        """Keep both apart."""
        super().__init__(reason)
        self.fix = fix


def check_workers(workers: int) -> None:
    """Refuse fewer workers than one.

    Raises:
        InputError: there are.

    >>> check_workers(1)
    """
    if workers < 1:
        raise InputError("a number of workers of at least 1", str(workers), "pass --workers 1 or more")


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        DeviceError: neither "cpu" nor "cuda" (or "cuda:1" and so on), or there is no such GPU.

    >>> check_device("cpu")
    """
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise DeviceError("a device, cpu or cuda", device, "pass --device cpu, or --device cuda where there is a GPU")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        got = f"{device}, and torch {torch.__version__} sees {torch.cuda.device_count()} GPUs"
        raise DeviceError("a GPU that torch can use", got, "pass --device cpu, or install a CUDA build of torch")


def train(chunk: Chunk, store: Path, *, device: str) -> None:
    """Train a chunk here and keep its shard.

    Raises:
        StoreError: there is no room, or no permission.
    """
    Store(store).put(_shard(chunk, device))


@final
@dataclass(frozen=True)
class Order:
    """A chunk as it is sent to another machine, with all that has to hold there.

    `mark` is a file in the driver's store whose name no other store has. `versions` are those of the driver's code, and
    `environment` the variables that a claim may read.
    """

    chunk: Chunk
    mark: Path
    device: str
    versions: tuple[object, ...]
    environment: tuple[tuple[str, str], ...]


@contextmanager
def orders(store: Path, *, device: str) -> Iterator[Callable[[Chunk], Order]]:
    """What makes the orders of a run; they can be filled until the end of the block."""
    mark = store / f".{uuid.uuid4().hex}.tmp"
    environment = tuple((name, os.environ[name]) for name in PASSED_ON if name in os.environ)
    # Without a mark no worker finds it: the shards come back, and keeping them says in three parts what is wrong here.
    with suppress(OSError):
        mark.touch(exist_ok=False)
    try:
        yield partial(_order, mark=mark, device=device, environment=environment)
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _order(chunk: Chunk, *, mark: Path, device: str, environment: tuple[tuple[str, str], ...]) -> Order:
    return Order(chunk, mark, device, _versions(chunk), environment)


def train_away(order: Order) -> bytes | None:
    """Fill an order on one thread: None once the shard is in the store that was marked, otherwise its bytes.

    Raises:
        EngineError: the code here is of another version than the driver's.
        DeviceError: the device is not here.
    """
    if (here := _versions(order.chunk)) != order.versions:
        got = f"{order.versions} where the run began, {here} on {platform.node()}"
        fix = "install the same Lemmata, and the same package of the claim, on every machine"
        raise EngineError("the same versions of the code on all machines", got, fix)
    os.environ.update(order.environment)
    torch.set_num_threads(1)
    check_device(order.device)
    data = _shard(order.chunk, order.device)
    # A store that is seen and cannot be written is the driver's to write.
    with suppress(StoreError, OSError):
        if order.mark.exists():
            Store(order.mark.parent).put(data)
            return None
    return data


def not_the_same_code(said: str) -> EngineError:
    """Why another machine could not even read an order: it lacks the package of Lemmata or of a claim."""
    fix = "install Lemmata, and the package that the claim comes from, on every machine"
    return EngineError("a worker that can load what it is to train", said, fix)


def _versions(chunk: Chunk) -> tuple[object, ...]:
    """Of Lemmata and of this chunk's computations, as the code at hand has them: a cell's spec may be the sender's."""
    config, measures = chunk.cells[0].config, chunk.cells[0].measures
    lemmata = importlib.metadata.version("lemmata")
    return (f"lemmata {lemmata}", f"{config.kind} {config.version}", *(f"{m.name} {m.version}" for m in measures))


def _shard(chunk: Chunk, device: str) -> bytes:
    began = time.perf_counter()
    results, _ = measure(chunk.cells, device=device, compile=chunk.compile)
    seconds = time.perf_counter() - began
    return shard.encode(results, seconds=seconds, provenance=_provenance(chunk, device))


def _provenance(chunk: Chunk, device: str) -> dict[str, object]:
    """How, where and when a chunk was trained: what may bear on its numbers in the last digits, and on its time."""
    return {
        "lemmata": importlib.metadata.version("lemmata"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": device,
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "mkl_cbwr": os.environ.get("MKL_CBWR"),
        "compile": chunk.compile,
        "work": sum(cell.work for cell in chunk.cells),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
