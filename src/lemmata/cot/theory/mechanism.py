"""How the idealised mechanism answers: a step by a vote, and a chain of steps as a prompt that can be made longer.

Perfect attention at step k is uniform over the columns of step k whose own state is the query's. Their next states are
votes: the most voted one is the answer, a tie is broken evenly. Without such a column attention is uniform over all
columns of the step, and all vote; without any column all S states tie.

How many columns vote in a step is binomial, so one answer is exact, and so is a chain with one corrupted step among
permutations. With more of them, the examples that lost one vote take part in the next in numbers that depend on all
that happened before; the mechanism is then played in trials.

Without intermediate steps there is one vote, by the rows of B. Where prescribed constants leave open which wrong states
a step errs towards, B differs from task to task; every trial is then a task of its own, and the chain and the plain
vote of trial t are of the same one.

Letters: S states, K steps, T trials, W wrong states of a step; steps are counted from 0 in this room.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from lemmata.cot.theory.matrices import Split, check_steps, circulant, circulants, step_accuracies, wrong_pieces
from lemmata.cot.theory.prompts import Exact, Prompt, sampled, start_law
from lemmata.cot.theory.steps import EQUAL, Floats, Transitions, transitions
from lemmata.cot.theory.votes import TINY, mean_win, top_count, win
from lemmata.lab.errors import InputError
from lemmata.lab.streams import stream

__all__ = ["TRIALS", "chain", "chain_of", "first_right", "outcome_rows", "plain", "right_answer"]

# Trials where there is no formula: an error of 0.01 is then known to a fifth of itself.
TRIALS = 8000


def right_answer(l: int, right: int, same_S: Floats, others_S: Floats) -> float:
    """Probability that the vote of one step elects the state `right`.

    same_S: the probabilities that an example is in the query's state and goes on to each of the states; others_S: that
    it is in another state and goes on to each. Together they sum to 1.

    >>> round(right_answer(1, 0, np.array([0.3, 0.2]), np.array([0.1, 0.4])), 6)  # the only example decides
    0.4
    """
    if l == 0:
        return 1 / len(same_S)
    elected = win(same_S[right], np.delete(same_S, right), l)
    none = float(others_S.sum()) ** l
    if none > TINY:
        law_S = others_S / others_S.sum()
        elected += none * win(law_S[right], np.delete(law_S, right), l)
    return min(elected, 1.0)


def first_right(l: int, alpha: float, A_SS: Floats, z_0: int, right: int) -> float:
    """Probability that the vote of the first step, with matrix A and the query at its start, elects the state `right`.

    >>> round(first_right(2, 0.5, np.eye(2), 0, 0), 6)  # at least one of two examples starts where the query does
    0.75
    """
    moves_SS = start_law(alpha, len(A_SS))[z_0][:, None] * A_SS
    return right_answer(l, right, moves_SS[z_0], np.delete(moves_SS, z_0, axis=0).sum(0))


def chain_of(alpha: float, matrices: Sequence[ArrayLike], *, trials: int, seed: int) -> Prompt:
    """A prompt without examples whose error is the chain's, for these step matrices.

    Raises:
        InputError: no trials, or no step matrices (see `transitions`).

    >>> swap = [[0, 1], [1, 0]]
    >>> round(chain_of(0.8, [swap, swap], trials=1, seed=0).longer(2).error.value, 6)  # no example starts at z_0
    0.04
    """
    tr = transitions(matrices)
    corrupted = [k for k, A_SS in enumerate(tr.steps) if not _is_permutation(A_SS)]
    if len(corrupted) > 1:
        # Equally many trials from every start, up to one.
        start_T = np.arange(_at_least(1, trials)) % len(tr.path)
        return sampled(alpha, tr.steps, tr.path[start_T], seed=seed)
    # Where no step is corrupted, the formula holds with any one in the part.
    return Exact(partial(_one_corrupted, alpha=alpha, tr=tr, k=corrupted[0] if corrupted else 0))


def chain(alpha: float, tau: float, rho: float, *, K: int, states: int, split: Split, trials: int, seed: int) -> Prompt:
    """A prompt without examples whose error is the chain's, for prescribed constants.

    Raises:
        InputError: no trials, or constants that no step matrices have (see `check_steps`).

    >>> 0 < chain(0.8, 0.5, 0.8, K=3, states=10, split="even", trials=1000, seed=0).longer(10).error.value < 0.2
    True
    """
    row_S = _corrupted_row(tau, rho, K, states, split)
    if _at_most_one_errs(row_S, K, split):
        return Exact(partial(_one_anywhere, alpha=alpha, row_S=row_S, K=K))
    row_TKS = _drawn_rows(row_S, K, _at_least(1, trials), seed)
    step_K = [circulants(row_TKS[:, k]) for k in range(K)]
    return sampled(alpha, step_K, np.zeros((len(row_TKS), K + 1), dtype=int), seed=seed)


def plain(alpha: float, row_TS: Floats, *, seed: int) -> Prompt:
    """A prompt without examples whose error is that of one vote by the rows of B, as `outcome_rows` has them, (T, S).

    >>> round(plain(1.0, np.array([[0.5, 0.3, 0.2]]), seed=0).longer(1).error.value, 6)  # the only example decides
    0.5
    """
    if len(row_TS) == 1:
        B_SS = circulants(row_TS[0])
        return Exact(lambda l: 1 - first_right(l, alpha, B_SS, 0, 0))
    return sampled(alpha, [circulants(row_TS)], np.zeros((len(row_TS), 2), dtype=int), seed=seed)


def outcome_rows(
    tau: float, rho: float, *, K: int, states: int, split: Split, trials: int = TRIALS, seed: int = 0
) -> Floats:
    """What all steps do together, for prescribed constants: a row of B for every task, (T, S), the true outcome first.

    The other rows of its B are the same, moved on. One task, T = 1, where the constants leave a single one but for the
    names of the states: at most one step errs, or its wrong states are equally likely. Otherwise the tasks of `trials`
    trials, in each of which the wrong pieces of a step are at offsets from the correct state in an order of their own.

    Raises:
        InputError: fewer than 2 trials, or constants that no step matrices have (see `check_steps`).

    Two steps err with 0.3 to one state and 0.1 to the other: the same way round, or the one against the other.

    >>> row_TS = outcome_rows(0.36, 0.5, K=2, states=3, split="even", trials=100)
    >>> np.unique(row_TS.round(2), axis=0).tolist()
    [[0.42, 0.21, 0.37], [0.42, 0.37, 0.21], [0.46, 0.27, 0.27]]
    """
    row_S = _corrupted_row(tau, rho, K, states, split)
    if _at_most_one_errs(row_S, K, split):
        return row_S[None]
    in_any_order_the_same = np.ptp(row_S[1:]) <= EQUAL * row_S[0]
    # A single trial would pass for the only task there is.
    row_TKS = np.tile(row_S, (1, K, 1)) if in_any_order_the_same else _drawn_rows(row_S, K, _at_least(2, trials), seed)
    outcome_TS = row_TKS[:, 0]
    for k in range(1, K):
        outcome_TS = np.einsum("ti,tij->tj", outcome_TS, circulants(row_TKS[:, k]))
    return outcome_TS


def _corrupted_row(tau: float, rho: float, K: int, states: int, split: Split) -> Floats:
    """The row of a step that errs, (S,), correct state first."""
    check_steps(tau, rho, K, states, split)
    p = step_accuracies(tau, K, split)[-1]
    return circulant(p, wrong_pieces(p, rho, states), states)[0]


def _at_most_one_errs(row_S: Floats, K: int, split: Split) -> bool:
    return split == "one" or K == 1 or row_S[0] == 1


def _drawn_rows(row_S: Floats, K: int, trials: int, seed: int) -> Floats:
    """The rows of K steps that err, (T, K, S): each has the wrong pieces in an order of its own."""
    wrong_TKW = stream("cot.theory", seed, "offsets").permuted(np.tile(row_S[1:], (trials, K, 1)), axis=2)
    return np.insert(wrong_TKW, 0, row_S[0], axis=2)


def _one_corrupted(l: int, *, alpha: float, tr: Transitions, k: int) -> float:
    """The chain's error where every step but k is a permutation; `cot_error` derives it."""
    S, K = len(tr.path), len(tr.steps)
    if l == 0:
        return 1 - 1 / S
    A_SS, none = tr.steps[k], (1 - alpha) ** l
    # How many examples the most common other start has.
    law_V = top_count(l, S - 1) if none > TINY else np.zeros(1)
    right_S = np.zeros(S)
    for z_0, (z, z_next) in enumerate(tr.path[:, k : k + 2].tolist()):
        if k == 0:
            right_S[z_0] = first_right(l, alpha, A_SS, z_0, z_next)
        else:
            won_S = [mean_win(row_S[z_next], np.delete(row_S, z_next), law_V) for row_S in np.delete(A_SS, z, axis=0)]
            kept_S = alpha * A_SS[z]
            right_S[z_0] = win(float(kept_S[z_next]), np.delete(kept_S, z_next), l) + none * float(np.mean(won_S))
    return _chain_error(none, float(right_S.mean()), k, K)


def _one_anywhere(l: int, *, alpha: float, row_S: Floats, K: int) -> float:
    """The chain's error where one step, drawn uniformly, has this row, correct state first, and the others are exact.

    A chain that strayed votes in the row of a wrong state. That state's own next state wins with probability W, and
    z_k, at an offset that is random, as often as any of the S - 1 others.
    """
    S = len(row_S)
    if l == 0:
        return 1 - 1 / S
    none = (1 - alpha) ** l
    kept = win(alpha * row_S[0], alpha * row_S[1:], l)
    strayed = (1 - mean_win(row_S[0], row_S[1:], top_count(l, S - 1))) / (S - 1) if none > TINY else 0.0
    first = right_answer(l, 0, alpha * row_S, (1 - alpha) * (1 - row_S) / (S - 1))
    right_K = [first] + [kept + none * strayed] * (K - 1)
    return float(np.mean([_chain_error(none, right, k, K) for k, right in enumerate(right_K)]))


def _chain_error(none: float, right: float, k: int, K: int) -> float:
    """Wrong in all k steps before the corrupted one with probability `none`, and from it on unless it is right."""
    return (k * none + (K - k) * max(0.0, 1 - right)) / K


def _is_permutation(A_SS: Floats) -> bool:
    return bool(((A_SS == 0) | (A_SS == 1)).all() and (A_SS.sum(0) == 1).all())


def _at_least(fewest: int, trials: int) -> int:
    if trials < fewest:
        raise InputError(f"a number of trials of at least {fewest}", str(trials), "leave it out, or pass 1000 or more")
    return trials
