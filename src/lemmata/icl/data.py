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
coordinates and never multiplied out where the network is trained; the patterns are the axes, which loses nothing, since the
one-layer network and its initialisation are equivariant to rotations of the input (tests/test_icl_network.py shows it).

Shapes: E members, B prompts, L = l + 1 columns of which the last is the query, V = M1 + M2 patterns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.errors import ConstantError
from lemmata.lab.patterns import mixtures, orthonormal

__all__ = ["CONTROLS", "TASK_SETS", "Prompts", "Shift", "draw", "exact_count", "fill", "stack", "task_set", "unseen"]

# Uniform covers of all patterns in both labels: s strides of the cycle are s M1 of the M1 (M1 - 1) tasks.
COVERS = ("cyclic", "cyclic-2", "cyclic-3", "cyclic-4", "all", "pairs")
# Sets that break the theorem's condition: a pattern with one label only, patterns left out, unequal labels.
CONTROLS = ("one-label", "half-the-patterns", "star")
TASK_SETS = COVERS + CONTROLS
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
        step = next(n for n in range(1, 1001) if abs(alpha * n / 2 - round(alpha * n / 2)) < 1e-6)
        expected = f"a prompt length that holds exact counts at alpha = {alpha:g} (a multiple of {step})"
        raise ConstantError(expected, f"l = {l}", f"choose a multiple of {step}, or the iid sampler")
    return round(count)


@final
@dataclass(frozen=True)
class Prompts:
    """Prompts in pattern coordinates: column s of a prompt is sum_c coef[c, s] * axis[index[c, s]], c = 0, 1, 2.

    index_EB3L: which axis: an IDR pattern (0 .. M1-1), an IDI pattern (M1 .. V-1), the label direction (V).
    coef_EB3L: how much of it: beta, beta kappa, y (0 for the query).
    target_EB: the query's label, +-1.
    axis_EVD: what the V pattern axes are in the coordinates of training (D = V there), None where they are the same.
    """

    index_EB3L: Tensor
    coef_EB3L: Tensor
    target_EB: Tensor
    axis_EVD: Tensor | None = None

    @classmethod
    def empty(cls, E: int, B: int, l: int) -> Prompts:
        """Memory for prompts, to be written by `fill`."""
        index_EB3L = torch.empty(E, B, 3, l + 1, dtype=torch.int64)
        return cls(index_EB3L, torch.empty(E, B, 3, l + 1), torch.empty(E, B))

    @property
    def length(self) -> int:
        """Number of examples l."""
        return self.index_EB3L.shape[-1] - 1

    def first(self, l: int) -> Prompts:
        """The same prompts with their first l examples only."""
        if l == self.length:
            return self
        keep = [*range(l), self.length]
        return Prompts(self.index_EB3L[..., keep], self.coef_EB3L[..., keep], self.target_EB, self.axis_EVD)

    def columns(self, V: int) -> Tensor:
        """The columns multiplied out, (x; y), as prompt_EBLD with D = V + 1: the textbook form of the same prompts.

        >>> prompts = draw(np.random.default_rng(0), 2, 4, alpha=0.8, kappa=0.5, beta=1.0, tasks=task_set("all", 6))
        >>> prompts.columns(30).shape
        torch.Size([1, 2, 5, 31])
        """
        E, B, _, L = self.index_EB3L.shape
        axes_EBLV = self.coef_EB3L.new_zeros(E, B, L, V + 1)
        axes_EBLV.scatter_add_(3, self.index_EB3L.transpose(2, 3), self.coef_EB3L.transpose(2, 3))
        if self.axis_EVD is None:
            return axes_EBLV
        x_EBLD = torch.einsum("eblv,evd->ebld", axes_EBLV[..., :V], self.axis_EVD)
        return torch.cat([x_EBLD, axes_EBLV[..., V:]], -1)

    def member(self, e: int) -> Prompts:
        """The prompts of one member, sharing memory."""
        axis = None if self.axis_EVD is None else self.axis_EVD[e : e + 1]
        return Prompts(self.index_EB3L[e : e + 1], self.coef_EB3L[e : e + 1], self.target_EB[e : e + 1], axis)

    def split(self, size: int) -> list[Prompts]:
        """Consecutive batches of `size` prompts, sharing memory."""
        parts = (self.index_EB3L.split(size, 1), self.coef_EB3L.split(size, 1), self.target_EB.split(size, 1))
        return [Prompts(*part, self.axis_EVD) for part in zip(*parts, strict=True)]

    def to(self, device: str | torch.device) -> Prompts:
        """The same on another device."""
        axis = None if self.axis_EVD is None else self.axis_EVD.to(device)
        return Prompts(self.index_EB3L.to(device), self.coef_EB3L.to(device), self.target_EB.to(device), axis)


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
    index_B3L, coef_B3L = prompts.index_EB3L[0].numpy(), prompts.coef_EB3L[0].numpy()
    count, _, L = index_B3L.shape
    # The role of a column: 0 for mu_a, 1 for mu_b, 2 .. M1-1 for the other patterns.
    role_BL = (_exact_roles if sampler == "exact" else _iid_roles)(rng, count, L - 1, alpha, M1)
    pattern_of_role = np.stack([[a, b, *(i for i in range(M1) if i not in (a, b))] for a, b in tasks])
    task_B1 = rng.integers(0, len(tasks), (count, 1), dtype=np.uint16)
    # One draw for the irrelevant pattern and for the coin that labels the patterns outside the task.
    idi_and_coin_BL = _integers(rng, 2 * M2, role_BL.shape)

    # Everything below is byte-sized until the last moment: this function is a sixth of a training step.
    index_B3L[:, 0] = np.take(pattern_of_role, role_BL + np.uint16(M1) * task_B1)
    np.add(idi_and_coin_BL >> 1, M1, out=index_B3L[:, 1], casting="unsafe")
    index_B3L[:, 2] = M1 + M2

    coef_B3L[:, 0] = beta
    kappa_BL = rng.random(role_BL.shape, dtype=np.float32)
    kappa_BL -= np.float32(0.5)
    np.multiply(kappa_BL, np.float32(2 * kappa * beta), out=coef_B3L[:, 1])
    label_of = np.array([1, -1] + [1] * (M1 - 2) + [1, -1] + [-1] * (M1 - 2), dtype=np.float32)
    coef_B3L[:, 2] = np.take(label_of, role_BL + M1 * (idi_and_coin_BL & 1))
    prompts.target_EB[0] = prompts.coef_EB3L[0, :, 2, -1]
    coef_B3L[:, 2, -1] = 0


def _iid_roles(rng: np.random.Generator, count: int, l: int, alpha: float, M1: int) -> np.ndarray:
    """Independent examples: mu_a and mu_b have alpha/2 each, the M1 - 2 others share 1 - alpha; the query is last."""
    u_BL = rng.random((count, l + 1), dtype=np.float32)
    u_BL[:, l] *= alpha
    ends = [alpha / 2, *(alpha + (1 - alpha) * i / (M1 - 2) for i in range(M1 - 2))]
    role_BL = np.zeros(u_BL.shape, dtype=np.uint8)
    for end in ends:
        role_BL += (u_BL >= np.float32(end)).view(np.uint8)
    return role_BL


def _exact_roles(rng: np.random.Generator, count: int, l: int, alpha: float, M1: int) -> np.ndarray:
    """Exact counts of mu_a and mu_b in random order, the others uniform; the query is last."""
    same = exact_count(alpha, l)
    role_BL = np.zeros((count, l + 1), dtype=np.uint8)
    role_BL[:, same : 2 * same] = 1
    role_BL[:, 2 * same : l] = 2 + _integers(rng, M1 - 2, (count, l - 2 * same))
    role_BL[:, :l] = rng.permuted(role_BL[:, :l], axis=1)
    role_BL[:, l] = _integers(rng, 2, (count,))
    return role_BL


def _integers(rng: np.random.Generator, end: int, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform on 0 .. end - 1 to within 2^-24, in half the time of `rng.integers`."""
    u = rng.random(shape, dtype=np.float32)
    u *= np.float32(end)
    return np.minimum(u.astype(np.uint8), np.uint8(end - 1))


@final
@dataclass(frozen=True)
class Shift:
    """Out-of-domain patterns: M1' orthonormal ODR patterns of coefficient sum S_1, ODI patterns rotated in span(nu)."""

    M1: int
    M2: int
    S_1: float
    M1_test: int = 3

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
    parts = zip(*((p.index_EB3L, p.coef_EB3L, p.target_EB) for p in members), strict=True)
    axes = [p.axis_EVD for p in members if p.axis_EVD is not None]
    return Prompts(*(torch.cat(part) for part in parts), torch.cat(axes) if axes else None)
