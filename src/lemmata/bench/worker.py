"""A worker of the benchmark: a single-threaded process that works in turns.

    python -m lemmata.bench.worker KIND WORKERS STEPS WORKER

KIND is `sgemm`, or a workload and a way of training it: `icl.one-layer/usual`, `/eager` or `/compiled`. The worker
warms up and prints an empty JSON object. For every line that it then reads, it works one turn and prints how much it
did a second and the most memory it ever held. It ends with its input.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from lemmata.bench import usual_cot, usual_editing, usual_graph, usual_icl, usual_vision
from lemmata.bench.usual import Script
from lemmata.cot import network as cot
from lemmata.editing import network as editing
from lemmata.graph import network as graph
from lemmata.icl import network as icl
from lemmata.lab.pace import measured
from lemmata.lab.trainee import Trainee
from lemmata.vision import network as vision

__all__ = ["WORKLOADS", "Workload", "ensemble", "main", "rss_mb", "sgemm", "usual"]


@final
@dataclass(frozen=True)
class Workload:
    """What is trained: by a usual script and, with the same constants, by Lemmata.

    operations: floating-point operations that a step of a member takes at the least. Drawing, look-ups, averaging and
    the loss count as none.
    """

    script: Script
    config: Trainee
    operations: float


# By the kind of network, which begins with the id of its paper.
WORKLOADS = {
    "icl.one-layer": Workload(
        usual_icl.SCRIPT,
        # The script's columns are as wide as the hidden layer: d_X + d_Y = 60.
        icl.OneLayer(
            M1=usual_icl.M1,
            M2=usual_icl.M2,
            alpha=usual_icl.ALPHA,
            beta=usual_icl.BETA,
            kappa=usual_icl.KAPPA,
            l_tr=usual_icl.LENGTH,
            B=usual_icl.BATCH,
            d_Y=usual_icl.D_Y,
            m=usual_icl.NEURONS,
            delta=usual_icl.DELTA,
            xi=usual_icl.XI,
            lr=usual_icl.LEARNING_RATE,
        ),
        # The hidden layer and its two backward products 14.9 million, W_O W_V and its own 4.5, attention 0.8.
        20.2e6,
    ),
    "cot.one-layer": Workload(
        usual_cot.SCRIPT,
        cot.OneLayer(
            M=usual_cot.M,
            d_X=usual_cot.D_X,
            K=usual_cot.K,
            alpha=usual_cot.ALPHA,
            l_tr=usual_cot.LENGTH,
            tasks="shifts",
            B=usual_cot.BATCH,
            delta=usual_cot.DELTA,
            train_value=usual_cot.TRAIN_VALUE,
            lr=usual_cot.LEARNING_RATE,
        ),
        # W_Q^T W_K and its two backward products, 43 x 43 x 23 each. W_V is a selector and takes none.
        0.26e6,
    ),
    "editing.one-layer": Workload(
        usual_editing.SCRIPT,
        editing.OneLayer(
            tasks=usual_editing.TASKS,
            d=usual_editing.D,
            J=usual_editing.J,
            P=usual_editing.LENGTH,
            delta_s=usual_editing.RIGHT,
            delta_h=usual_editing.WRONG,
            m=usual_editing.NEURONS,
            xi=usual_editing.XI,
            B=usual_editing.BATCH,
            lr=usual_editing.LEARNING_RATE,
        ),
        # Two tasks: attention of 22 kinds on 22 values of 100 neurons, and its two backward products. Of the kinds
        # about ten are in a sample, so that fewer would do.
        18.6e6,
    ),
    "vision.one-layer": Workload(
        usual_vision.SCRIPT,
        # All matrices at one rate, as in the script.
        vision.OneLayer(
            M=usual_vision.M,
            L=usual_vision.LENGTH,
            alpha_s=usual_vision.ALPHA,
            ratio=usual_vision.RATIO,
            mixing=usual_vision.MIXING,
            N=usual_vision.DATASET,
            B=usual_vision.BATCH,
            m=usual_vision.NEURONS,
            delta=usual_vision.DELTA,
            sigma=usual_vision.SIGMA,
            xi=usual_vision.XI,
            mult=1.0,
            lr=usual_vision.LEARNING_RATE,
        ),
        # The hidden layer on 6 queries a sample and its two backward products 0.58 million, W_O W_V and W_Q^T W_K 0.14.
        0.72e6,
    ),
    "graph.one-layer": Workload(
        usual_graph.SCRIPT,
        # All parameters at one rate and from the first step on, as in the script.
        graph.OneLayer(
            M=usual_graph.M,
            Z=usual_graph.HOPS,
            S=usual_graph.SIZE,
            degree=usual_graph.DEGREE,
            gamma_d=usual_graph.GAMMA,
            labelled=usual_graph.DATASET,
            B=usual_graph.BATCH,
            m=usual_graph.NEURONS,
            w0=usual_graph.W0,
            delta=usual_graph.DELTA,
            sigma=usual_graph.SIGMA,
            xi=usual_graph.XI,
            first=0,
            mult=1.0,
            mult_b=1.0,
            lr=usual_graph.LEARNING_RATE,
        ),
        # The hidden layer and its two backward products 48 thousand, W_O W_V 24, W_Q^T W_K 6.
        0.078e6,
    ),
}
MEMBERS = 64
WARM_UP = 24
SGEMM_SIZE, SGEMM_TIMES = 1024, 60

# Works, and returns how much it did.
Work = Callable[[], float]


def ensemble(workload: Workload, worker: int, workers: int, steps: int, *, compile: bool) -> Work:
    """Lemmata: chunk after chunk of the workload's members, `workers` of them at a time; in member-steps.

    A chunk has as many members as are chosen here. It warms up in a whole training, since steps late in it are others.
    """
    size = min(measured(workload.config, compile=compile).best(), MEMBERS)
    chunks = itertools.count(worker, workers)

    def train(steps: int) -> float:
        first = size * (next(chunks) % (MEMBERS // size))
        workload.config.replace({"steps": steps}).train(range(first, first + size), compile=compile)
        return size * steps

    train(steps)
    return lambda: train(steps)


def usual(workload: Workload, worker: int, steps: int) -> Work:
    """The usual script: one model, in member-steps."""
    losses = workload.script.training(seed=worker)

    def train(steps: int) -> float:
        for _ in range(steps):
            next(losses)
        return steps

    train(WARM_UP)
    return lambda: train(steps)


def sgemm() -> Work:
    """Products of square matrices in single precision, in 10^9 operations."""
    a, b, c = torch.randn(3, SGEMM_SIZE, SGEMM_SIZE)

    def multiply() -> float:
        for _ in range(SGEMM_TIMES):
            torch.mm(a, b, out=c)
        return SGEMM_TIMES * 2 * SGEMM_SIZE**3 / 1e9

    multiply()
    return multiply


def rss_mb() -> float:
    """The most memory that this process ever held, in MB.

    Linux is asked for this program's own: its `getrusage` begins with what the parent held when it started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Work a turn for every line of input."""
    kind, workers, steps, worker = sys.argv[1], *map(int, sys.argv[2:])
    torch.set_num_threads(1)
    work = _ready(kind, workers, steps, worker)
    print("{}", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        done = work()
        rate = done / (time.perf_counter() - start)
        print(json.dumps({"rate": rate, "rss_mb": rss_mb()}), flush=True)


def _ready(kind: str, workers: int, steps: int, worker: int) -> Work:
    if kind == "sgemm":
        return sgemm()
    name, _, way = kind.partition("/")
    if way == "usual":
        return usual(WORKLOADS[name], worker, steps)
    return ensemble(WORKLOADS[name], worker, workers, steps, compile=way == "compiled")


if __name__ == "__main__":
    main()
