"""The error of the idealised mechanism (see `mechanism`): attention is perfect, and only wrong examples mislead.

An example starts at the query's z_0 with probability alpha, else at one of the other starts, uniformly, and follows the
Markov chain A_1 .. A_K. No parameter is fitted. Three errors, averaged over a uniform z_0:

    teacher-forced    `step_errors`              step k is asked at the correct state z_{k-1}
    chain-of-thought  `cot_error`, `cot_oracle`  step k is asked at the answer v_{k-1}; the share of v_k != z_k
    input-output      `icl_error`, `icl_oracle`  examples show a start and its outcome only: one step with the matrix B,
                      `plain_oracle`             which is given, or has prescribed tau_o and rho_o, or
                                                 is that of steps with prescribed tau and rho
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lemmata.cot.theory.matrices import Split, circulant, wrong_pieces
from lemmata.cot.theory.mechanism import TRIALS, chain, chain_of, first_right, outcome_rows, plain, right_answer
from lemmata.cot.theory.prompts import check_prompt, start_law
from lemmata.cot.theory.steps import EQUAL, Floats, Transitions, labelled, transitions
from lemmata.lab.errors import InputError
from lemmata.lab.stats import Estimate

__all__ = [
    "cot_error",
    "cot_oracle",
    "icl_error",
    "icl_oracle",
    "plain_oracle",
    "right_in_the_end",
    "step_errors",
]


def step_errors(l: int, alpha: float, matrices: Sequence[ArrayLike], start: int | None = None) -> Floats:
    """Error of each step, (K,), when the query is at its correct state z_{k-1}; exact.

    For step matrices A_1 .. A_K, each (S, S); averaged over the query's start unless one is given. A column of step k
    is in the query's state with the probability q that A_1 .. A_{k-1} give, and then votes by that row of A_k. With
    probability (1 - q)^l none is; then all l vote, by the rows of the states that they are in.

    Raises:
        InputError: a negative length, a share outside (0, 1], no such start, or no step matrices (see `transitions`).

    Source: the mechanism of arXiv 2410.02167 (Theorem 2 and what it says on attention), with attention at its limit.

    >>> from lemmata.cot.theory import step_matrices
    >>> step_errors(20, 0.4, step_matrices(0.5, 0.8, 3, 10, "one")).round(4).tolist()
    [0.0, 0.0, 0.1731]
    """
    check_prompt(l, alpha)
    tr = transitions(matrices)
    S = len(tr.path)
    if start is not None and not 0 <= start < S:
        raise InputError(f"a start from 0 to {S - 1}", str(start), "count the states from 0")
    starts = range(S) if start is None else [start]
    return np.mean([_forced(l, alpha, tr, z_0) for z_0 in starts], axis=0)


def cot_error(l: int, alpha: float, matrices: Sequence[ArrayLike], *, trials: int = TRIALS, seed: int = 0) -> Estimate:
    """Error of the chain for step matrices A_1 .. A_K, each (S, S): E[share of the steps with v_k != z_k].

    It is exact, with lo = hi = value, where all steps but one are permutations. Let k be that one. Some example starts
    at z_0, except with probability P0 = (1 - alpha)^l; the chain is then right until step k, where the examples from
    z_0 vote. If none starts there, step 1 elects the next state of the most common other start, any of them as likely,
    and the examples from there carry the chain, wrong, to step k, where they vote. If k = 1, all l vote there at once.
    After step k what is right stays right, and what is wrong stays wrong. Hence

        error = ((k - 1) P0 + (K - k + 1) (1 - R)) / K,    where R is the probability that v_k is right.

    Otherwise it is the mean over `trials` trials of the mechanism with a 95 % interval.

    Raises:
        InputError: a negative length, a share outside (0, 1], no trials, or no step matrices (see `transitions`).

    Source: the inference and the error of Section 3 of arXiv 2410.02167, with attention at its limit.

    >>> from lemmata.cot.theory import condition_matrices, step_matrices
    >>> e = cot_error(20, 0.4, step_matrices(0.5, 0.8, 3, 10, "one"))
    >>> round(e.value, 4), e.hi - e.lo, e.method
    (0.0577, 0.0, 'exact')
    >>> e = cot_error(20, 0.8, condition_matrices(satisfied=False))
    >>> 0.11 < e.lo < e.hi < 0.13, e.method
    (True, '8000 trials of the mechanism, Wilson')
    """
    check_prompt(l, alpha)
    return chain_of(alpha, matrices, trials=trials, seed=seed).longer(int(l)).error


def cot_oracle(
    l: int,
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
    """Error of the chain for prescribed constants: E[share of the steps with v_k != z_k].

    Under "one", one of the K steps, drawn uniformly, holds all errors, and the result is exact; under "even" every step
    does, and it is the mean over `trials` trials with a 95 % interval. The wrong pieces of a step (see `wrong_pieces`)
    are at offsets from the correct state in a random order, the same in all rows of the step.

    Raises:
        InputError: a negative length, a share outside (0, 1], no trials, or constants that no step matrices have (see
            `check_steps`).

    Source: as `cot_error`.

    >>> [round(cot_oracle(l, 0.8, 0.5, 0.8).value, 4) for l in (0, 10, 20)]
    [0.9, 0.1099, 0.0281]
    """
    check_prompt(l, alpha)
    return chain(alpha, tau, rho, K=K, states=states, split=split, trials=trials, seed=seed).longer(int(l)).error


def icl_error(l: int, alpha: float, product: ArrayLike, labels: ArrayLike) -> float:
    """Error of input-output demonstrations that follow B = `product`, (S, S), with true labels `labels`, (S,); exact.

    The examples that start at z_0 vote, by that row of B; without any, all vote. It does not go to 0 where Condition 1
    fails.

    Raises:
        InputError: a negative length, a share outside (0, 1], rows of B that are no distribution, or labels that are
            not one state for each start.

    Source: Theorem 3 of arXiv 2410.02167, with attention at its limit. In the worked example of `transitions` the
    outcome from the first start favours the wrong label:

    >>> B, labels = [[0.56, 0.44], [0.64, 0.36]], [1, 0]
    >>> [round(icl_error(l, 0.8, B, labels), 2) for l in (0, 10, 100, 1000)]
    [0.5, 0.42, 0.43, 0.5]
    """
    check_prompt(l, alpha)
    B_SS, label_S = labelled(product, labels)
    rights = [first_right(l, alpha, B_SS, z_0, label) for z_0, label in enumerate(label_S)]
    return float(1 - np.mean(rights))


def icl_oracle(l: int, alpha: float, tau_o: float, rho_o: float, *, states: int = 10) -> float:
    """Error of input-output demonstrations for prescribed constants; exact.

    Every row of B gives tau_o to the true label and cuts the rest into pieces of (1 - rho_o) tau_o; B is circulant.

    Raises:
        InputError: a negative length, a share outside (0, 1], or constants that no matrix has (see `wrong_pieces`).

    Source: as `icl_error`.

    >>> [round(icl_oracle(l, 0.8, 0.5, 0.6), 4) for l in (0, 10, 20)]
    [0.9, 0.2476, 0.1193]
    """
    check_prompt(l, alpha)
    return 1 - first_right(l, alpha, circulant(tau_o, wrong_pieces(tau_o, rho_o, states), states), 0, 0)


def plain_oracle(
    l: int,
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
    """Error of input-output demonstrations of the tasks of `cot_oracle`: what these need without intermediate steps.

    Under "one" all rows of B are those of the step that errs, tau_o = tau, rho_o = rho, and the result is exact. Under
    "even" B depends on where the steps err: if all towards the same wrong states, the errors add up in one wrong
    outcome, and Condition 1 may fail. The result is then the mean over `trials` trials with a 95 % interval, each trial
    a task of its own, the same as that of `cot_oracle` (see `outcome_rows`).

    Raises:
        InputError: a negative length, a share outside (0, 1], fewer than 2 trials, or constants that no step matrices
            have (see `check_steps`).

    Source: as `icl_error`.

    >>> [round(plain_oracle(l, 0.8, 0.5, 0.8).value, 4) for l in (0, 10, 20)]
    [0.9, 0.1649, 0.0422]
    >>> e = plain_oracle(20, 0.8, 0.5, 0.8, split="even")
    >>> 0.05 < e.lo < e.hi < 0.07, e.method
    (True, '8000 trials of the mechanism, Wilson')
    """
    check_prompt(l, alpha)
    row_TS = outcome_rows(tau, rho, K=K, states=states, split=split, trials=trials, seed=seed)
    return plain(alpha, row_TS, seed=seed).longer(int(l)).error


def right_in_the_end(row_RS: ArrayLike, label_R: ArrayLike) -> Floats:
    """How often input-output demonstrations without end elect the true label, (R,), by these rows of B, (R, S).

    1 where the true label is the only largest entry of its row, as Condition 1 demands, 1/n where n entries tie with
    it, and 0 where another one is larger.

    Source: as `icl_error`.

    >>> right_in_the_end([[0.56, 0.44], [0.64, 0.36], [0.5, 0.5]], [1, 0, 0]).tolist()
    [0.0, 1.0, 0.5]
    """
    B_RS, labels = np.asarray(row_RS), np.asarray(label_R)
    largest_RS = np.isclose(B_RS, B_RS.max(1, keepdims=True), rtol=EQUAL, atol=0)
    return largest_RS[np.arange(len(B_RS)), labels] / largest_RS.sum(1)


def _forced(l: int, alpha: float, tr: Transitions, z_0: int) -> Floats:
    """`step_errors` from one start."""
    state_S = start_law(alpha, len(tr.path))[z_0]
    errors = []
    for A_SS, here, right in zip(tr.steps, tr.path[z_0], tr.path[z_0, 1:], strict=False):
        moves_SS = state_S[:, None] * A_SS
        errors.append(1 - right_answer(l, right, moves_SS[here], np.delete(moves_SS, here, axis=0).sum(0)))
        state_S = moves_SS.sum(0)
    return np.array(errors)
