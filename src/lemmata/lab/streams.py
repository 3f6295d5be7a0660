"""Randomness that is a function of named axes, so that nothing else can change it.

A stream is NumPy's SFC64 generator seeded by a hash of what the numbers depend on: the constants of the data, the
seed, the block of steps. Which members train beside it, in which order or on how many workers, is not among the axes.
SFC64 draws four times as fast as Philox, which would make drawing a fifth of a training step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, final

import numpy as np

__all__ = ["BLOCK", "GENERATOR", "Blocks", "stream"]

# Part of every cell's identity: another generator gives other numbers.
GENERATOR = "numpy-sfc64"

# Steps drawn at once for a member: long enough that NumPy works on long arrays, short enough that they stay in cache.
BLOCK = 8

Axis = str | int | float | Mapping[str, bool | int | float | str]
T = TypeVar("T")


def stream(*axes: Axis) -> np.random.Generator:
    """The generator of these axes: the same axes, the same numbers, on every machine.

    >>> bool(stream("prompts", {"alpha": 0.8}, 3).random() == stream("prompts", {"alpha": 0.8}, 3).random())
    True
    >>> bool(stream("prompts", {"alpha": 0.8}, 3).random() == stream("prompts", {"alpha": 0.8}, 4).random())
    False
    """
    text = json.dumps(axes, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest, "little")))


@final
class Blocks(Generic[T]):
    """Step-wise access to draws that are made a block of steps at a time.

    `draw(b)` gives the draws of steps b * BLOCK ... (b + 1) * BLOCK - 1 and must be a pure function of b. It may use
    the same memory again: a step's draws are valid until the next step is asked for.

    >>> blocks = Blocks(lambda b: [f"step {s}" for s in range(b * BLOCK, (b + 1) * BLOCK)])
    >>> blocks(15)
    'step 15'
    """

    def __init__(self, draw: Callable[[int], Sequence[T]]) -> None:
        """Nothing is drawn until it is asked for."""
        self._draw = draw
        self._block: int | None = None
        self._steps: Sequence[T] = ()

    def __call__(self, step: int) -> T:
        """The draws of one step."""
        block, offset = divmod(step, BLOCK)
        if block != self._block:
            self._block, self._steps = block, self._draw(block)
        return self._steps[offset]
