"""How many examples a prompt needs until the idealised mechanism's error is small: the inverse of `oracle`.

The number is where the error's curve crosses the target eps, interpolated in log error between the two whole lengths
around it, as if the curve fell from there on. Longer prompts than `LONGEST` are not tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from lemmata.cot.theory.matrices import Split
from lemmata.cot.theory.mechanism import TRIALS, chain, chain_of, outcome_rows, plain
from lemmata.cot.theory.oracle import icl_error, icl_oracle, right_in_the_end
from lemmata.cot.theory.prompts import Exact, Prompt, check_prompt, wilson_mean
from lemmata.cot.theory.steps import labelled, transitions
from lemmata.lab.errors import DataError, InputError
from lemmata.lab.stats import Estimate

__all__ = ["LONGEST", "cot_examples", "cot_examples_of", "icl_examples", "icl_examples_of", "plain_examples"]

LONGEST = 100_000
# Smaller targets are close to what the exact errors are accurate to.
SMALLEST = 1e-10
# Trials with an error that a target has to leave, or chance decides where the curve crosses.
FEWEST_ERRORS = 10
# The error with ever more examples where every vote is won in the end.
NOTHING = Estimate(0.0, 0.0, 0.0, 0, (), "exact")


def cot_examples(
    eps: float,
    alpha: float,
    tau: float,
    rho: float,
    *,
    K: int = 3,
    states: int = 10,
    split: Split = "one",
    trials: int = TRIALS,
    seed: int = 0,
) -> Estimate:
    """Examples until `cot_oracle` is at eps: exact for "one", and with a 95 % interval over trials for "even".

    The ends of the interval are where those of the error's interval cross eps, in the same trials made longer. The
    upper one is inf where that takes more than 100,000.

    Raises:
        InputError: eps outside (0, 1 - 1/states) or too small for the trials, a share outside (0, 1], or constants that
            no step matrices have (see `check_steps`).
        DataError: more than 100,000 examples.

    Source: the exact counterpart of Theorem 2's (alpha tau rho)^-2, arXiv 2410.02167.

    >>> round(cot_examples(0.01, 0.8, 0.5, 0.8).value, 2)
    27.62
    """
    _check_target(eps, states)
    check_prompt(0, alpha)
    return _needed(chain(alpha, tau, rho, K=K, states=states, split=split, trials=trials, seed=seed), eps)


def cot_examples_of(
    eps: float, alpha: float, matrices: Sequence[ArrayLike], *, trials: int = TRIALS, seed: int = 0
) -> Estimate:
    """Examples until `cot_error` is at eps, for step matrices A_1 .. A_K, each (S, S).

    It needs no Condition 1: every step's correct state is the most voted one in the end.

    Raises:
        InputError: eps outside (0, 1 - 1/S) or too small for the trials, a share outside (0, 1], or no step matrices
            (see `transitions`).
        DataError: more than 100,000 examples.

    Source: as `cot_examples`.

    >>> from lemmata.cot.theory import step_matrices
    >>> round(cot_examples_of(0.01, 0.8, step_matrices(0.5, 0.8, 3, 10, "one")).value, 2)
    22.51
    """
    _check_target(eps, len(transitions(matrices).product))
    check_prompt(0, alpha)
    return _needed(chain_of(alpha, matrices, trials=trials, seed=seed), eps)


def icl_examples(eps: float, alpha: float, tau_o: float, rho_o: float, *, states: int = 10) -> float:
    """Examples until `icl_oracle` is at eps.

    Raises:
        InputError: eps outside (0, 1 - 1/states), a share outside (0, 1], or constants that no matrix has (see
            `wrong_pieces`).
        DataError: more than 100,000 examples.

    Source: the exact counterpart of Theorem 3's (alpha tau_o rho_o)^-2, arXiv 2410.02167.

    >>> round(icl_examples(0.01, 0.8, 0.5, 0.6), 2)
    58.85
    """
    _check_target(eps, states)
    icl_oracle(0, alpha, tau_o, rho_o, states=states)  # refuses the rest
    return _needed(Exact(lambda l: icl_oracle(l, alpha, tau_o, rho_o, states=states)), eps).value


def icl_examples_of(eps: float, alpha: float, product: ArrayLike, labels: ArrayLike) -> float:
    """Examples until `icl_error` is at eps, for B = `product`, (S, S), and true labels, (S,); inf if they never do.

    With ever more examples the vote elects the largest entry of B's row. Where Condition 1 fails, the error tends to
    the share of the starts with another true label, which may be above eps.

    Raises:
        InputError: eps outside (0, 1 - 1/S), a share outside (0, 1], or no such B or labels (see `icl_error`).
        DataError: more than 100,000 examples.

    Source: as `icl_examples`. The worked example of `transitions` errs on half of its starts:

    >>> B = [[0.56, 0.44], [0.64, 0.36]]
    >>> icl_examples_of(0.1, 0.8, B, labels=[1, 0]), round(icl_examples_of(0.1, 0.8, B, labels=[0, 0]), 1)
    (inf, 70.2)
    """
    B_SS, label_S = labelled(product, labels)
    _check_target(eps, len(B_SS))
    check_prompt(0, alpha)
    if 1 - right_in_the_end(B_SS, label_S).mean() >= eps:
        return math.inf
    return _needed(Exact(lambda l: icl_error(l, alpha, B_SS, label_S)), eps).value


def plain_examples(
    eps: float,
    alpha: float,
    tau: float,
    rho: float,
    *,
    K: int = 3,
    states: int = 10,
    split: Split = "one",
    trials: int = TRIALS,
    seed: int = 0,
) -> Estimate:
    """Examples until `plain_oracle` is at eps: what the tasks of `cot_examples` need without intermediate steps.

    Exact for "one", and with a 95 % interval over trials for "even", as in `cot_examples`. In a trial whose task fails
    Condition 1 the vote is lost in the end. The error tends to the share of these trials, and the number, or the upper
    end of its interval, is inf where that share, or the upper end of its interval, is not below eps.

    Raises:
        InputError: eps outside (0, 1 - 1/states) or too small for the trials, a share outside (0, 1], or constants that
            no step matrices have (see `check_steps`).
        DataError: more than 100,000 examples.

    Source: as `icl_examples`.

    >>> round(plain_examples(0.01, 0.8, 0.5, 0.8).value, 2)
    30.61
    >>> e = plain_examples(0.01, 0.8, 0.5, 0.8, split="even")
    >>> 34 < e.lo < e.value < e.hi < 44
    True
    """
    _check_target(eps, states)
    check_prompt(0, alpha)
    row_TS = outcome_rows(tau, rho, K=K, states=states, split=split, trials=trials, seed=seed)
    wrong = float(1 - right_in_the_end(row_TS, np.zeros(len(row_TS), dtype=int)).mean())
    limit = wilson_mean(wrong, len(row_TS), "trials") if len(row_TS) > 1 else NOTHING
    return _needed(plain(alpha, row_TS, seed=seed), eps, limit)


def _needed(prompt: Prompt, eps: float, limit: Estimate = NOTHING) -> Estimate:
    """Where the error of the prompt, and the ends of its interval, cross eps when it is made longer.

    limit: what the error tends to. An end that tends to no less than eps is inf, as is an upper one beyond LONGEST.
    """
    trials, method = prompt.error.n, prompt.error.method
    if trials and eps * trials < FEWEST_ERRORS:
        fix = f"pass trials={math.ceil(FEWEST_ERRORS / eps)} or more, or a larger target"
        raise InputError(f"a target that {trials} trials can resolve", f"{eps:g}", fix)
    found = []
    # The lower end crosses first, the upper one last: each search goes on from where the last one has come to.
    for end in ("lo", "value", "hi"):
        number = math.inf
        if getattr(limit, end) < eps:
            prompt, number = _crossing(prompt, eps, lambda p, end=end: getattr(p.error, end))
            if number == math.inf and end != "hi":
                if limit.value < eps:
                    raise _too_long(eps)
                number = float(LONGEST)  # the number itself is inf, and its lower end greater than this
        found.append(number)
    lo, value, hi = found
    return Estimate(value, lo, hi, trials, (), method)


def _crossing(above: Prompt, eps: float, error: Callable[[Prompt], float]) -> tuple[Prompt, float]:
    """The longest prompt found with an error above eps, and the number of examples at which it is eps.

    The number is inf where it is more than LONGEST. `above` starts above eps. It grows in steps that double until the
    next one, `below`, is not above eps; these are halved again until `below` has one example more.
    """
    step, below = 1, above.longer(1)
    while error(below) > eps:
        if below.l > LONGEST:
            return above, math.inf
        above, step = below, 2 * step
        below = above.longer(step)
    while step > 1:
        step //= 2
        middle = above.longer(step)
        if error(middle) > eps:
            above = middle
        else:
            below = middle
    if below.l > LONGEST:
        return above, math.inf
    if error(below) == 0:  # no logarithm to interpolate in
        return above, float(below.l)
    fall = math.log(error(above)) - math.log(error(below))
    return above, above.l + (math.log(error(above)) - math.log(eps)) / fall


def _check_target(eps: float, states: int) -> None:
    """Refuse what a prompt without examples reaches, and what none does."""
    if not eps > 0:
        fix = "no number of examples makes the error 0: choose a small target, as 0.01"
        raise InputError("a target above 0", f"{eps:g}", fix)
    if eps >= 1 - 1 / states:
        expected = f"a target below 1 - 1/states = {1 - 1 / states:.3g}, the error without examples"
        raise InputError(expected, f"{eps:g}", "choose a smaller one, as 0.01")
    if eps < SMALLEST:
        raise InputError(f"a target of at least {SMALLEST:g}, the oracle's accuracy", f"{eps:g}", "choose a larger one")


def _too_long(eps: float) -> DataError:
    fix = "choose a larger target, alpha or primacy"
    return DataError(f"an error of {eps:g} within {LONGEST:,} examples", "one that is still above it", fix)
