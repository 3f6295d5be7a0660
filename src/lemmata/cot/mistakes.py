"""How test prompts go wrong: which step maps a state to which, and how often to another one (arXiv 2410.02167).

    symbol      meaning
    X           M' states, the TSR patterns
    f_k         the right map of step k: a permutation of the states, drawn anew for each prompt
    p_k         how often step k is right
    piece q     the q-th largest part of the wrong mass 1 - p_k; it goes to state f_k(i) + o_q mod M'
    o_k         the wrong states of step k: a random order of 1 .. M'-1, one for all rows of the step

So A_k[i, f_k(i)] = p_k, A_k[i, f_k(i) + o_q] = piece q, and every A_k is doubly stochastic.

    split            which steps are wrong, and how
    one              one step, drawn for each prompt, with p = tau; the others are exact
    last             the last step with p = tau: what tau_o and rho_o of plain input-output examples are then
    even             every step, with p = tau^(1/K)
    condition-1      K = 3: p of .45, 1 and .55, the wrong mass spread evenly. Condition 1 holds
    no-condition-1   the same, but in step 3 .35 of the mass goes to one state, drawn for each prompt, from wherever it
                     is not the right one: every step is mostly right, and the outcome is mostly that state

In the first three the largest piece is (1 - rho) p, as are all others but the last.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from lemmata.cot.theory import check_steps, wrong_pieces
from lemmata.lab.errors import ConstantError, nearest

__all__ = ["SPLITS", "Split", "check_mistakes", "follow"]

Split = Literal["one", "last", "even", "condition-1", "no-condition-1"]
SPLITS: tuple[str, ...] = get_args(Split)
# Shares of the third step when Condition 1 is broken, for the one state and for all others together.
FAVOURED, SPREAD = 0.35, 0.10


def check_mistakes(split: str, tau: float | None, rho: float | None, K: int, states: int) -> None:
    """Refuse what no step matrices have.

    Raises:
        ConstantError: no such split, or one that needs another K.
        InputError: no step matrices have this tau and rho; the message names the range of rho.
    """
    if split not in SPLITS:
        raise ConstantError(
            f"split (which steps are wrong) as one of {', '.join(SPLITS)}", split, nearest(split, SPLITS)
        )
    if split.endswith("condition-1"):
        if K != 3:
            raise ConstantError(f"K = 3 for split={split}", f"K = {K}", "set K to 3, or choose split=one or split=even")
        if tau is not None or rho is not None:
            got = f"tau = {tau}, rho = {rho}"
            raise ConstantError(f"no tau and no rho with split={split}, whose steps are given", got, "set both to None")
    elif tau is None or rho is None:
        raise ConstantError(f"tau and rho for split={split}", f"tau = {tau}, rho = {rho}", "give both")
    else:
        check_steps(tau, rho, K, states, "even" if split == "even" else "one")


def follow(
    split: str,
    tau: float | None,
    rho: float | None,
    *,
    start_BL: np.ndarray,
    right_BKX: np.ndarray,
    order_BKW: np.ndarray,
    chosen_B: np.ndarray,
    favoured_B: np.ndarray,
    chance_BLK: np.ndarray,
) -> np.ndarray:
    """The states of every example after every step, state_BLS with S = K + 1 and the start first.

    `chosen_B` is the step that split "one" corrupts, `favoured_B` the state that "no-condition-1" favours; `chance_BLK`
    are uniform numbers in [0, 1), one a transition, so that the same numbers under another tau give nearby prompts.
    """
    B, K, X = right_BKX.shape
    at_B1 = np.arange(B)[:, None]
    state_BLS = np.empty((*start_BL.shape, K + 1), dtype=np.int64)
    state_BLS[..., 0] = start_BL
    for k in range(K):
        right_BL = right_BKX[at_B1, k, state_BLS[..., k]]
        order_BW = order_BKW[:, k]
        shares, wrong_B = _shares(split, tau, rho, k, K, X, chosen_B)
        piece_BL = np.searchsorted(np.cumsum(shares), chance_BLK[..., k], side="right")
        # Rounding of the cumulated shares must not make one piece too many.
        piece_BL = np.where(wrong_B[:, None], np.minimum(piece_BL, len(shares) - 1), 0)
        if split == "no-condition-1" and k == K - 1:
            state_BLS[..., k + 1] = _favouring(
                right_BL, order_BW, favoured_B[:, None], chance_BLK[..., k], shares[0], X
            )
            continue
        away_BL = np.where(piece_BL > 0, order_BW[at_B1, piece_BL - 1], 0)
        state_BLS[..., k + 1] = (right_BL + away_BL) % X
    return state_BLS


def _shares(
    split: str, tau: float | None, rho: float | None, k: int, K: int, X: int, chosen_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How often step k is right, then the wrong pieces; and in which prompts it is wrong at all."""
    everywhere_B = np.ones(len(chosen_B), dtype=bool)
    if split.endswith("condition-1"):
        p = (0.45, 1.0, 0.55)[k]
        return np.array([p, *[(1 - p) / (X - 1)] * (X - 1)]), everywhere_B
    assert tau is not None and rho is not None  # `check_mistakes` has refused the rest
    p = tau ** (1 / K) if split == "even" else tau
    shares = np.array([p, *wrong_pieces(p, rho, X)])
    wrong_B = chosen_B == k if split == "one" else everywhere_B & (split == "even" or k == K - 1)
    return shares, wrong_B


def _favouring(
    right_BL: np.ndarray, order_BW: np.ndarray, favoured_B1: np.ndarray, chance_BL: np.ndarray, p: float, X: int
) -> np.ndarray:
    """The third step when one state is favoured wherever it is not the right one; there it is spread evenly."""
    at_B1 = np.arange(len(right_BL))[:, None]
    # A wrong state drawn evenly from what is left of the chance, among all wrong ones or among those not favoured.
    spread_BL = np.clip((chance_BL - p - FAVOURED) / SPREAD, 0, 1 - 1e-12)
    even_BL = np.clip((chance_BL - p) / (1 - p), 0, 1 - 1e-12)
    is_right_BL = right_BL == favoured_B1
    first_BL = (right_BL + order_BW[at_B1, (even_BL * (X - 1)).astype(np.int64)]) % X
    other_BL = (right_BL + order_BW[at_B1, (spread_BL * (X - 2)).astype(np.int64)]) % X
    # The place in the order that would be the favoured state stands for the last place, which is not drawn.
    other_BL = np.where(other_BL == favoured_B1, (right_BL + order_BW[:, -1:]) % X, other_BL)
    wrong_BL = np.where(is_right_BL, first_BL, np.where(chance_BL < p + FAVOURED, favoured_B1, other_BL))
    return np.where(chance_BL < p, right_BL, wrong_BL)
