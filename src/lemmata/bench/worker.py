"""A worker of the benchmark: a single-threaded process that works in turns.

    python -m lemmata.bench.worker KIND WORKERS STEPS WORKER

It warms up and prints an empty JSON object. For every line that it then reads, it works one turn and prints how much it
did a second and the most memory it ever held. It ends with its input.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lemmata.bench import usual_script
from lemmata.icl.network import OneLayer

__all__ = ["WORKLOAD", "main", "one_layer", "rss_mb", "sgemm", "usual"]

# The same as the usual script's, whose columns are as wide as the hidden layer: d_X + d_Y = 60.
WORKLOAD = OneLayer(
    M1=usual_script.M1,
    M2=usual_script.M2,
    alpha=usual_script.ALPHA,
    beta=usual_script.BETA,
    kappa=usual_script.KAPPA,
    l_tr=usual_script.LENGTH,
    B=usual_script.BATCH,
    d_Y=usual_script.D_Y,
    m=usual_script.NEURONS,
    delta=usual_script.DELTA,
    xi=usual_script.XI,
    lr=usual_script.LEARNING_RATE,
)
MEMBERS = 64
WARM_UP = 24
SGEMM_SIZE, SGEMM_TIMES = 1024, 60

# Works, and returns how much it did.
Work = Callable[[], float]


def one_layer(worker: int, workers: int, steps: int, *, compile: bool) -> Work:
    """Lemmata: chunk after chunk of the workload's members, `workers` of them at a time; in member-steps."""
    size = OneLayer.together
    chunks = itertools.count(worker, workers)

    def train(steps: int) -> float:
        first = size * (next(chunks) % (MEMBERS // size))
        WORKLOAD.replace({"steps": steps}).train(range(first, first + size), compile=compile)
        return size * steps

    train(WARM_UP)
    return lambda: train(steps)


def usual(worker: int, steps: int) -> Work:
    """The usual script: one model, in member-steps."""
    losses = usual_script.training(seed=worker)

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
    ready = {
        "usual": lambda: usual(worker, steps),
        "one-layer": lambda: one_layer(worker, workers, steps, compile=False),
        "one-layer-compiled": lambda: one_layer(worker, workers, steps, compile=True),
        "sgemm": sgemm,
    }
    work = ready[kind]()
    print("{}", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        done = work()
        rate = done / (time.perf_counter() - start)
        print(json.dumps({"rate": rate, "rss_mb": rss_mb()}), flush=True)


if __name__ == "__main__":
    main()
