"""The engine for a Slurm cluster: the chunks are the tasks of job arrays, which submitit writes and follows.

A chunk's shard stays in the store where the node sees it, as `lemmata.lab.work` says. What submitit needs to hand a
chunk to its job lies in a folder of its own beside the store, which is on a disk that the nodes share, readable by its
owner alone: submitit unpickles what is there, and nothing in a store is ever unpickled. The folder goes with the run,
or stays with its logs where a job failed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from lemmata.lab.chunks import Chunk
from lemmata.lab.errors import DeviceError, EngineError, InputError, StoreError, nearest
from lemmata.lab.needs import install
from lemmata.lab.store import FULL, Store
from lemmata.lab.work import Order, WorkersKilled, check_workers, not_the_same_code, orders, train_away

__all__ = ["SETTINGS", "Slurm"]

# What a user may set, and what submitit calls it. A chunk takes minutes and a worker less than 1 GB.
SETTINGS: Mapping[str, tuple[str, type]] = {
    "account": ("slurm_account", str),
    "cpus": ("cpus_per_task", int),
    "gb": ("mem_gb", int),
    "minutes": ("timeout_min", int),
    "partition": ("slurm_partition", str),
}
USUAL = {"cpus_per_task": 1, "mem_gb": 2, "timeout_min": 60}
# Jobs at once, unless --workers says it: what a lab's user usually may have.
WORKERS = 32
# The tasks of one array: Slurm's own limit (MaxArraySize) is 1001 unless the cluster's says another.
ARRAY = 1000
# How submitit says that it could not call `_fill`, which itself raises nothing: the last line of a traceback.
FAILED = re.compile(r"failed during processing with trace:\n-+\n(?:.*\n)*?(\S.*)\n+-+\n")
# Seconds between looks at which jobs have ended.
POLL = 1.0


@final
@dataclass(frozen=True)
class Slurm:
    """Jobs with these `settings` (see `SETTINGS`).

    `cluster` "local" is submitit's stand-in: as many processes of this machine as there are chunks in an array.

    Raises:
        InputError: a setting has no such name, or a value that it cannot take.

    >>> Slurm({"partition": "short", "minutes": "20"}).parameters(workers=8, device="cpu")["timeout_min"]
    20
    """

    settings: Mapping[str, str | int] = field(default_factory=dict)
    cluster: Literal["slurm", "local"] = "slurm"

    name: ClassVar[str] = "slurm"
    here: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what submitit or Slurm would only refuse later."""
        for name, value in self.settings.items():
            if name not in SETTINGS:
                raise InputError("a setting of --slurm", name, nearest(name, SETTINGS))
            if SETTINGS[name][1] is int and not (str(value).isdecimal() and int(value) > 0):
                fix = f"for example --slurm {name}=10"
                raise InputError(f"a whole number of at least 1 for --slurm {name}", str(value), fix)
            if not str(value) or any(character.isspace() for character in str(value)):
                raise InputError(f"one word for --slurm {name}", repr(str(value)), f"for example --slurm {name}=short")

    def parameters(self, *, workers: int, device: str) -> dict[str, Any]:
        """What is asked of submitit for a job."""
        own = {SETTINGS[name][0]: SETTINGS[name][1](value) for name, value in self.settings.items()}
        gpu = {} if device == "cpu" else {"gpus_per_node": 1}
        return {"name": "lemmata", "slurm_array_parallelism": workers, **USUAL, **own, **gpu}

    def workers(self, asked: int | None, device: str) -> int:
        """Jobs that may run at once; see `lemmata.lab.work.Engine`."""
        if device not in ("cpu", "cuda"):
            fix = "leave the number out: Slurm says which GPU is free"
            raise DeviceError("cpu or cuda with --engine slurm", device, fix)
        if asked is not None:
            check_workers(asked)
        return asked or WORKERS

    def __call__(
        self, chunks: Sequence[Chunk], store: Path, *, workers: int, device: str = "cpu"
    ) -> Generator[Chunk, None, None]:
        """Train them, an array after the other."""
        if not chunks:
            return
        folder = _folder(store)
        lost: list[Exception] = []
        try:
            executor = self._executor(folder)
            executor.update_parameters(**self.parameters(workers=workers, device=device))
            with orders(store, device=device) as order:
                for first in range(0, len(chunks), ARRAY):
                    part = chunks[first : first + ARRAY]
                    yield from _train(executor, [order(chunk) for chunk in part], store, lost)
        finally:
            if not lost:
                shutil.rmtree(folder, ignore_errors=True)
        if lost:
            said = str(lost[0]).rstrip().splitlines() or [type(lost[0]).__name__]
            fix = f"read the jobs' logs in {folder}; --slurm minutes=N and gb=N give them more time and memory"
            raise WorkersKilled(f"{len(lost)} jobs without a result, the first: {said[0]}", fix) from lost[0]

    def _executor(self, folder: Path) -> Any:
        try:
            import submitit
        except ImportError as error:
            raise InputError("the package submitit, for --engine slurm", "none", install("submitit")) from error
        try:
            return submitit.AutoExecutor(folder, cluster=self.cluster)
        except RuntimeError as error:
            fix = "run it on a login node of the cluster, where sbatch and srun are on the PATH"
            raise EngineError("a machine that can submit jobs to Slurm", str(error), fix) from error


def _folder(store: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=f"{store.name}-slurm-", dir=store.parent))
    except OSError as error:
        fix = "pass --store a folder in one that you may write to, on a disk that the nodes share"
        got = f"{store.parent}: {error.strerror}"
        raise StoreError("room beside the store for the jobs' files", got, fix) from error


def _train(executor: Any, every: Sequence[Order], store: Path, lost: list[Exception]) -> Generator[Chunk, None, None]:
    """Train one array, yield each chunk when it is stored, and add to `lost` what ended without a result."""
    try:
        jobs = executor.map_array(_fill, every)
    except (RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            got, fix = f"{store.parent}: {error.strerror}", "make room, and run the same again: it continues"
            raise StoreError("room beside the store for the jobs' files", got, fix) from error
        got = " ".join(str(error).split())
        raise EngineError("a job array that Slurm accepts", got, "look at --slurm, or ask `sinfo`") from error
    running = dict(enumerate(jobs))
    try:
        while running:
            ended = [i for i, job in running.items() if job.done()]
            before = len(lost)
            for i in ended:
                job = running.pop(i)
                if len(lost) > before:
                    # Submitit waits for a result that the disk may show late. This one has waited with the first.
                    job._results_timeout_s = 0
                if (error := job.exception()) is not None:
                    if found := FAILED.search(str(error)):
                        raise not_the_same_code(found[1])
                    lost.append(error)
                    continue
                filled = job.result()
                if isinstance(filled, Exception):
                    raise filled
                if filled is not None:
                    Store(store).put(filled)
                yield every[i].chunk
            if not ended:
                time.sleep(POLL)
    finally:
        for job in running.values():
            job.cancel(check=False)


def _fill(order: Order) -> bytes | Exception | None:
    """Train in a job. Submitit keeps an exception that is raised as text, and one that is returned as what it is."""
    try:
        return train_away(order)
    except Exception as error:
        return error
