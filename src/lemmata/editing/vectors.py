"""Task vectors: fine-tunings of one set of weights, kept as what they add to it, and sums of them.

    symbol      meaning                                                            parameter
    Psi^(0)     the weights that every fine-tuning starts from                     "base.NAME", (E, ...)
    Psi*_t      the weights after fine-tuning on task t
    Delta_t     the task vector Psi*_t - Psi^(0)                                   "delta.NAME", (E, T, ...)
    lambda_lt   coefficient of task vector t in edit l
    Psi_l       the edited weights Psi^(0) + sum_t lambda_lt Delta_t               (E, L, ...)

A member is one Psi^(0) and its fine-tunings on T tasks, trained side by side. What is trained is Delta itself, from 0
on: gradient descent on Psi^(0) + Delta_t moves Delta_t exactly as it would move Psi. A pre-training moves the base and
leaves Delta alone; a fine-tuning does the opposite.

Shapes: E members, T tasks, L edits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lemmata.lab.ensemble import Params

__all__ = ["base", "deltas", "edited", "fine_tuned", "frozen", "start"]

BASE, DELTA = "base.", "delta."


def start(weights: Params, tasks: int) -> Params:
    """First parameters of one member, without the member axis: the base, and task vectors of zero.

    >>> {name: tuple(p.shape) for name, p in start({"V": torch.ones(4, 3)}, 2).items()}
    {'base.V': (4, 3), 'delta.V': (2, 4, 3)}
    """
    zero = {DELTA + name: torch.zeros(tasks, *p.shape, dtype=p.dtype) for name, p in weights.items()}
    return {BASE + name: p for name, p in weights.items()} | zero


def frozen(params: Sequence[str], part: str) -> dict[str, float]:
    """Rates of a training phase in which one part, "base" or "delta", stays as it is.

    >>> frozen(["base.V", "delta.V"], "base")
    {'base.V': 0.0}
    """
    return {name: 0.0 for name in params if name.startswith(part + ".")}


def base(params: Params) -> Params:
    """The weights Psi^(0): NAME -> (E, ...)."""
    return {name.removeprefix(BASE): p for name, p in params.items() if name.startswith(BASE)}


def deltas(params: Params) -> Params:
    """The task vectors Delta_t: NAME -> (E, T, ...)."""
    return {name.removeprefix(DELTA): p for name, p in params.items() if name.startswith(DELTA)}


def fine_tuned(params: Params) -> Params:
    """The weights after each fine-tuning, Psi*_t: NAME -> (E, T, ...)."""
    delta = deltas(params)
    return {name: p.unsqueeze(1) + delta[name] for name, p in base(params).items()}


def edited(params: Params, coefficient_LT: Tensor) -> Params:
    """The weights of L edits, Psi^(0) + sum_t lambda_lt Delta_t: NAME -> (E, L, ...).

    >>> params = start({"V": torch.ones(3)}, 2)
    >>> params["delta.V"] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> members = {name: p.unsqueeze(0) for name, p in params.items()}
    >>> edited(members, torch.tensor([[1.0, -0.5]]))["V"].tolist()
    [[[2.0, 0.5, 1.0]]]
    """
    delta = deltas(params)
    return {
        name: p.unsqueeze(1) + torch.einsum("lt,et...->el...", coefficient_LT.to(p), delta[name])
        for name, p in base(params).items()
    }
