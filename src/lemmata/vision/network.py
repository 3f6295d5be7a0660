"""The one-layer vision transformer of Li et al. (ICLR 2023, arXiv 2302.06015), trained on a fixed set of samples.

    F(X) = (1/L) sum_l a^T relu( W_O W_V sum_s x_s attn_sl ),   attn_sl = softmax_s( (W_K x_s)^T W_Q x_l )

    symbol   meaning                                                              shape
    x_l      token l of L, a noisy pattern                                        (d,), d = M
    W_Q W_K  w0 I + delta N(0, 1/d) at the start; 0 for ever where uniform        (d, d)
    W_V      an orthogonal matrix + sigma N(0, 1/d) at the start                  (d, d)
    W_O      N(0, xi^2) at the start                                              (m, d)
    a        readout, +1/sqrt(m) or -1/sqrt(m), half each, fixed                  (m,)

With uniform attention it is the convolutional network that the paper compares with. Without noise equal tokens attend
alike and are attended alike: a sample is one query a pattern, whose logit adds the logarithm of the pattern's share.
That is exact over whole trajectories (tests/test_vision_network.py, against the textbook form in
tests/textbook_vision.py).

Shapes: E members, B samples, P = E B, T patterns of a sample, L tokens, X = B T or B L, m neurons, d coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lemmata.lab.counts import attend_counts
from lemmata.lab.ensemble import Job, Params, Phase
from lemmata.lab.errors import ConstantError
from lemmata.lab.job import HingeJob
from lemmata.lab.patterns import orthonormal
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, Value, constant
from lemmata.vision.data import (
    POLICIES,
    Samples,
    Shares,
    Tokens,
    draw_counts,
    moved,
    picked,
    split,
    stacked,
    taken,
    thinned,
    tokens_of,
)

__all__ = ["OneLayer", "attention", "forward"]

# As far as a share of tokens may be off what was asked for: then another condition would be judged under its name.
ROUNDED = 0.05


def attention(params: Params, samples: Samples) -> Tensor:
    """What each query attends to: attn_EBTT on patterns, weighted by their shares, or attn_EBLL on tokens.

    Rows are queries; those of patterns that a sample has not are 0.
    """
    if isinstance(samples, Tokens):
        E, B, L, d = samples.token_EBLd.shape
        x_EXd = samples.token_EBLd.reshape(E, B * L, d)
        query_PLd, key_PLd = (
            torch.bmm(x_EXd, params[name].transpose(1, 2)).view(E * B, L, d) for name in ("W_Q", "W_K")
        )
        return F.softmax(torch.bmm(query_PLd, key_PLd.transpose(1, 2)), -1).view(E, B, L, L)
    score_Edd = params["W_Q"].transpose(1, 2) @ params["W_K"]
    pattern_EBT = samples.pattern_EBT
    E, B, T = pattern_EBT.shape
    pair_EBTT = pattern_EBT.unsqueeze(3) * score_Edd.shape[-1] + pattern_EBT.unsqueeze(2)
    score_EBTT = score_Edd.flatten(1).gather(1, pair_EBTT.view(E, -1)).view(E, B, T, T)
    return attend_counts(score_EBTT, samples.share_EBT.unsqueeze(2))


def forward(params: Params, samples: Samples) -> Tensor:
    """The outputs of the members on their samples, output_EB; the sign is the answer."""
    attn = attention(params, samples)
    row_Edm = (params["W_O"] @ params["W_V"]).transpose(1, 2)
    a_Em1 = params["a"].unsqueeze(-1)
    if isinstance(samples, Tokens):
        E, B, L, d = samples.token_EBLd.shape
        pooled_PLd = torch.bmm(attn.view(E * B, L, L), samples.token_EBLd.reshape(E * B, L, d))
        hidden_EXm = torch.bmm(pooled_PLd.view(E, B * L, d), row_Edm).relu()
        return torch.bmm(hidden_EXm, a_Em1).view(E, B, L).mean(-1)
    E, B, T = samples.share_EBT.shape
    d = row_Edm.shape[1]
    attn_EBTd = attn.new_zeros(E, B, T, d).scatter(3, samples.pattern_EBT.unsqueeze(2).expand(-1, -1, T, -1), attn)
    hidden_EXm = (attn_EBTd.view(E, B * T, d) @ row_Edm).relu()
    return ((hidden_EXm @ a_Em1).view(E, B, T) * samples.share_EBT).sum(-1)


@final
@dataclass(frozen=True, kw_only=True)
class OneLayer(Trainee):
    """The network with W_Q, W_K, W_V and W_O trained by gradient descent on the hinge loss of a fixed set of samples.

    >>> net = OneLayer(steps=2, m=8).train(seeds=[0])
    >>> {name: tuple(p.shape) for name, p in net.params.items() if name != "a"}
    {'W_Q': (1, 20, 20), 'W_K': (1, 20, 20), 'W_V': (1, 20, 20), 'W_O': (1, 8, 20)}
    """

    kind: ClassVar[str] = "vision.one-layer"
    version: ClassVar[int] = 2
    together: ClassVar[int] = 16
    most: ClassVar[int] = 64

    lr: float = constant(0.2, "learning rate eta", origin="chosen", room="training", low=0)
    mult: float = constant(
        15.0, "learning rate of W_Q and W_K over eta", origin="chosen", room="training", low=0, shape=True
    )
    B: int = constant(20, "samples in a batch", origin="chosen", room="training", low=1, shape=True)
    N: int = constant(100, "training samples", origin="given", room="data", low=2)
    alpha_s: float = constant(
        0.3, "share of label-relevant tokens, alpha_*", origin="given", room="data", low=0, high=1
    )
    ratio: float = constant(0.1, "confusion over relevant tokens, alpha_#/alpha_*", origin="chosen", room="data", low=0)
    L: int = constant(200, "tokens in a sample", origin="chosen", room="data", low=2, shape=True)
    M: int = constant(20, "patterns, and coordinates of a token", origin="chosen", room="data", low=3, shape=True)
    mixing: int = constant(4, "irrelevant patterns in one sample", origin="chosen", room="data", low=1, shape=True)
    tau: float = constant(0.0, "token noise, a coordinate", origin="given", room="data", low=0)
    noisy: int = constant(0, "tokens that have the noise tau_noisy", origin="chosen", room="data", low=0)
    tau_noisy: float = constant(0.5, "noise of these, a coordinate", origin="chosen", room="data", low=0)
    removed: int = constant(
        0, "tokens that are removed from every sample", origin="given", room="data", low=0, shape=True
    )
    policy: str = constant("random", "which tokens are", origin="given", room="data", choices=POLICIES)
    tokens: bool = constant(
        False, "samples are kept token by token, with or without noise", origin="chosen", room="data", shape=True
    )
    m: int = constant(40, "neurons, rows of W_O", origin="chosen", room="network", low=2, shape=True)
    attention: str = constant(
        "trained", "attention", origin="given", room="network", choices=("trained", "uniform"), shape=True
    )
    w0: float = constant(1.0, "W_Q = W_K = w0 I at the start", origin="chosen", room="network")
    delta: float = constant(0.1, "initial error of W_Q and W_K", origin="given", room="network", low=0)
    sigma: float = constant(0.1, "initial error of W_V", origin="given", room="network", low=0)
    xi: float = constant(0.01, "W_O ~ N(0, xi^2) at the start", origin="chosen", room="network", low=0)

    def validate(self) -> None:
        """A sample needs a majority, room for it, and as many tokens of a kind as are removed."""
        if self.mixing > self.M - 2:
            expected = f"at most M - 2 = {self.M - 2} irrelevant patterns in a sample"
            raise ConstantError(expected, f"mixing = {self.mixing}", "raise M, or lower mixing")
        right, wrong = self.counts
        if not (wrong < right and right + wrong <= self.L):
            expected = f"more relevant tokens than confusion tokens, and no more of both than L = {self.L}"
            raise ConstantError(expected, f"{right} and {wrong}", "raise alpha_s, or lower ratio")
        asked, asked_wrong = self.alpha_s * self.L, self.ratio * self.alpha_s * self.L
        if abs(right - asked) > ROUNDED * asked or abs(wrong - asked_wrong) > 4 * ROUNDED * asked_wrong:
            expected = f"tokens that are whole to {ROUNDED:.0%} (relevant) and {4 * ROUNDED:.0%} (confusion)"
            raise ConstantError(expected, f"{asked:g} and {asked_wrong:g} of {self.L}", "raise L, or change the shares")
        noise = (self.tau > 0 or self.noisy > 0 or self.removed > 0) and not self.tokens
        if noise:
            got = f"tau = {self.tau:g}, noisy = {self.noisy}, removed = {self.removed}"
            raise ConstantError("tokens = true where tokens have noise or are removed", got, "set tokens to true")
        if self.policy == "noisy" and self.removed and not self.tau_noisy > self.tau:
            got = f"tau_noisy = {self.tau_noisy:g}, tau = {self.tau:g}"
            raise ConstantError("noisy tokens with more noise than the others", got, "raise tau_noisy, or lower tau")
        there = {"random": self.L - 1, "irrelevant": self.L - right - wrong, "noisy": self.noisy}[self.policy]
        if self.noisy > self.L:
            raise ConstantError(
                f"at most L = {self.L} noisy tokens", f"noisy = {self.noisy}", "lower noisy, or raise L"
            )
        if self.removed > there:
            expected = f"at most {there} tokens to remove ({self.policy})"
            raise ConstantError(expected, f"removed = {self.removed}", "remove fewer")

    @property
    def counts(self) -> tuple[int, int]:
        """Relevant and confusion tokens of a sample."""
        return round(self.alpha_s * self.L), round(self.ratio * self.alpha_s * self.L)

    def work(self) -> float:
        """Operations of all steps: scores, averages and neurons of every query, and twice that backward."""
        queries = self.L - self.removed if self.tokens else 2 + self.mixing
        each = queries * self.M * (self.m + (2 * self.M + queries if self.tokens else 0)) + queries * self.m
        return 6.0 * self.steps * (self.B * each + self.m * self.M**2 + self.M**3)

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis; the same draws whatever their sizes."""
        rng = stream("vision.weights", self.M, self.m, seed)
        d = self.M
        V_dd = orthonormal(rng, d, d)
        error_3dd = rng.standard_normal((3, d, d), dtype=np.float32) / np.float32(math.sqrt(d))
        start = self.w0 * np.eye(d, dtype=np.float32)
        found = {
            "W_Q": start + np.float32(self.delta) * error_3dd[0],
            "W_K": start + np.float32(self.delta) * error_3dd[1],
            "W_V": V_dd + np.float32(self.sigma) * error_3dd[2],
            "W_O": np.float32(self.xi) * rng.standard_normal((self.m, d), dtype=np.float32),
            "a": np.where(np.arange(self.m) < self.m // 2, 1, -1).astype(np.float32) / np.float32(math.sqrt(self.m)),
        }
        if self.attention == "uniform":
            found |= {name: np.zeros((d, d), np.float32) for name in ("W_Q", "W_K")}
        return {name: torch.from_numpy(p) for name, p in found.items()}

    def phases(self) -> tuple[Phase, ...]:
        """W_Q and W_K move `mult` times as fast, or not at all; the readout is fixed."""
        rate = 0.0 if self.attention == "uniform" else self.mult
        return (Phase(self.steps, {"a": 0.0, "W_Q": rate, "W_K": rate}),)

    def samples(self, name: str, seed: int, count: int) -> Samples:
        """`count` samples for one member (E = 1), a function of the data's constants, the name and the seed.

        Those that are thinned are the same samples whatever is removed from them.
        """
        rng = stream(name, self._unthinned(), seed)
        right, wrong = self.counts
        drawn = draw_counts(rng, count, L=self.L, M=self.M, mixing=self.mixing, right=right, wrong=wrong)
        pattern_BT, count_BT, label_B = drawn
        label_EB = torch.from_numpy(label_B)[None]
        if not self.tokens:
            share_BT = (count_BT / self.L).astype(np.float32)
            return Shares(torch.from_numpy(pattern_BT)[None], torch.from_numpy(share_BT)[None], label_EB)
        noisy_BL = rng.random((count, self.L)).argsort(1) < self.noisy
        tau_BL = np.where(noisy_BL, self.tau_noisy, self.tau)
        token_BLd, pattern_BL = tokens_of(rng, pattern_BT, count_BT, d=self.M, tau_BL=tau_BL)
        kept_BL = thinned(rng, pattern_BL, noisy_BL, removed=self.removed, policy=self.policy)
        token_BLd = np.take_along_axis(token_BLd, kept_BL[..., None], 1)
        pattern_BL = np.take_along_axis(pattern_BL, kept_BL, 1)
        return Tokens(torch.from_numpy(token_BLd)[None], torch.from_numpy(pattern_BL)[None], label_EB)

    def _unthinned(self) -> dict[str, Value]:
        return {name: value for name, value in self.axes("data").items() if name not in ("removed", "policy")}

    @classmethod
    def gap(cls, params: Params, samples: Samples) -> Tensor:
        """1 - y F at every sample of a batch, (E, B): the hinge loss where it is above 0."""
        return 1 - samples.label_EB * forward(params, samples)

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members, each on batches of its own training set, drawn with replacement."""
        B = configs[0].B
        sets = [config.samples("vision.train", seed, config.N) for config, seed in zip(configs, seeds, strict=True)]

        def block(b: int) -> list[Samples]:
            members = [
                picked(own, torch.from_numpy(stream("vision.batches", c.N, seed, b).integers(c.N, size=(1, BLOCK * B))))
                for own, c, seed in zip(sets, configs, seeds, strict=True)
            ]
            return split(moved(stacked(members), device), B)

        return HingeJob(configs, seeds, device, gap=cls.gap, take=taken, draws=Blocks(block))
