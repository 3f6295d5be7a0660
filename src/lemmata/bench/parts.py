"""Where the time of a step goes, and what a step costs by how many members are trained together.

    python -m lemmata.bench.parts docs/performance.md

rewrites the tables of that page, on one core and in some minutes. Parts take turns in rounds, and the median is told,
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

__all__ = ["costs", "main", "parts"]

STEPS, ROUNDS = 48, 7
MEMBERS = (1, 8, 64, 256, 1024)
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


def costs(workload: Workload, members: int, *, rounds: int = 3) -> float:
    """Member-steps a second on one core, with so many members in chunks as a worker of Lemmata trains them.

    >>> costs(WORKLOADS["graph.one-layer"], 1, rounds=1) > 0
    True
    """
    config = workload.config.replace({"steps": STEPS})
    size = min(config.together, members)

    def turn() -> float:
        chunks = [range(first, min(first + size, members)) for first in range(0, members, size)]
        return members * STEPS / _seconds(lambda: [config.train(chunk) for chunk in chunks])

    turn()
    return median(turn() for _ in range(rounds))


def _seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def tables() -> str:
    """Both tables, as Markdown."""
    lines = ["| network | draw | forward | backward | update | largest |", "|---|---|---|---|---|---|"]
    for name, workload in WORKLOADS.items():
        found = parts(workload)
        total, largest = sum(found.values()), max(found, key=lambda part: found[part])
        cells = " | ".join(f"{found[part]:.1f} ({found[part] / total:.0%})" for part in PARTS)
        lines.append(f"| {name} | {cells} | {largest} |")
    lines += ["", "| network | " + " | ".join(map(str, MEMBERS)) + " |", "|---|" + "---|" * len(MEMBERS)]
    for name, workload in WORKLOADS.items():
        lines.append(f"| {name} | " + " | ".join(f"{costs(workload, n):,.0f}" for n in MEMBERS) + " |")
    return "\n".join(lines)


def main() -> None:
    """Rewrite the tables between the marks of a page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    text, begin, end = page.read_text(), "<!-- parts -->\n", "<!-- end of parts -->"
    if begin not in text or end not in text:
        raise SystemExit(f"expected the marks {begin.strip()} and {end} in the page, got {page} without")
    torch.set_num_threads(1)
    before, after = text.partition(begin)[0], text.partition(end)[2]
    page.write_text(f"{before}{begin}\n{tables()}\n\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
