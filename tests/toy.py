"""A trainee of two scalars that trains in milliseconds, and a run of its own for tests that end one from outside.

y = slope * x is fitted by w * x + b from one fresh x a step. Only sums and products take part, which round alike
however many members are computed together.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.chunks import Chunk, choose, chunked
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.grid import Cell, product
from lemmata.lab.store import Store
from lemmata.lab.streams import stream
from lemmata.lab.sweep import sweep
from lemmata.lab.trainee import Measure, Row, Trainee, constant


@final
@dataclass(frozen=True, kw_only=True)
class Toy(Trainee):
    kind = "toy"
    version = 1
    most = 32

    lr: float = constant(0.125, "learning rate", origin="chosen", room="training", low=0)
    steps: int = constant(20, "steps", origin="chosen", room="training", low=0, shape=True)
    slope: float = constant(1.5, "slope of the line", origin="given", room="data")
    law: str = constant("normal", "distribution of x", origin="given", room="data", choices=("normal", "sign"))
    start: float = constant(0.25, "first weight", origin="chosen", room="network")
    bias: bool = constant(True, "whether b is used", origin="chosen", room="network")

    def work(self) -> float:
        return 1e6 * self.steps

    @classmethod
    def job(cls, configs: Sequence[Toy], seeds: Sequence[int], device: str) -> ToyJob:
        return ToyJob(configs, seeds)


class ToyJob:
    def __init__(self, configs: Sequence[Toy], seeds: Sequence[int]) -> None:
        self.configs, self.seeds = configs, seeds
        self.lr_E = torch.tensor([c.lr for c in configs])
        self.slope_E = torch.tensor([c.slope for c in configs])
        self.bias_E = torch.tensor([float(c.bias) for c in configs])

    def params(self) -> Params:
        return {"w": torch.tensor([[c.start] for c in self.configs]), "b": torch.zeros(len(self.configs), 1)}

    def loss(self, params: Params, draws: Tensor) -> Tensor:
        error_E = params["w"][:, 0] * draws + self.bias_E * params["b"][:, 0] - self.slope_E * draws
        return error_E * error_E

    def draws(self, step: int) -> Tensor:
        pairs = zip(self.configs, self.seeds, strict=True)
        x_E = [stream("toy", c.axes("data"), seed, step).normal() for c, seed in pairs]
        signs = [c.law == "sign" for c in self.configs]
        return torch.tensor(np.where(signs, np.sign(x_E), x_E), dtype=torch.float32)


@final
@dataclass(frozen=True, kw_only=True)
class Weights(Measure):
    """Both weights at the start and at the end; a coordinate says which, and b has one of its own."""

    name = "weights"

    def steps(self, config: Toy) -> Sequence[int]:
        return (0, config.steps)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        w_E, b_E = snapshot.params["w"][:, 0].tolist(), snapshot.params["b"][:, 0].tolist()
        return [
            [Row("weight", snapshot.step, w, {"of": "w"}), Row("weight", snapshot.step, b, {"of": "b", "layer": 1})]
            for w, b in zip(w_E, b_E, strict=True)
        ]


@final
@dataclass(frozen=True, kw_only=True)
class Silent(Measure):
    """Has nothing to say."""

    name = "silent"

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        return [[] for _ in snapshot.members]


@final
@dataclass(frozen=True, kw_only=True)
class Bomb(Measure):
    """Ends its process as kill -9 does: every one that gets hold of the file `fuse`, which the first takes away."""

    name = "bomb"
    fuse: str
    lasting: bool = False

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        fuse = Path(self.fuse)
        if fuse.exists():
            if not self.lasting:
                fuse.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return [[Row("alive", snapshot.step, 1.0)] for _ in snapshot.members]


@final
@dataclass(frozen=True, kw_only=True)
class Diary(Measure):
    """Leaves a file in `folder` when the training of a chunk begins: named by the parent process, of its members."""

    name = "diary"
    folder: str

    def steps(self, config: Toy) -> Sequence[int]:
        return (0,)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        members = zip(snapshot.configs, snapshot.seeds, strict=True)
        Path(self.folder, f"{os.getppid()}-{uuid.uuid4().hex}").write_text(
            " ".join(f"{c.slope}/{s}" for c, s in members)
        )
        return [[Row("begun", snapshot.step, 1.0)] for _ in snapshot.members]


def cells(count: int, *, measures: Sequence[Measure] = (Weights(),), seeds: int = 4, **changes: Any) -> list[Cell]:
    """The first `count` cells of a grid of slopes, `seeds` seeds each."""
    slopes = product(slope=[1.0 + i / 8 for i in range(-(-count // seeds))])
    return [Cell(Toy(**point, **changes), s, tuple(measures)) for point in slopes for s in range(seeds)][:count]


def chunks(of: Sequence[Cell], workers: int, device: str = "cpu") -> tuple[Chunk, ...]:
    """The chunks of a sweep that knows nothing of how fast anything is trained."""
    return chunked(of, workers, choose(of, rate=lambda _: None, workers=workers, device=device, here=False))


def main(store: str, first: int, last: int, steps: int, workers: int, address: str | None = None) -> None:
    """Sweep cells[first:last] once a line comes in; say ready, each chunk's progress and then what was trained."""
    print("ready", flush=True)
    input()
    report = sweep(
        cells(last, steps=steps)[first:],
        Store(store),
        workers=workers,
        engine="ray" if address else "local",
        address=address,
        progress=lambda done, total, left, note="": print(done, total, note, flush=True),
    )
    print(json.dumps(sorted(report.trained)), flush=True)
