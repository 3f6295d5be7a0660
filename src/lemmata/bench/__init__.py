"""How fast Lemmata trains on this machine, against usual scripts (`lemmata bench`).

Each workload is a network of a paper, trained by Lemmata and by the usual script written for that paper, on every core
at once, each in one single-threaded process a core. They take turns in rounds whose order alternates, and so does a
bare matrix multiplication, so that whatever else the machine does meets all of them; the ratio is taken within each
round. What starting, compiling, warming up and, in the usual scripts, drawing cost is left out; Lemmata is charged for
what it draws: fresh prompts for every step, or where a paper has a fixed training set that set and the batches.

    usual_PAPER.py  what is measured against: a script a paper, on its own but for
    usual.py        the loops that are the same in all of them
    worker.py       the workloads, and the processes that do the work
    team.py         one worker a core, told when it is their turn
    baseline.py     what was measured before, to compare with
    parts.py        where the time of a step goes
    cost.py         what a step costs by members, length and width
    planning.py     what it takes to plan many cells
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING, Any

import joblib

from lemmata.bench.team import Team, Turn
from lemmata.lab.errors import InputError, UnknownNameError, nearest
from lemmata.lab.machine import processor

if TYPE_CHECKING:
    from lemmata.lab.sweep import Progress

__all__ = ["machine", "run", "workloads"]


def run(
    rounds: int = 5,
    *,
    papers: Sequence[str] = (),
    steps: int = 400,
    compile: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the workloads of these papers, of all without one, in rounds of a few seconds each.

    They are trained eagerly and if asked also compiled. In a turn every worker trains for `steps` steps: one model in a
    usual script, one chunk of members in Lemmata. `workers` is the number of processes of each side, one a core if not
    given.

    Returns `{"workloads": {name: measured}, "machine": {...}}`, with the name of the network, and that and `-compiled`
    for its compiled step. What is measured: `rate` and `naive_rate` in member-steps a second over all cores and
    `sgemm_gflops`, medians over the rounds; `ratio`, the median of the rounds' own ratios, with the least and the
    largest of them as `ratio_lo` and `ratio_hi`; `share_of_peak`, the necessary operations among those that the matrix
    multiplication reaches; `rss_mb`, the most memory that a worker ever held.

    Raises:
        InputError: fewer than one round, step or worker.
        UnknownNameError: no workload is of this paper; the message names the nearest that one is of.
        EngineError: a worker ended by itself.
    """
    workers = _workers(workers)
    for name, number in {"rounds": rounds, "steps": steps, "workers": workers}.items():
        if number < 1:
            raise InputError(f"a number of {name} of at least 1", str(number), f"pass {name} = 1 or more")
    from lemmata.bench.worker import WORKLOADS  # and with it torch
    from lemmata.lab.pace import measured

    names = workloads(papers)
    ways = {"eager": "", "compiled": "-compiled"} if compile else {"eager": ""}
    kinds = [*(f"{name}/{way}" for name in names for way in ("usual", *ways)), "sgemm"]
    turns: dict[str, list[Turn]] = {kind: [] for kind in kinds}
    for name in names:  # before any other process works; the workers find it remembered
        for way in ways:
            measured(WORKLOADS[name].config, compile=way == "compiled")
    with ExitStack() as stack:
        teams = {kind: stack.enter_context(Team(kind, workers, steps)) for kind in kinds}
        for team in teams.values():
            team.wait_until_ready()
        began = time.perf_counter()
        for done in range(rounds):
            for kind in kinds if done % 2 == 0 else reversed(kinds):
                turns[kind].append(teams[kind].turn())
            if progress is not None:
                left = (time.perf_counter() - began) * (rounds - done - 1) / (done + 1)
                progress(done + 1, rounds, left)
    return {
        "workloads": {
            name + ending: _measured(
                turns[f"{name}/{way}"], turns[f"{name}/usual"], turns["sgemm"], WORKLOADS[name].operations
            )
            for name in names
            for way, ending in ways.items()
        },
        "machine": machine(workers),
    }


def machine(workers: int | None = None) -> dict[str, Any]:
    """What is measured on: the processor, the processes of each side, torch."""
    return {"cpu": processor(), "workers": _workers(workers), "torch": importlib.metadata.version("torch")}


def workloads(papers: Sequence[str] = ()) -> list[str]:
    """The names of the workloads of these papers, of all papers without one.

    Raises:
        UnknownNameError: no workload is of this paper.
    """
    from lemmata.bench.worker import WORKLOADS

    paper_of = {name: name.partition(".")[0] for name in WORKLOADS}
    for paper in papers:
        if paper not in paper_of.values():
            raise UnknownNameError("the id of a paper with a workload", paper, nearest(paper, set(paper_of.values())))
    return [name for name, paper in paper_of.items() if not papers or paper in papers]


def _workers(asked: int | None) -> int:
    return joblib.cpu_count() if asked is None else asked


def _measured(ours: list[Turn], usual: list[Turn], sgemm: list[Turn], operations: float) -> dict[str, float]:
    rate, peak = median(turn.rate for turn in ours), median(turn.rate for turn in sgemm)
    ratios = [a.rate / b.rate for a, b in zip(ours, usual, strict=True)]
    return {
        "rate": rate,
        "naive_rate": median(turn.rate for turn in usual),
        "ratio": median(ratios),
        "ratio_lo": min(ratios),
        "ratio_hi": max(ratios),
        "share_of_peak": rate * operations / (peak * 1e9),
        "sgemm_gflops": peak,
        "rss_mb": max(turn.rss_mb for turn in ours),
    }
