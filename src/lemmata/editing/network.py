"""The one-layer attention network of Li et al. (ICLR 2025, arXiv 2504.10957), fine-tuned on several tasks at once.

    f(X) = (1/P) sum_l a_l^T relu( sum_s V x_s attn_sl ),   attn_sl = softmax_s( x_s^T W x_l )

    symbol   meaning                                                             shape
    x_l      token l of P                                                        (D,)
    W        W_K^T W_Q folded, w0 I at the start                                 (D, D)
    V        W_O W_V folded, N(0, xi^2) at the start                             (m, D)
    a_l      readout of place l, +1/sqrt(m) or -1/sqrt(m), fixed                 (m,), the same at every place or not

Savings, exact over whole trajectories (tests/test_editing_network.py, against the textbook form in
tests/textbook_editing.py): tokens of one kind attend alike and are attended alike, so that a sample without noise is
one query a kind, whose logits add the logarithm of how often a kind occurs; and coordinates outside the span of the
patterns meet zeros only, and are left out.

Shapes: E members, T tasks, B samples, P tokens, K kinds of tokens, m neurons, D coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lemmata.editing.data import Counts, Samples, Tokens, count_kinds, directions, kind_rows, stacked, taken, tokens_of
from lemmata.editing.vectors import fine_tuned, frozen, start
from lemmata.lab.counts import attend_counts
from lemmata.lab.ensemble import Job, Params, Phase
from lemmata.lab.errors import ConstantError
from lemmata.lab.job import HingeJob
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, constant

__all__ = ["OneLayer", "forward"]


def forward(weights: Params, a_EPm: Tensor, samples: Samples) -> Tensor:
    """The outputs of a network for each member and task, output_ETB.

    `weights` are W (E, T, D, D) and V (E, T, m, D); a_EPm has one place where the readout is the same at all of them.
    """
    W_ETDD, V_ETmD = weights["W"], weights["V"]
    if isinstance(samples, Tokens):
        x_ETBPD = samples.token_ETBPD
        score_ETBPP = (x_ETBPD @ W_ETDD.transpose(-1, -2).unsqueeze(2)) @ x_ETBPD.transpose(-1, -2)
        value_ETBPm = x_ETBPD @ V_ETmD.transpose(-1, -2).unsqueeze(2)
        hidden_ETBPm = (F.softmax(score_ETBPP, -1) @ value_ETBPm).relu()
        return (hidden_ETBPm * a_EPm[:, None, None]).sum(-1).mean(-1)
    row_ETKD, share_ETBK = samples.row_ETKD, samples.share_ETBK
    E, T, B, K = share_ETBK.shape
    # A row a query, its attention on the keys along the last axis.
    score_ETKK = (row_ETKD @ W_ETDD.transpose(-1, -2)) @ row_ETKD.transpose(-1, -2)
    attn_ETBKK = attend_counts(score_ETKK.unsqueeze(2), share_ETBK.unsqueeze(3))
    value_ETKm = row_ETKD @ V_ETmD.transpose(-1, -2)
    hidden = (attn_ETBKK.view(E, T, B * K, K) @ value_ETKm).relu()
    read_ETBK = (hidden @ a_EPm[:, :1].transpose(1, 2).unsqueeze(1)).view(E, T, B, K)
    return (read_ETBK * share_ETBK).sum(-1)


@final
@dataclass(frozen=True, kw_only=True)
class OneLayer(Trainee):
    """A common Psi^(0) and its fine-tunings on several tasks, each by plain gradient descent on the hinge loss.

    >>> net = OneLayer(steps=2, m=8).train(seeds=[0])
    >>> {name: tuple(p.shape) for name, p in net.params.items() if name.startswith("delta")}
    {'delta.W': (1, 2, 23, 23), 'delta.V': (1, 2, 8, 23)}
    """

    kind: ClassVar[str] = "editing.one-layer"
    version: ClassVar[int] = 2
    together: ClassVar[int] = 4

    lr: float = constant(1.0, "learning rate eta", origin="chosen", room="training", low=0)
    steps: int = constant(
        150, "gradient steps T of each fine-tuning", origin="chosen", room="training", low=0, shape=True
    )
    tasks: int = constant(2, "fine-tunings of one Psi^(0)", origin="given", room="data", low=2, high=50, shape=True)
    alpha: float = constant(0.0, "correlation of the tasks' directions", origin="given", room="data", low=-1, high=1)
    d: int = constant(30, "dimension of a token", origin="chosen", room="data", low=4, shape=True)
    P: int = constant(20, "tokens in a sample", origin="chosen", room="data", low=3, high=1000, shape=True)
    J: int = constant(20, "irrelevant patterns", origin="chosen", room="data", low=1, shape=True)
    delta_s: float = constant(
        0.4, "share of tokens along the label, delta_*", origin="chosen", room="data", low=0, high=1
    )
    delta_h: float = constant(
        0.1, "share of tokens against the label, delta_#", origin="chosen", room="data", low=0, high=1
    )
    tau: float = constant(0.0, "token noise, a coordinate", origin="chosen", room="data", low=0, shape=True)
    B: int = constant(32, "samples in a batch", origin="chosen", room="data", low=1, shape=True)
    m: int = constant(100, "neurons, rows of V", origin="chosen", room="network", low=2, shape=True)
    xi: float = constant(0.05, "V is N(0, xi^2) at the start", origin="chosen", room="network", low=0)
    w0: float = constant(0.0, "W = w0 I at the start", origin="chosen", room="network")
    readout: str = constant(
        "shared",
        "the readout a: the same at every place, or one a place",
        origin="chosen",
        room="network",
        choices=("shared", "per-position"),
        shape=True,
    )

    def validate(self) -> None:
        """Patterns must fit into their space, and a sample needs a majority and room for it."""
        span = self.tasks + 1 + self.J
        if self.d < span:
            expected, got = f"d of at least tasks + 1 + J = {span} orthogonal directions", f"d = {self.d}"
            raise ConstantError(expected, got, "raise d, or lower J")
        right, wrong = round(self.delta_s * self.P), round(self.delta_h * self.P)
        if not wrong < right <= self.P - wrong:
            expected = f"more tokens along the label than against it, and no more of both than P = {self.P}"
            raise ConstantError(expected, f"{right} and {wrong}", "raise delta_s, or lower delta_h")
        if self.tasks > 2 and not 0 <= self.alpha < 1:
            expected = f"alpha in [0, 1) for {self.tasks} tasks"
            raise ConstantError(expected, f"alpha = {self.alpha:g}", "choose alpha = 0, or tasks = 2")

    @property
    def as_tokens(self) -> bool:
        """Whether samples have to be kept token by token: with noise, or where a token's place matters."""
        return self.tau > 0 or self.readout == "per-position"

    @property
    def D(self) -> int:
        """Coordinates that take part."""
        return self.d if self.tau > 0 else self.tasks + 1 + self.J

    def work(self) -> float:
        """Operations of all steps: attention, and the neurons of every query and sample."""
        queries = self.P if self.as_tokens else 2 + self.J
        return 6.0 * self.steps * self.tasks * self.B * queries * self.m * (queries + (self.D if self.as_tokens else 2))

    def weights(self, seed: int) -> Params:
        """The first parameters of one member, without the member axis: the base, task vectors of zero, the readout."""
        rng = stream("editing.weights", self.axes("network"), seed)
        places = self.P if self.readout == "per-position" else 1
        a_Pm = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), (places, self.m)) / np.float32(np.sqrt(self.m))
        V_mD = self.xi * rng.standard_normal((self.m, self.d), dtype=np.float32)[:, : self.D]
        base = {"W": self.w0 * torch.eye(self.D), "V": torch.from_numpy(V_mD)}
        return start(base, self.tasks) | {"a": torch.from_numpy(a_Pm)}

    def phases(self) -> tuple[Phase, ...]:
        """Only the task vectors move."""
        return (Phase(self.steps, {"a": 0.0, **frozen(["base.W", "base.V"], "base")}),)

    def samples(self, rng: np.random.Generator, count: int, direction_TS: np.ndarray) -> Samples:
        """`count` samples of each of some tasks, for one member (E = 1)."""
        row_TKD = kind_rows(direction_TS, self.J, self.D)
        shares: list[Tensor] = []
        tokens: list[Tensor] = []
        labels: list[Tensor] = []
        for row_KD in row_TKD:
            count_BK, label_B = count_kinds(rng, count, P=self.P, J=self.J, delta_s=self.delta_s, delta_h=self.delta_h)
            labels.append(torch.from_numpy(label_B))
            if self.as_tokens:
                tokens.append(tokens_of(rng, count_BK, row_KD, self.tau))
            else:
                shares.append(torch.from_numpy(count_BK.astype(np.float32)) / self.P)
        label_ETB = torch.stack(labels).unsqueeze(0)
        if self.as_tokens:
            return Tokens(torch.stack(tokens).unsqueeze(0), label_ETB)
        return Counts(row_TKD.unsqueeze(0), torch.stack(shares).unsqueeze(0), label_ETB)

    @classmethod
    def gap(cls, params: Params, samples: Samples) -> Tensor:
        """1 - z F of each task's fine-tuning at its samples, (E, T, B): the hinge loss where it is above 0."""
        return 1 - samples.label_ETB * forward(fine_tuned(params), params["a"], samples)

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members, on fresh samples in every step."""
        B = configs[0].B

        def block(b: int) -> list[Samples]:
            members = [
                config.samples(
                    stream("editing.samples", config.axes("data"), seed, b),
                    BLOCK * B,
                    directions(config.tasks, config.alpha),
                )
                for config, seed in zip(configs, seeds, strict=True)
            ]
            return [step.to(device) for step in stacked(members).split(B)]

        return HingeJob(configs, seeds, device, gap=cls.gap, take=taken, draws=Blocks(block))
