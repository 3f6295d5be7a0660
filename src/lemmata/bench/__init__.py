"""How fast Lemmata trains on this machine, against the usual script (`lemmata bench`).

Both train the one-layer network of the ICL paper on every core at once, each in one single-threaded process a core.
They take turns in rounds whose order alternates, and so does a bare matrix multiplication, so that whatever else the
machine does meets all of them; the ratio is taken within each round. What starting, compiling, warming up and, in the
usual script, drawing cost is left out; Lemmata draws fresh prompts for every step and is charged for it.

    usual_script.py   what is measured against, on its own
    worker.py         the processes that do the work
    team.py           one worker a core, told when it is their turn
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import joblib

from lemmata.bench.team import Team, Turn
from lemmata.lab.errors import InputError

if TYPE_CHECKING:  # the training itself is loaded by the workers only
    from lemmata.lab.sweep import Progress

__all__ = ["OPERATIONS", "run"]

# Floating-point operations that a step of a member takes at the least: the hidden layer and its two backward products
# 14.9 million, W_O W_V and its own 4.5 million, attention 0.8 million. Drawing and averaging count as none.
OPERATIONS = 20.2e6


def run(
    rounds: int = 5,
    *,
    steps: int = 400,
    compile: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the standard workload, eagerly and if asked also compiled, in rounds of a few seconds each.

    In a turn every worker trains for `steps` steps: one model in the usual script, one chunk of members in Lemmata.
    `workers` is the number of processes of each side, one a core if not given.

    Returns `{"workloads": {name: measured}, "machine": {...}}`. What is measured: `rate` and `naive_rate` in
    member-steps a second over all cores and `sgemm_gflops`, medians over the rounds; `ratio`, the median of the rounds'
    own ratios, with the least and the largest of them as `ratio_lo` and `ratio_hi`; `share_of_peak`, the necessary
    operations among those that the matrix multiplication reaches; `rss_mb`, the most memory that a worker ever held.

    Raises:
        InputError: fewer than one round, step or worker.
        EngineError: a worker ended by itself.
    """
    workers = joblib.cpu_count() if workers is None else workers
    for name, number in {"rounds": rounds, "steps": steps, "workers": workers}.items():
        if number < 1:
            raise InputError(f"a number of {name} of at least 1", str(number), f"pass {name} = 1 or more")

    ours = ["one-layer", "one-layer-compiled"] if compile else ["one-layer"]
    kinds = ["usual", *ours, "sgemm"]
    turns: dict[str, list[Turn]] = {kind: [] for kind in kinds}
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
        "workloads": {name: _measured(turns[name], turns["usual"], turns["sgemm"]) for name in ours},
        "machine": {"cpu": _cpu(), "workers": workers, "torch": importlib.metadata.version("torch")},
    }


def _measured(ours: list[Turn], usual: list[Turn], sgemm: list[Turn]) -> dict[str, float]:
    rate, peak = median(turn.rate for turn in ours), median(turn.rate for turn in sgemm)
    ratios = [a.rate / b.rate for a, b in zip(ours, usual, strict=True)]
    return {
        "rate": rate,
        "naive_rate": median(turn.rate for turn in usual),
        "ratio": median(ratios),
        "ratio_lo": min(ratios),
        "ratio_hi": max(ratios),
        "share_of_peak": rate * OPERATIONS / (peak * 1e9),
        "sgemm_gflops": peak,
        "rss_mb": max(turn.rss_mb for turn in ours),
    }


def _cpu() -> str:
    """What the processor calls itself, where Linux says so; else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
