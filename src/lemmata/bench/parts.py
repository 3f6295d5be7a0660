"""Where the time of a step goes, at the beginning of training, when no sample is spared.

    python -m lemmata.bench.parts docs/performance.md

rewrites the table of that page, on one core and in some minutes. Parts take turns in rounds, and the median is told,
so that whatever else the machine does meets all of them alike.

    draw      the prompts, samples or nodes of a step
    forward   the loss, without what the backward pass will need
    backward  the gradients, and what the forward pass keeps for them
    update    the new weights, and checks
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from lemmata.bench.worker import WORKLOADS, Workload
from lemmata.lab.ensemble import fit
from lemmata.lab.page import check_marks, rewrite

__all__ = ["main", "parts"]

STEPS, ROUNDS = 16, 9
PARTS = ("draw", "forward", "backward", "update")


def parts(workload: Workload, *, steps: int = STEPS, rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds of a member-step that each part takes, with as many members together as a worker of Lemmata trains.

    >>> found = parts(WORKLOADS["graph.one-layer"], steps=8, rounds=1)
    >>> sorted(found)
    ['backward', 'draw', 'forward', 'update']
    """
    config, E = workload.config, workload.config.together
    configs, seeds = [config] * E, list(range(E))
    trained = [name for name in config.job(configs[:1], [0], "cpu").params() if name != "a"]

    def step(job: Any, params: Mapping[str, torch.Tensor], draws: Any) -> None:
        leaves = {name: p.detach().requires_grad_(name in trained) for name, p in params.items()}
        torch.autograd.grad(job.loss(leaves, draws).sum(), [leaves[name] for name in trained])

    def turn() -> tuple[float, float, float, float]:
        job = config.job(configs, seeds, "cpu")
        params = job.params()
        draws = []
        drawing = _seconds(lambda: draws.extend(job.draws(i) for i in range(steps)))
        with torch.no_grad():
            forward = _seconds(lambda: [job.loss(params, each) for each in draws])
        both = _seconds(lambda: [step(job, params, each) for each in draws])
        whole = _seconds(lambda: fit([config.replace({"steps": steps})] * E, seeds))
        begun = _seconds(lambda: fit([config.replace({"steps": 0})] * E, seeds))
        return drawing, forward, both - forward, max(whole - begun - drawing - both, 0.0)

    turn()
    turns = [turn() for _ in range(rounds)]
    return {name: median(each) * 1e6 / (steps * E) for name, each in zip(PARTS, zip(*turns, strict=True), strict=True)}


def _seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def table() -> str:
    """The table, as Markdown."""
    lines = ["| network | draw | forward | backward | update | largest |", "|---|---|---|---|---|---|"]
    for name, workload in WORKLOADS.items():
        found = parts(workload)
        total, largest = sum(found.values()), max(found, key=lambda part: found[part])
        cells = " | ".join(f"{found[part]:.1f} ({found[part] / total:.0%})" for part in PARTS)
        lines.append(f"| {name} | {cells} | {largest} |")
    return "\n".join(lines)


def main() -> None:
    """Rewrite the table between the marks of a page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    check_marks(page, ["parts"])
    torch.set_num_threads(1)
    rewrite(page, {"parts": table()})


if __name__ == "__main__":
    sys.exit(main())
