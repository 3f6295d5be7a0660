"""Prompts of in-context binary classification, in-domain and out-of-domain (Li et al., ICML 2024, arXiv 2402.15607).

    symbol      meaning                                                                 here
    mu_j        in-domain-relevant (IDR) pattern, j = 1 .. M1                           idr
    nu_k        in-domain-irrelevant (IDI) pattern, k = 1 .. M2                         idi
    beta        norm of every pattern                                                   beta
    x           beta (mu_j + kappa nu_k), kappa ~ U(-K, K)                              an example's input
    f_(a,b)     task: +1 where x carries mu_a, -1 where it carries mu_b, else random    task
    p           (x; y q), y = f(x), q a unit vector; the query's is (x; 0)              a column
    alpha       share of examples that carry mu_a or mu_b, so alpha/2 each              alpha
    l           number of examples in a prompt                                          l_tr in training
    mu'_j       out-of-domain-relevant pattern: sum_i c_ji mu_i, sum_i c_ji = S_1       Shift

A column is three numbers on known patterns: (beta, mu_j), (beta kappa, nu_k), (y, q). Prompts are kept in these
coordinates and never multiplied out where the network is trained; the patterns are the axes, which loses nothing,
since the one-layer network and its initialisation are equivariant to rotations of the input (tests/test_icl_network.py
shows it).

Shapes: E members, B prompts, L = l + 1 columns of which the last is the query, V = M1 + M2 patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.errors import ConstantError
from lemmata.lab.patterns import check_mixtures, mixtures, orthonormal
from lemmata.lab.sparing import places

__all__ = ["CONTROLS", "TASK_SETS", "Prompts", "Shift", "draw", "exact_count", "fill", "stack", "task_set", "unseen"]

# Uniform covers of all patterns in both labels: s strides of the cycle are s M1 of the M1 (M1 - 1) tasks.
COVERS = ("cyclic", "cyclic-2", "cyclic-3", "cyclic-4", "all", "pairs")
# Sets that break the theorem's condition: a pattern with one label only, patterns left out, unequal labels.
CONTROLS = ("one-label", "half-the-patterns", "star")
TASK_SETS = COVERS + CONTROLS
# Those that pair the patterns up or take half of them.
EVEN_ONLY = ("pairs", "one-label", "half-the-patterns")
SAMPLERS = ("iid", "exact")


def task_set(name: str, M1: int) -> np.ndarray:
    """The tasks (T, 2) of a training set, as ordered pairs (a, b) of IDR patterns.

    >>> task_set("cyclic", 4).tolist()
    [[0, 1], [1, 2], [2, 3], [3, 0]]
    >>> len(task_set("all", 6))
    30
    """
    half = M1 // 2
    sets = {
        "pairs": [pair for i in range(half) for pair in ((2 * i, 2 * i + 1), (2 * i + 1, 2 * i))],
        "one-label": [(2 * i, 2 * i + 1) for i in range(half)],
        "half-the-patterns": [(a, b) for a in range(half) for b in range(half) if a != b],
        "star": [(0, b) for b in range(1, M1)] + [(1, 0)],
    }
    strides = {"cyclic": 1, "cyclic-2": 2, "cyclic-3": 3, "cyclic-4": 4, "all": M1 - 1}
    if name in strides:
        return np.array([(i, (i + s) % M1) for s in range(1, min(strides[name], M1 - 1) + 1) for i in range(M1)])
    return np.array(sets[name])


def unseen(name: str, M1: int) -> np.ndarray:
    """The tasks (T, 2) that a training set leaves out; all tasks where it leaves none out.

    >>> len(unseen("cyclic", 6)), len(unseen("all", 6))
    (24, 30)
    """
    seen = {tuple(task) for task in task_set(name, M1).tolist()}
    rest = [task for task in task_set("all", M1).tolist() if tuple(task) not in seen]
    return np.array(rest or task_set("all", M1))


def exact_count(alpha: float, l: int) -> int:
    """Examples that carry the query's pattern under the exact sampler, alpha l / 2.

    Raises:
        ConstantError: the prompt cannot hold that many.

    >>> exact_count(0.8, 20)
    8
    """
    count = alpha * l / 2
    if abs(count - round(count)) > 1e-6:
        step = next((n for n in range(1, 1001) if abs(alpha * n / 2 - round(alpha * n / 2)) < 1e-6), None)
        fitting = f"a multiple of {step}" if step else "none below 1000 does"
        expected = f"a prompt length that holds exact counts at alpha = {alpha:g} ({fitting})"
        fix = f"choose {fitting}, or sampler=iid" if step else "choose a rounder alpha, or sampler=iid"
        raise ConstantError(expected, f"l = {l}", fix)
    return round(count)


@final
@dataclass(frozen=True)
class Prompts:
    """Prompts in pattern coordinates: column s is beta axis[idr] + noise axis[idi] + label q; the query has label 0.

    idr_EBL, idi_EBL: which of the V pattern axes, an IDR one (0 .. M1-1) and an IDI one (M1 .. V-1).
    noise_EBL: beta kappa. label_EBL: y. target_EB: the query's label, +-1. beta_E: the norm of each member's patterns.
    axis_EVD: what the V axes are in the coordinates of training (D = V there), None where they are the same.
    """

    idr_EBL: Tensor
    idi_EBL: Tensor
    noise_EBL: Tensor
    label_EBL: Tensor
    target_EB: Tensor
    beta_E: Tensor
    axis_EVD: Tensor | None = None

    @classmethod
    def empty(cls, E: int, B: int, l: int) -> Prompts:
        """Memory for prompts, to be written by `fill`."""
        index_EBL = torch.empty(E, B, l + 1, dtype=torch.int64)
        noise_EBL, label_EBL = torch.empty(E, B, l + 1), torch.empty(E, B, l + 1)
        return cls(index_EBL, index_EBL.clone(), noise_EBL, label_EBL, torch.empty(E, B), torch.empty(E))

    @property
    def length(self) -> int:
        """Number of examples l."""
        return self.idr_EBL.shape[-1] - 1

    def first(self, l: int) -> Prompts:
        """The same prompts with their first l examples only."""
        if l == self.length:
            return self
        keep = [*range(l), self.length]
        return self._each(lambda t: t[..., keep] if t.dim() == 3 else t)

    def columns(self, V: int) -> Tensor:
        """The columns multiplied out, (x; y), as prompt_EBLD with D = V + 1: the textbook form of the same prompts.

        `V` is the number of the prompts' own pattern axes.

        >>> prompts = draw(np.random.default_rng(0), 2, 4, alpha=0.8, kappa=0.5, beta=1.0, tasks=task_set("all", 6))
        >>> prompts.columns(30).shape
        torch.Size([1, 2, 5, 31])
        """
        x_EBLV = self.noise_EBL.new_zeros(*self.idr_EBL.shape, V)
        x_EBLV.scatter_(3, self.idi_EBL.unsqueeze(-1), self.noise_EBL.unsqueeze(-1))
        relevant_EBL1 = self.beta_E.view(-1, 1, 1, 1).expand(*self.idr_EBL.shape, 1)
        x_EBLV.scatter_(3, self.idr_EBL.unsqueeze(-1), relevant_EBL1)
        x_EBLD = x_EBLV if self.axis_EVD is None else torch.einsum("eblv,evd->ebld", x_EBLV, self.axis_EVD)
        return torch.cat([x_EBLD, self.label_EBL.unsqueeze(-1)], -1)

    def member(self, e: int) -> Prompts:
        """The prompts of one member, sharing memory."""
        return self._each(lambda t: t[e : e + 1], lambda t: t[e : e + 1])

    def take(self, member_E: Tensor, at_EK: Tensor | None) -> Prompts:
        """The prompts of some members: all, or K of each."""
        return self._each(lambda t: t[places(member_E, at_EK) if t.dim() > 1 else member_E], lambda t: t[member_E])

    def split(self, size: int) -> list[Prompts]:
        """Consecutive batches of `size` prompts, sharing memory."""
        starts = range(0, self.idr_EBL.shape[1], size)
        return [self._each(lambda t, at=at: t[:, at : at + size] if t.dim() > 1 else t) for at in starts]

    def on(self, axis_EVD: Tensor) -> Prompts:
        """The same prompts on other patterns."""
        return replace(self, axis_EVD=axis_EVD)

    def to(self, device: str | torch.device) -> Prompts:
        """The same on another device."""
        return self._each(lambda t: t.to(device), lambda t: t.to(device))

    def _each(self, change: Callable[[Tensor], Tensor], axes: Callable[[Tensor], Tensor] = lambda t: t) -> Prompts:
        """Every tensor changed in the same way, the axes in their own."""
        return Prompts(
            idr_EBL=change(self.idr_EBL),
            idi_EBL=change(self.idi_EBL),
            noise_EBL=change(self.noise_EBL),
            label_EBL=change(self.label_EBL),
            target_EB=change(self.target_EB),
            beta_E=change(self.beta_E),
            axis_EVD=None if self.axis_EVD is None else axes(self.axis_EVD),
        )


def draw(
    rng: np.random.Generator,
    count: int,
    l: int,
    *,
    alpha: float,
    kappa: float,
    beta: float,
    tasks: np.ndarray,
    M1: int = 6,
    M2: int = 24,
    sampler: str = "iid",
) -> Prompts:
    """`count` prompts of one member (E = 1), each of a task drawn uniformly from `tasks`; see `fill`."""
    prompts = Prompts.empty(1, count, l)
    fill(rng, prompts, alpha=alpha, kappa=kappa, beta=beta, tasks=tasks, M1=M1, M2=M2, sampler=sampler)
    return prompts


def fill(
    rng: np.random.Generator,
    prompts: Prompts,
    *,
    alpha: float,
    kappa: float,
    beta: float,
    tasks: np.ndarray,
    M1: int,
    M2: int,
    sampler: str,
) -> None:
    """Draw the prompts of one member into the memory of `prompts`, each of a task drawn uniformly from `tasks`.

    "iid": every example carries mu_a or mu_b with probability alpha/2 each, else another pattern, uniformly. "exact":
    exactly alpha l / 2 examples carry mu_a, as many mu_b, in random order. The query carries mu_a or mu_b, evenly.
    Valid for 3 <= M1 <= 100 and M2 <= 127, so that a byte holds a role and an irrelevant pattern with its coin.

    Raises:
        ConstantError: the prompt length cannot hold the exact counts.
    """
    idr_BL, idi_BL, noise_BL, label_BL = (
        part[0].numpy() for part in (prompts.idr_EBL, prompts.idi_EBL, prompts.noise_EBL, prompts.label_EBL)
    )
    count, L = idr_BL.shape
    # One 64-bit word a column, half of it for the role: 0 for mu_a, 1 for mu_b, 2 .. M1-1 for the other patterns. What
    # follows is byte-sized until it is written: drawing is a seventh of a training step.
    bits_2BL = rng.integers(0, 2**64, count * L, dtype=np.uint64).view(np.uint32).reshape(2, count, L)
    role_BL = _exact_roles(rng, bits_2BL[0], alpha, M1) if sampler == "exact" else _iid_roles(bits_2BL[0], alpha, M1)
    pattern_of_role = np.array([[a, b, *(i for i in range(M1) if i not in (a, b))] for a, b in tasks], dtype=np.uint8)
    task_B1 = rng.integers(0, len(tasks), (count, 1), dtype=np.uint32)
    idr_BL[...] = np.take(pattern_of_role, role_BL + np.uint32(M1) * task_B1)

    # The other half, as u in [0, 1), times 2 M2: the whole part is an irrelevant pattern and a coin, the rest is kappa.
    parts_BL = bits_2BL[1] * np.uint64(2 * M2)
    idi_and_coin_BL = (parts_BL >> np.uint64(32)).astype(np.uint8)
    np.add(idi_and_coin_BL >> 1, M1, out=idi_BL, casting="unsafe")
    noise_BL[...] = parts_BL.astype(np.uint32).view(np.int32)
    noise_BL *= np.float32(kappa * beta / 2**31)
    prompts.beta_E.fill_(beta)

    # The coin is the label of the patterns outside the task.
    label_of = np.array([1, -1] + [1] * (M1 - 2) + [1, -1] + [-1] * (M1 - 2), dtype=np.int8)
    label_BL[...] = np.take(label_of, role_BL + np.uint8(M1) * (idi_and_coin_BL & 1))
    prompts.target_EB[0] = prompts.label_EBL[0, :, -1]
    label_BL[:, -1] = 0


def _iid_roles(bits_BL: np.ndarray, alpha: float, M1: int) -> np.ndarray:
    """Independent examples: mu_a and mu_b have alpha/2 each, the M1 - 2 others share 1 - alpha; the query is last."""
    ends = [alpha / 2, *(alpha + (1 - alpha) * i / (M1 - 2) for i in range(M1 - 2))]
    role_BL = np.zeros(bits_BL.shape, dtype=np.uint8)
    for end in (round(2**32 * e) for e in ends):
        if end < 2**32:
            role_BL += (bits_BL >= np.uint32(end)).view(np.uint8)
    role_BL[:, -1] = bits_BL[:, -1] >> np.uint32(31)
    return role_BL


def _exact_roles(rng: np.random.Generator, bits_BL: np.ndarray, alpha: float, M1: int) -> np.ndarray:
    """Exact counts of mu_a and mu_b in random order, the others uniform; the query is last."""
    l = bits_BL.shape[1] - 1
    same = exact_count(alpha, l)
    role_BL = np.zeros(bits_BL.shape, dtype=np.uint8)
    role_BL[:, same : 2 * same] = 1
    role_BL[:, 2 * same : l] = 2 + ((bits_BL[:, 2 * same : l] * np.uint64(M1 - 2)) >> np.uint64(32)).astype(np.uint8)
    role_BL[:, :l] = rng.permuted(role_BL[:, :l], axis=1)
    role_BL[:, l] = bits_BL[:, l] >> np.uint32(31)
    return role_BL


@final
@dataclass(frozen=True)
class Shift:
    """Out-of-domain patterns: M1' orthonormal ODR patterns of coefficient sum S_1, ODI patterns rotated in span(nu)."""

    M1: int
    M2: int
    S_1: float
    M1_test: int = 3

    def check(self) -> None:
        """Refuse an S_1 that no M1' orthonormal patterns have.

        Raises:
            InputError: the message names the largest |S_1|.
        """
        check_mixtures(self.M1_test, self.M1, self.S_1)

    def axes(self, rng: np.random.Generator) -> Tensor:
        """The M1' + M2 test patterns in the coordinates of training, axis_VD; drawn anew from `rng`.

        Raises:
            InputError: no orthonormal patterns of this S_1 exist; the message names the largest |S_1|.

        >>> Shift(6, 24, 1.3).axes(np.random.default_rng(0)).shape
        torch.Size([27, 30])
        """
        axis_VD = np.zeros((self.M1_test + self.M2, self.M1 + self.M2), dtype=np.float32)
        axis_VD[: self.M1_test, : self.M1] = mixtures(rng, self.M1_test, self.M1, self.S_1)
        axis_VD[self.M1_test :, self.M1 :] = orthonormal(rng, self.M2, self.M2)
        return torch.from_numpy(axis_VD)


def stack(members: Sequence[Prompts]) -> Prompts:
    """The prompts of several members as one ensemble's."""
    axes = [p.axis_EVD for p in members if p.axis_EVD is not None]
    return Prompts(
        idr_EBL=torch.cat([p.idr_EBL for p in members]),
        idi_EBL=torch.cat([p.idi_EBL for p in members]),
        noise_EBL=torch.cat([p.noise_EBL for p in members]),
        label_EBL=torch.cat([p.label_EBL for p in members]),
        target_EB=torch.cat([p.target_EB for p in members]),
        beta_E=torch.cat([p.beta_E for p in members]),
        axis_EVD=torch.cat(axes) if axes else None,
    )
