"""One driver of the stress test: sweeps some of the cells into a store, and says after each chunk how many it stored.

python tests/torture_driver.py STORE SEED FAILS ENGINE ADDRESS
"""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import toy

from lemmata import icl
from lemmata.icl.testing import ErrorCurve
from lemmata.lab import files
from lemmata.lab.chunks import Chunk
from lemmata.lab.engines import engine
from lemmata.lab.errors import LemmataError
from lemmata.lab.grid import Cell
from lemmata.lab.slurm_engine import Slurm
from lemmata.lab.store import Store
from lemmata.lab.sweep import sweep
from lemmata.lab.work import Engine


def cells() -> list[Cell]:
    """Small networks of a paper, and some that train at once."""
    small = icl.OneLayer(steps=40, B=8, m=10, M1=4, M2=6, l_tr=8)
    measures = (ErrorCurve(prompts=64),)
    networks = [Cell(small.replace({"lr": lr}), seed, measures) for lr in (0.1, 0.2, 0.5) for seed in range(40)]
    return networks + toy.cells(240, steps=300)


def asked(seed: int, name: str) -> list[Cell]:
    """What the driver of this seed asks for: few with Slurm's stand-in, which starts a process for each chunk."""
    rng = random.Random(seed)
    return rng.sample(cells(), 48 if name == "slurm" else rng.choice([60, 120, 240, 360]))


@dataclass(frozen=True)
class Counted:
    """An engine that says how many cells it has stored."""

    inner: Engine

    name: ClassVar[str] = "counted"
    here: ClassVar[bool] = False  # nothing is measured, and chunks are as large as `together` says

    def workers(self, asked: int | None, device: str) -> int:
        return self.inner.workers(asked, device)

    def __call__(
        self, chunks: Sequence[Chunk], store: Path, *, workers: int, device: str
    ) -> Generator[Chunk, None, None]:
        with closing(self.inner(chunks, store, workers=workers, device=device)) as done:
            for chunk in done:
                print("stored", len(chunk.cells), flush=True)
                yield chunk


def drive(store: str, seed: int, fails: str, name: str, address: str) -> int:
    """Sweep what is missing of them, with workers, chunk sizes and misfortune by this seed."""
    rng = random.Random(seed)
    workers, together = rng.choice([1, 2, 3]), rng.choice([2, 3, 8, 16])
    if fails == "files limited":
        most = rng.choice([2000, 12000, 16000])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    if fails == "writes failing":
        workers = 1  # in this very process, which alone has such a file layer
        whole = files.os.fsync

        def fsync(descriptor: int) -> None:
            if rng.random() < 0.3:
                raise OSError(28, "No space left on device")
            whole(descriptor)

        files.os.fsync = fsync
    for kind in (toy.Toy, icl.OneLayer):
        kind.together = 16 if name == "slurm" else together
    chosen = Slurm(cluster="local") if name == "slurm" else engine(name, address=address or None)
    try:
        sweep(asked(seed, name), Store(store), workers=workers, engine=Counted(chosen))
    except LemmataError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(drive(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
