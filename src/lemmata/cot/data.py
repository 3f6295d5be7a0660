"""Training prompts of K-step reasoning, free of errors and of noise (Li et al., ICLR 2025, arXiv 2410.02167).

    symbol      meaning                                                                    here
    mu_i        training-relevant (TRR) pattern, i = 1 .. M                                an index 0 .. M-1
    f_k         step k of a task: a map of the patterns to themselves, k = 1 .. K          step_EBKM
    z_k         the query's pattern after k steps, z_0 its start, z_k = f_k(z_{k-1})       path_EBS, S = K + 1
    y_{i,k}     the same of example i
    c_k         positional code of step k, orthogonal to the patterns and to each other
    column      (y_{i,k-1}; y_{i,k}) with code c_k: example i at step k; l K of them
    query       (z_{k-1}; 0) with code c_k, after its own earlier columns; its label is z_k
    alpha       share of examples that start where the query does; the others start elsewhere, uniformly
    P           rows are the TRR patterns in the M coordinates of their span: I, unless they are correlated

A column is a step k and a pattern it starts from: what it ends in is f_k of it. So a prompt of any length is K M
numbers, how often each column occurs, and a network with softmax attention sees them as the logarithm of that number
added to the score of a column. The query's own earlier columns are those of one more example that starts at z_0.

Which tasks and which starts are drawn is a set by name, `TASK_SETS`. "shifts" are f_k(i) = i + s_k mod M with K
independent uniform shifts: M^K tasks. "permutations" takes one of `POOL` uniform permutations in each step, which are a
function of the member's seed, and "one-task" the same permutations always. Under these, every pattern is equally likely
in every step. The others break that: see `CONTROLS`.

Shapes: E members, B prompts, K steps, M patterns, S = K + 1 points of a path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.patterns import correlated

__all__ = ["CONTROLS", "COVERS", "POOL", "TASK_SETS", "Prompts", "TaskSet", "draw", "fill", "pattern_rows", "task_set"]

COVERS = ("shifts", "permutations", "one-task")
# Half of the patterns never occur; the query is on half of them a tenth as often as on the others, in every step; from
# the second step on half of the patterns never occur.
CONTROLS = ("half", "unequal", "funnel")
TASK_SETS = COVERS + CONTROLS
# Permutations that each step of "permutations" draws from.
POOL = 1024
# How likely the query is to start in the rarer half under "unequal".
RARE = 1 / 11


@final
@dataclass(frozen=True)
class TaskSet:
    """Tasks and starts of training prompts.

    map_KTM: T maps for each step, of which a task takes one a step, independently and uniformly.
    starts: examples start at one of the first so many patterns. rare: the share of queries that start in the second
    half of them, None for an even share.
    """

    map_KTM: np.ndarray
    starts: int
    rare: float | None = None


def task_set(name: str, M: int, K: int, rng: np.random.Generator) -> TaskSet:
    """A set of training tasks by name; `rng` draws the maps of those that are drawn once a member.

    >>> task_set("shifts", 4, 2, np.random.default_rng(0)).map_KTM[0].tolist()
    [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]
    """
    pattern_M, half = np.arange(M), M // 2
    shift_MM = (pattern_M + pattern_M[:, None]) % M
    # Each half of the patterns is shifted within itself.
    low = pattern_M < half
    halves_TM = np.where(
        low, (pattern_M + pattern_M[:half, None]) % half, half + (pattern_M + pattern_M[:half, None]) % half
    )

    def repeated(map_TM: np.ndarray) -> np.ndarray:
        return np.stack([map_TM] * K)

    match name:
        case "permutations":
            return TaskSet(rng.permuted(np.broadcast_to(pattern_M, (K, POOL, M)), axis=-1), M)
        case "half":
            return TaskSet(repeated(halves_TM), half)
        case "unequal":
            return TaskSet(repeated(halves_TM), M, RARE)
        case "funnel":
            # Two patterns each are mapped to one of the first half in step 1; the others shift that half.
            return TaskSet(np.stack([halves_TM % half, *[halves_TM] * (K - 1)]), M)
        case "one-task":
            return TaskSet(rng.permuted(np.broadcast_to(pattern_M, (K, 1, M)), axis=-1), M)
        case _:
            return TaskSet(repeated(shift_MM), M)


def pattern_rows(M: int, correlation: float) -> np.ndarray:
    """The TRR patterns in the coordinates of their span, P_MM: the identity, or unit rows of a common correlation.

    >>> rows = pattern_rows(4, 0.5)
    >>> bool(np.abs(rows @ rows.T - 0.5 * (1 + np.eye(4))).max() < 1e-6)
    True
    """
    return correlated(np.eye(M), correlation)


@final
@dataclass(frozen=True)
class Prompts:
    """Training prompts as counts.

    step_EBKM: f_k(i). log_count_EBKM: the logarithm of how many columns of step k start from pattern i.
    path_EBS: z_0 .. z_K. asked_EB: the step that the query asks for, 0 .. K-1. row_EMM: P, None where it is I.
    """

    step_EBKM: Tensor
    log_count_EBKM: Tensor
    path_EBS: Tensor
    asked_EB: Tensor
    row_EMM: Tensor | None = None

    @classmethod
    def empty(cls, E: int, B: int, K: int, M: int, *, correlated: bool = False) -> Self:
        """Memory for prompts, to be written by `fill`."""
        index = torch.int64
        return cls(
            torch.empty(E, B, K, M, dtype=index),
            torch.empty(E, B, K, M),
            torch.empty(E, B, K + 1, dtype=index),
            torch.empty(E, B, dtype=index),
            torch.empty(E, M, M) if correlated else None,
        )

    @property
    def query_EB(self) -> Tensor:
        """The query's pattern z_{k-1}."""
        return self.path_EBS.gather(2, self.asked_EB.unsqueeze(-1)).squeeze(-1)

    @property
    def target_EB(self) -> Tensor:
        """The label z_k."""
        return self.path_EBS.gather(2, self.asked_EB.unsqueeze(-1) + 1).squeeze(-1)

    @property
    def count_EBKM(self) -> Tensor:
        """How many columns of step k start from pattern i."""
        return self.log_count_EBKM.exp()

    @classmethod
    def stack(cls, members: Sequence[Self]) -> Self:
        """The prompts of several members as one ensemble's."""
        M = members[0].step_EBKM.shape[-1]
        rows = [torch.eye(M).unsqueeze(0) if p.row_EMM is None else p.row_EMM for p in members]
        return cls(
            step_EBKM=torch.cat([p.step_EBKM for p in members]),
            log_count_EBKM=torch.cat([p.log_count_EBKM for p in members]),
            path_EBS=torch.cat([p.path_EBS for p in members]),
            asked_EB=torch.cat([p.asked_EB for p in members]),
            row_EMM=None if all(p.row_EMM is None for p in members) else torch.cat(rows),
        )

    def member(self, e: int) -> Self:
        """The prompts of one member, sharing memory."""
        return self._each(lambda t: t[e : e + 1])

    def split(self, size: int) -> list[Self]:
        """Consecutive batches of `size` prompts, sharing memory."""
        count = self.asked_EB.shape[1]
        return [
            self._each(lambda t, at=at: t if t is self.row_EMM else t[:, at : at + size])
            for at in range(0, count, size)
        ]

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        return self._each(lambda t: t.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(
            change(self.step_EBKM),
            change(self.log_count_EBKM),
            change(self.path_EBS),
            change(self.asked_EB),
            None if self.row_EMM is None else change(self.row_EMM),
        )


def draw(
    rng: np.random.Generator, count: int, l: int, *, alpha: float, tasks: TaskSet, correlation: float = 0.0
) -> Prompts:
    """`count` prompts of one member (E = 1) with l examples each; see `fill`.

    20 columns in each step, and one more where the query asks for a later step:

    >>> rng = np.random.default_rng(0)
    >>> prompts = draw(rng, 3, 20, alpha=0.4, tasks=task_set("shifts", 6, 3, rng))
    >>> (prompts.count_EBKM.sum(-1).round() - 20)[0].int().tolist(), prompts.asked_EB[0].tolist()
    ([[0, 0, 0], [0, 0, 0], [1, 0, 0]], [0, 0, 1])
    """
    K, _, M = tasks.map_KTM.shape
    prompts = Prompts.empty(1, count, K, M, correlated=correlation > 0)
    fill(rng, prompts, l, alpha=alpha, tasks=tasks, correlation=correlation)
    return prompts


def fill(
    rng: np.random.Generator, prompts: Prompts, l: int, *, alpha: float, tasks: TaskSet, correlation: float = 0.0
) -> None:
    """Draw the prompts of one member into the memory of `prompts`, each of a task drawn uniformly from `tasks`.

    The query's start is uniform (see `TaskSet` for the exception), and so is the step k that it asks for. An example
    starts there with probability alpha, else at one of the other starts, uniformly.
    """
    step_BKM, log_count_BKM, path_BS, asked_B = (
        part[0] for part in (prompts.step_EBKM, prompts.log_count_EBKM, prompts.path_EBS, prompts.asked_EB)
    )
    B, K, M = step_BKM.shape
    # A word of 32 random bits for each number. Drawing is most of a training step: the fewer words, the better.
    word_BW = rng.integers(0, 2**32, (B, l + K + 2), dtype=np.uint32)
    which_BK = _below(word_BW[:, l : l + K], tasks.map_KTM.shape[1])
    np.take(
        tasks.map_KTM.reshape(-1, M), which_BK + np.arange(K) * tasks.map_KTM.shape[1], axis=0, out=step_BKM.numpy()
    )
    asked_B.numpy()[...] = _below(word_BW[:, l + K], K)
    start_B = _starts(word_BW[:, l + K + 1], tasks)

    # How many starts an example is away from the query's, around the cycle: 0 with probability alpha.
    away_BL = _away(word_BW[:, :l], alpha, tasks.starts)
    start_BL = start_B[:, None] + away_BL
    start_BL -= tasks.starts * (start_BL >= tasks.starts)
    start_BL += M * np.arange(B)[:, None]
    count_BM = np.bincount(start_BL.reshape(-1), minlength=B * M).reshape(B, M)
    _follow(step_BKM, torch.from_numpy(count_BM), torch.from_numpy(start_B), asked_B, log_count_BKM, path_BS)
    if prompts.row_EMM is not None:
        prompts.row_EMM[0] = torch.from_numpy(pattern_rows(M, correlation))


def _below(word: np.ndarray, n: int) -> np.ndarray:
    """A whole number from 0 to n - 1 out of 32 random bits, by the multiplication that needs no division."""
    return ((word * np.uint64(n)) >> np.uint64(32)).astype(np.int64)


def _away(word_BL: np.ndarray, alpha: float, starts: int) -> np.ndarray:
    """0 with probability alpha, else uniform on 1 .. starts - 1, as the size of a word decides."""
    end = round(alpha * 2**32)
    rest = np.maximum(word_BL, np.uint32(min(end, 2**32 - 1))) - np.uint64(end)
    scale = np.uint64(max(2**32 - end, 1))
    return np.where(word_BL < end, 0, 1 + (rest * np.uint64(starts - 1)) // scale).astype(np.int64)


def _starts(word_B: np.ndarray, tasks: TaskSet) -> np.ndarray:
    if tasks.rare is None:
        return _below(word_B, tasks.starts)
    half = tasks.starts // 2
    end = round((1 - tasks.rare) * 2**32)
    common_B = (word_B * np.uint64(half)) // np.uint64(end)
    rare_B = half + (np.maximum(word_B, np.uint32(end)) - np.uint64(end)) * np.uint64(half) // np.uint64(2**32 - end)
    return np.where(word_B < end, common_B, rare_B).astype(np.int64)


def _follow(
    step_BKM: Tensor, count_BM: Tensor, start_B: Tensor, asked_B: Tensor, log_count_BKM: Tensor, path_BS: Tensor
) -> None:
    """All paths through the steps: where the query goes, and how many columns start from each pattern in each step."""
    B, K, M = step_BKM.shape
    count_BKM = torch.empty(B, K, M, dtype=torch.int64)
    here_B1, here_BM = start_B.unsqueeze(-1), count_BM
    path_BS[:, :1] = here_B1
    for k in range(K):
        # The query's own column of this step is there once a later step is asked for.
        count_BKM[:, k] = here_BM.scatter_add(1, here_B1, (asked_B > k).long().unsqueeze(-1))
        if k < K - 1:
            here_BM = torch.zeros_like(here_BM).scatter_add_(1, step_BKM[:, k], here_BM)
        here_B1 = step_BKM[:, k].gather(1, here_B1)
        path_BS[:, k + 1 : k + 2] = here_B1
    # A table, since the logarithm of 0 takes a slow path.
    log_N = torch.arange(int(count_BKM.max()) + 1, dtype=torch.float64).log().to(log_count_BKM.dtype)
    torch.index_select(log_N, 0, count_BKM.view(-1), out=log_count_BKM.view(-1))
