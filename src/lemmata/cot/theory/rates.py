"""The rates of Theorems 1 to 3 as scalings, without the constants that the paper leaves open.

    symbol       meaning
    alpha        share of examples that start where the query does
    K, M         steps of a task, training patterns
    eps          target error of the training
    tau, rho     how likely the whole correct path is, and the primacy of its steps (see `transitions`)
    tau_o, rho_o the same of input-output demonstrations

Ratios of two values are predictions, values are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from lemmata.lab.errors import InputError

__all__ = [
    "PATTERN_K",
    "PATTERN_M",
    "POSITION_ALPHA",
    "POSITION_K",
    "TEST_LENGTH",
    "TRAIN_LENGTH",
    "Iterations",
    "cot_length",
    "icl_length",
    "iterations",
    "train_length",
]

# Exponents of Theorem 1: of the stage in which attention finds the step's position, in alpha and K; of that in which it
# finds the pattern, in M and K; and of the length of training prompts, in alpha.
POSITION_ALPHA = -2
POSITION_K = 3
PATTERN_M = 1
PATTERN_K = 1
TRAIN_LENGTH = -1
# Exponent of Theorems 2 and 3: the length of test prompts in alpha, tau, rho and in tau_o, rho_o.
TEST_LENGTH = -2


@final
@dataclass(frozen=True)
class Iterations:
    """Training iterations of the two stages: attention finds the step's position, then the query's pattern."""

    position: float
    pattern: float

    @property
    def total(self) -> float:
        """Both stages."""
        return self.position + self.pattern


def iterations(alpha: float, K: int, M: int, eps: float) -> Iterations:
    """Training iterations, alpha^-2 K^3 for the position and M K (1/alpha + 1/eps) for the pattern.

    Raises:
        InputError: a share outside (0, 1], no step, no pattern, or a target outside (0, 1).

    Source: Theorem 1 of arXiv 2410.02167. The full statement has a factor 1/(learning rate), and a logarithm of K/eps.

    >>> iterations(0.5, 3, 20, 0.1)
    Iterations(position=108.0, pattern=720.0)
    """
    _check(alpha=alpha, eps=eps)
    if K < 1 or M < 1:
        raise InputError("K >= 1 and M >= 1", f"K = {K}, M = {M}", "choose them in these ranges")
    return Iterations(alpha**POSITION_ALPHA * K**POSITION_K, M**PATTERN_M * K**PATTERN_K * (1 / alpha + 1 / eps))


def train_length(alpha: float) -> float:
    """Examples in a training prompt, 1/alpha.

    Raises:
        InputError: a share outside (0, 1].

    Source: Theorem 1 of arXiv 2410.02167.

    >>> train_length(0.4)
    2.5
    """
    _check(alpha=alpha)
    return alpha**TRAIN_LENGTH


def cot_length(alpha: float, tau: float, rho: float | None = None) -> float:
    """Examples that chain-of-thought needs, (alpha tau rho)^-2; without rho (alpha tau)^-2.

    Raises:
        InputError: a number outside (0, 1].

    Source: Theorem 2 of arXiv 2410.02167 as the slides of February 2025 state it; without rho as in October 2024.

    >>> cot_length(0.5, 0.5), cot_length(0.5, 0.5, 0.5)
    (16.0, 64.0)
    """
    rho = 1.0 if rho is None else rho
    _check(alpha=alpha, tau=tau, rho=rho)
    return (alpha * tau * rho) ** TEST_LENGTH


def icl_length(alpha: float, tau_o: float, rho_o: float) -> float:
    """Examples that input-output demonstrations need, (alpha tau_o rho_o)^-2; under Condition 1 only.

    Raises:
        InputError: a number outside (0, 1]. A rho_o below 0 is a task without Condition 1, whose error does not vanish.

    Source: Theorem 3 of arXiv 2410.02167.

    >>> icl_length(0.5, 0.5, 0.5)
    64.0
    """
    _check(alpha=alpha, tau_o=tau_o, rho_o=rho_o)
    return (alpha * tau_o * rho_o) ** TEST_LENGTH


def _check(**constants: float) -> None:
    for name, value in constants.items():
        if not 0 < value <= 1:
            raise InputError(f"{name} in (0, 1]", f"{value:g}", f"choose {name} in this range")
