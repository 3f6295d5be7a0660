"""Train chunks of cells, each as one ensemble, on so many workers; what a chunk leaves is its shard in the store.

An existing engine does the scheduling: joblib's processes, with one thread each, since members are small and torch's
own threads lose to anything else that runs. One worker is this very process. A worker writes its own shards, so nothing
but the fact that it has done so comes back, and whatever ends a run loses only the chunks in flight.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import signal
import threading
import time
import warnings
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from lemmata.lab.errors import DeviceError
from lemmata.lab.grid import Cell, measure
from lemmata.lab.store import Store

__all__ = ["Chunk", "check_device", "train"]

Chunk = tuple[Cell, ...]


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


def train(
    chunks: Sequence[Chunk], store: Path, *, workers: int, device: str = "cpu", compile: bool = False
) -> Generator[Chunk, None, None]:
    """Train the chunks and yield each once its shard is in the store; to close the generator is to stop.

    Raises:
        StoreError: a shard could not be written.
        BrokenProcessPool: a worker was killed, or could not load what it was sent.
    """
    workers = min(workers, len(chunks))
    if workers <= 1:
        return _train_here(chunks, store, device, compile)
    return _train_in_processes(chunks, store, workers, device, compile)


def _train_here(chunks: Sequence[Chunk], store: Path, device: str, compile: bool) -> Generator[Chunk, None, None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for chunk in chunks:
            _train_chunk(chunk, store, device, compile)
            yield chunk
    finally:
        torch.set_num_threads(threads)


def _train_in_processes(
    chunks: Sequence[Chunk], store: Path, workers: int, device: str, compile: bool
) -> Generator[Chunk, None, None]:
    # The environment of the workers, since some libraries count their threads when they are loaded.
    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=workers, return_as="generator_unordered")
    work, here = delayed(_train_in_worker), os.getpid()
    finished = False
    try:
        done: Any = pool(work(here, i, chunk, store, device, compile) for i, chunk in enumerate(chunks))
        try:
            for i in done:
                yield chunks[i]
            finished = True
        finally:
            _close(done)
    finally:
        # No process outlives its sweep: code that is changed before the next one is loaded afresh.
        get_reusable_executor(kill_workers=not finished).shutdown(kill_workers=not finished)


def _close(done: Any) -> None:
    """Stop. Joblib warns of the chunks in flight, which are lost as they are meant to be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done.close()


def _train_in_worker(parent: int, i: int, chunk: Chunk, store: Path, device: str, compile: bool) -> int:
    _become_worker(parent)
    _train_chunk(chunk, store, device, compile)
    return i


@functools.cache
def _become_worker(parent: int) -> None:
    """Once a process: use one thread, leave Ctrl-C to the parent, and do not outlive it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _leave_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _train_chunk(chunk: Chunk, store: Path, device: str, compile: bool) -> None:
    began = time.perf_counter()
    results, _ = measure(chunk, device=device, compile=compile)
    seconds = time.perf_counter() - began
    Store(store).write(results, seconds=seconds, provenance=_provenance(chunk, device, compile))


def _provenance(chunk: Chunk, device: str, compile: bool) -> dict[str, object]:
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
        "compile": compile,
        "work": sum(cell.work for cell in chunk),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
