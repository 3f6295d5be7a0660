"""How fast networks of a shape train here, by how many are trained together: measured in a second, and remembered.

A network whose step is mostly many small operations trains faster with more members together, until they leave the
processor's cache; one that is mostly large products does not gain, or loses. Which of the two a shape is, and whether a
compiled step pays, is found by trying: the numbers of members take turns of TURN steps, so that whatever else the
machine does meets all of them, and the median turn counts. What was found is kept in the user's cache (`lab.cache`),
by machine, versions and shape.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import final

import numpy as np
import torch

from lemmata.lab.cache import Arrays, keep, looked_up
from lemmata.lab.ensemble import one_thread, steps_of
from lemmata.lab.machine import processor
from lemmata.lab.trainee import Trainee

__all__ = ["SECONDS", "WIDE", "Pace", "measured", "remembered", "usual"]

# Members together on a GPU, one wide batch, before anything is measured.
WIDE = 1024
# What measuring a shape takes, about, besides its first step: making the data and, compiled, the program.
SECONDS = 1.0
# Steps of a turn: as many as are drawn at once.
TURN = 8
# Turns of each number of members.
LEAST = 3
# A rate that is this close to the best one is as good: turns differ by as much.
CLOSE = 0.95
NAMES = ("together", "rate", "first")


@final
@dataclass(frozen=True)
class Pace:
    """Member-steps a second of one worker with `together` members, ascending; `first` is the first step's seconds."""

    together: tuple[int, ...]
    rate: tuple[float, ...]
    first: float

    def best(self) -> int:
        """The fewest members with which the rate is as good as the best.

        >>> Pace((2, 4, 8), (50.0, 98.0, 100.0), 0.1).best()
        4
        """
        enough = CLOSE * max(self.rate)
        return next(n for n, rate in zip(self.together, self.rate, strict=True) if rate >= enough)


def usual(config: Trainee, device: str) -> int:
    """Members together where nothing was measured."""
    return config.together if device == "cpu" else WIDE


def remembered(config: Trainee, *, device: str = "cpu", compile: bool = False) -> Pace | None:
    """What was measured of this shape before, on this machine."""
    found = looked_up("pace", NAMES, _of(config, device, compile))
    return None if found is None or not _is_sound(found) else _pace(found)


def measured(config: Trainee, *, device: str = "cpu", compile: bool = False) -> Pace:
    """The pace of this shape, measured unless it is remembered: in a second, of which nothing is kept but this.

    Tried are half of the usual number of members, the usual one, its double and its fourfold, up to the most that the
    kind allows, but for those that have no room, and those beyond one of which a single step takes half of the time.

    Raises:
        torch.OutOfMemoryError: a GPU has no room for half of the usual number.

    >>> from lemmata import graph
    >>> all(rate > 0 for rate in measured(graph.OneLayer()).rate)
    True
    """
    if (found := remembered(config, device=device, compile=compile)) is not None:
        return found
    together, rates, first = _measure(config, device, compile)
    arrays = {"together": np.array(together), "rate": np.array(rates), "first": np.array([first])}
    keep("pace", _of(config, device, compile), arrays)
    return _pace(arrays)


@one_thread()
def _measure(config: Trainee, device: str, compile: bool) -> tuple[list[int], list[float], float]:
    middle = usual(config, device)
    runs: dict[int, Iterator[float]] = {}
    first, began = 0.0, 0.0
    most = max(middle, config.most) if device == "cpu" else 4 * middle
    for size in sorted({min(size, most) for size in (max(1, middle // 2), middle, 2 * middle, 4 * middle)}):
        try:
            runs[size] = steps_of([config] * size, range(size), device=device, compile=compile)
            began = time.perf_counter()
            next(runs[size])
            first = max(first, time.perf_counter() - began)
            _, seconds = _turn(runs[size])
        except torch.OutOfMemoryError:
            del runs[size]
            if not runs:
                raise
            break
        if seconds > SECONDS / 2 and size >= middle:
            break
    rates: dict[int, list[float]] = {size: [] for size in runs}
    began = time.perf_counter()
    while len(rates[min(runs)]) < LEAST or time.perf_counter() - began < SECONDS:
        for size, run in runs.items():
            steps, seconds = _turn(run)
            rates[size].append(size * steps / seconds)
    return list(runs), [median(each) for each in rates.values()], first


def _turn(run: Iterator[float]) -> tuple[int, float]:
    """How many steps, and their seconds: TURN steps, or fewer where they take long."""
    began, steps, seconds = time.perf_counter(), 0, 0.0
    while steps < TURN and seconds < SECONDS / 8:
        next(run)
        steps, seconds = steps + 1, time.perf_counter() - began
    return steps, seconds


def _of(config: Trainee, device: str, compile: bool) -> dict[str, str | int]:
    return {
        "processor": processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "lemmata": importlib.metadata.version("lemmata"),
        "torch": torch.__version__,
        "kind": config.kind,
        "version": config.version,
        "shape": json.dumps(config.shape_key()),
        "compile": compile,
    }


def _is_sound(arrays: Arrays) -> bool:
    """Whether a file says what this room would have written."""
    together, rate, first = (arrays[name] for name in NAMES)
    return (
        together.ndim == rate.ndim == first.ndim == 1
        and len(together) == len(rate) > 0
        and len(first) == 1
        and together.dtype.kind == "i"
        and all(bool((part > 0).all() and np.isfinite(part).all()) for part in (together, rate, first))
    )


def _pace(arrays: Arrays) -> Pace:
    together, rate, (first,) = (arrays[name].tolist() for name in NAMES)
    return Pace(tuple(together), tuple(rate), first)
