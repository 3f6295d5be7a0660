"""The engine for a Ray cluster: a chunk is a task, which Ray places on a free node and repeats if that node dies.

The shard stays on a shared disk or comes back to the driver; see `lemmata.lab.work`. Reservations are the driver's: a
worker needs none. Ray is imported when the engine is asked, and shut down only by whom it was started.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, final

from lemmata.lab.chunks import Chunk
from lemmata.lab.errors import DeviceError, EngineError, InputError
from lemmata.lab.needs import install
from lemmata.lab.store import Store
from lemmata.lab.work import WorkersKilled, check_workers, not_the_same_code, orders, train_away

__all__ = ["Ray"]

# How often a chunk is begun again elsewhere, after the node or the process that trained it has died.
RETRIES = 3
# Seconds until a host that does not answer is given up.
PATIENCE = 10


@final
@dataclass(frozen=True)
class Ray:
    """The cluster at `address` (host:port, or "auto"); without one, the cluster that Ray finds or else starts here."""

    address: str | None = None

    name: ClassVar[str] = "ray"
    here: ClassVar[bool] = False

    def workers(self, asked: int | None, device: str) -> int:
        """One a CPU of the cluster, and one a GPU on those; see `lemmata.lab.work.Engine`."""
        _check_device(device)
        if asked is None:
            with _connected(self.address) as ray:
                return int(_amount(ray, device))
        check_workers(asked)
        return asked

    def __call__(
        self, chunks: Sequence[Chunk], store: Path, *, workers: int, device: str = "cpu"
    ) -> Generator[Chunk, None, None]:
        """Train them, `workers` at once; more workers than GPUs share these."""
        if not chunks:
            return
        with _connected(self.address) as ray, orders(store, device=device) as order:
            amount = _amount(ray, device)
            gpus = 0 if device == "cpu" else _share(workers, amount)
            task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(train_away)
            waiting = list(reversed(chunks))
            running: dict[Any, Chunk] = {}
            lost: list[Exception] = []
            try:
                while waiting or running:
                    while waiting and len(running) < workers:
                        chunk = waiting.pop()
                        running[task.remote(order(chunk))] = chunk
                    (ready,), _ = ray.wait(list(running), num_returns=1)
                    chunk = running.pop(ready)
                    try:
                        data = ray.get(ready)
                    except ray.exceptions.RayTaskError as error:
                        if isinstance(error.cause, ray.exceptions.RaySystemError):
                            raise not_the_same_code(str(error.cause).strip().splitlines()[-1]) from None
                        raise error.cause from None
                    except ray.exceptions.RayError as error:
                        lost.append(error)
                        continue
                    if data is not None:
                        Store(store).put(data)
                    yield chunk
            finally:
                for task_in_flight in running:
                    ray.cancel(task_in_flight, force=True)
        if lost:
            fix = "look at the nodes with `ray status`: Ray ends workers when a node's memory runs out"
            raise WorkersKilled(str(lost[0]).splitlines()[0], fix) from lost[0]


def _check_device(device: str) -> None:
    """Which GPU it is is Ray's choice, and whether torch there can use one is found out there."""
    if device not in ("cpu", "cuda"):
        raise DeviceError("cpu or cuda with --engine ray", device, "leave the number out: Ray says which GPU is free")


def _amount(ray: Any, device: str) -> float:
    """What the cluster has of what a chunk needs."""
    kind = "CPU" if device == "cpu" else "GPU"
    if (amount := ray.cluster_resources().get(kind, 0)) < 1:
        got = f"{amount:g} {kind}s"
        raise DeviceError(f"a Ray cluster with a {kind}", got, f"start a node with `ray start --num-{kind.lower()}s 1`")
    return amount


def _share(workers: int, gpus: float) -> float:
    """What a worker gets of a GPU: a whole number of shares make one, so that no part of it is left over.

    >>> _share(2, 4), _share(3, 2), _share(8, 1)
    (1.0, 0.5, 0.125)
    """
    return 1 / ceil(workers / gpus)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected for the length of the block, or as long as somebody else's connection lasts."""
    try:
        import ray
    except ImportError as error:
        raise InputError("the package ray, for --engine ray", "none", install("ray")) from error
    if ray.is_initialized():
        yield ray
        return
    # Only a Ray that is started here looks at it: Lemmata makes no network connection of its own accord.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(address)
        with _ctrl_c_later():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        got = f"{address or 'none given'}: {str(error).splitlines()[0]}"
        fix = "pass --address host:port as `ray start --head` printed it, or auto on a node of the cluster"
        raise EngineError("a Ray cluster that answers", got, fix) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Processes that are started meanwhile leave Ctrl-C to this one: without them it could not stop in good order."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _knock(address: str | None) -> None:
    """Ray itself would try for minutes to reach a host and port where nobody listens."""
    host, _, port = (address or "").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
