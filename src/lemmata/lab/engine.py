"""The local engine: chunks of cells on so many processes of this machine.

An existing engine does the scheduling: joblib's processes, with one thread each, since members are small and torch's
own threads lose to anything else that runs. One worker is this very process. A worker writes its own shards, so nothing
but the fact that it has done so comes back, and whatever ends a run loses only the chunks in flight.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
import warnings
from collections.abc import Generator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import joblib
import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from lemmata.lab.chunks import Chunk
from lemmata.lab.work import WorkersKilled, check_device, check_workers, train

__all__ = ["Local"]


@final
@dataclass(frozen=True)
class Local:
    """Processes of this machine; see `lemmata.lab.work.Engine`.

    >>> Local().workers(2, "cpu")
    2
    """

    name: ClassVar[str] = "local"
    here: ClassVar[bool] = True

    def workers(self, asked: int | None, device: str) -> int:
        """One a core, and one on a GPU."""
        check_device(device)
        if asked is None:
            return joblib.cpu_count() if device == "cpu" else 1
        check_workers(asked)
        return asked

    def __call__(
        self, chunks: Sequence[Chunk], store: Path, *, workers: int, device: str = "cpu"
    ) -> Generator[Chunk, None, None]:
        """Train them; one worker is this process."""
        workers = min(workers, len(chunks))
        if workers <= 1:
            return _train_here(chunks, store, device)
        return _train_in_processes(chunks, store, workers, device)


def _train_here(chunks: Sequence[Chunk], store: Path, device: str) -> Generator[Chunk, None, None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for chunk in chunks:
            train(chunk, store, device=device)
            yield chunk
    finally:
        torch.set_num_threads(threads)


def _train_in_processes(
    chunks: Sequence[Chunk], store: Path, workers: int, device: str
) -> Generator[Chunk, None, None]:
    # The environment of the workers, since some libraries count their threads when they are loaded.
    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=workers, return_as="generator_unordered")
    work, here = delayed(_train_in_worker), os.getpid()
    finished = False
    try:
        done: Any = pool(work(here, i, chunk, store, device) for i, chunk in enumerate(chunks))
        try:
            for i in done:
                yield chunks[i]
            finished = True
        except BrokenProcessPool as error:
            fix = "pass a smaller --workers: the system ends processes when memory runs out"
            raise WorkersKilled(str(error).splitlines()[0], fix) from error
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


def _train_in_worker(parent: int, i: int, chunk: Chunk, store: Path, device: str) -> int:
    _become_worker(parent)
    train(chunk, store, device=device)
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
