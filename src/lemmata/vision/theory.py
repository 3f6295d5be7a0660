"""What the paper on shallow vision transformers predicts, as plain functions (Li et al., ICLR 2023, arXiv 2302.06015).

    symbol    meaning
    alpha_*   share of label-relevant tokens
    alpha_#   share of confusion tokens
    N         training samples for zero generalisation error
    T         steps of gradient descent until then, at learning rate eta
    c         largest alpha_#/alpha_* that Theorem 1 allows, below 1/(2e)

Theorems are sufficient conditions up to constants, which are arguments here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lemmata.lab.errors import InputError

__all__ = ["CONFUSION", "MASS", "SAMPLES", "SAMPLES_UNIFORM", "STEPS", "allowed", "ceiling", "mass", "samples", "steps"]

# Exponents in alpha_*: samples with attention that is trained and with uniform attention, and steps.
SAMPLES, SAMPLES_UNIFORM, STEPS = -2.0, -4.0, -1.0
# Exponent in time of the attention on tokens that are not relevant.
MASS = -1.0
# The bound that c has to stay below.
CONFUSION = 1 / (2 * math.e)


def _check_share(alpha: NDArray[np.float64], name: str) -> None:
    if not ((alpha > 0) & (alpha <= 1)).all():
        raise InputError(f"{name} in (0, 1]", f"{alpha}", "pass a share of the tokens")


def samples(alpha: ArrayLike, *, attention: bool = True, constant: float = 1.0) -> NDArray[np.float64]:
    """Training samples N that are enough, up to a constant: alpha_*^-2, or alpha_*^-4 with uniform attention.

    Raises:
        InputError: a share outside (0, 1].

    Source: Theorem 1 and Proposition 1, arXiv 2302.06015.

    >>> samples(0.5).item(), samples(0.5, attention=False).item()
    (4.0, 16.0)
    """
    alphas = np.asarray(alpha, float)
    _check_share(alphas, "alpha_*")
    return constant * alphas ** (SAMPLES if attention else SAMPLES_UNIFORM)


def steps(alpha: ArrayLike, eta: float, *, constant: float = 1.0) -> NDArray[np.float64]:
    """Steps T until the generalisation error is zero, up to a constant: 1/(eta alpha_*).

    Raises:
        InputError: a share outside (0, 1], or a learning rate that is not above 0.

    Source: Theorem 1, arXiv 2302.06015.

    >>> steps(0.5, 0.1).item()
    20.0
    """
    alphas = np.asarray(alpha, float)
    _check_share(alphas, "alpha_*")
    if not 0 < eta < math.inf:
        raise InputError("a learning rate above 0", f"{eta:g}", "pass the network's own")
    return constant / (eta * alphas)


def allowed(alpha: ArrayLike, confusion: ArrayLike, *, c: float = CONFUSION) -> NDArray[np.bool_]:
    """Whether there is little enough confusion for Theorem 1: alpha_# <= c alpha_*.

    Raises:
        InputError: an alpha_* outside (0, 1], an alpha_# below 0, or a c outside (0, 1/(2e)].

    Source: Theorem 1, arXiv 2302.06015.

    >>> allowed(0.5, [0.05, 0.1]).tolist()
    [True, False]
    """
    alphas, confusions = np.asarray(alpha, float), np.asarray(confusion, float)
    _check_share(alphas, "alpha_*")
    if not (confusions >= 0).all():
        raise InputError("alpha_# of at least 0", f"{confusions}", "pass a share of the tokens")
    if not 0 < c <= CONFUSION:
        raise InputError(f"c in (0, {CONFUSION:.3f}]", f"{c:g}", "leave it at 1/(2e)")
    return confusions <= c * alphas


def mass(t: ArrayLike, *, constant: float = 1.0) -> NDArray[np.float64]:
    """The attention on label-relevant tokens after t steps: at least 1 - C/t, up to what is left in the end.

    Raises:
        InputError: a t that is not above 0.

    Source: Proposition 2, arXiv 2302.06015, which leaves C and the end 1 - eta^C open.

    >>> mass([10, 100]).tolist()
    [0.9, 0.99]
    """
    times = np.asarray(t, float)
    if not (times > 0).all():
        raise InputError("steps t above 0", f"{times}", "count from the first step")
    return np.maximum(1 - constant * times**MASS, 0.0)


def ceiling(ratio: ArrayLike) -> NDArray[np.float64]:
    """The attention on label-relevant tokens when all of it is on discriminative ones: 1/(1 + alpha_#/alpha_*).

    Which of two discriminative patterns is the label's no map that is the same for all samples can know, so that
    confusion tokens draw as much attention each as relevant ones.

    Raises:
        InputError: a ratio below 0.

    Source: made here; Proposition 2 of arXiv 2302.06015 says 1.

    >>> ceiling(0.25).item()
    0.8
    """
    ratios = np.asarray(ratio, float)
    if not (ratios >= 0).all():
        raise InputError("alpha_#/alpha_* of at least 0", f"{ratios}", "pass the data's own")
    return 1 / (1 + ratios)
