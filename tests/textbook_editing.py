"""The one-layer network of the paper on task vectors as it is written down: one sample and one token at a time.

    f(X) = (1/P) sum_l a_l^T relu( sum_s V x_s attn_sl ),   attn_sl = exp(x_s^T W x_l) / sum_r exp(x_r^T W x_l)

    symbol   meaning                                           shape
    x_l      token l of P, in all d coordinates                (d,)
    W        attention, w0 I at the start                      (d, d)
    V        values                                            (m, d)
    a_l      readout of place l; one row where all are alike   (P, m) or (1, m)

Samples are written out token by token, whatever they have in common; nothing is counted, saved or left out here, and a
network is fine-tuned on one task alone, so this is what lemmata.editing is held against. All is float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lemmata.editing.data import Counts, Samples, Tokens
from lemmata.lab.ensemble import Params
from lemmata.lab.patterns import orthonormal


@dataclass(frozen=True)
class Network:
    """The weights of one network."""

    W: Tensor
    V: Tensor
    a: Tensor


@dataclass(frozen=True)
class Sample:
    """The tokens of one sample, (P, d), and its label."""

    tokens: Tensor
    label: float


def attention(net: Network, tokens: Tensor, l: int) -> list[Tensor]:
    """What token l attends to, a number a token."""
    weights = [torch.exp(x_s @ net.W @ tokens[l]) for x_s in tokens]
    return [weight / torch.stack(weights).sum() for weight in weights]


def output(net: Network, tokens: Tensor) -> Tensor:
    """f(X)."""
    P, total = len(tokens), tokens.new_zeros(())
    for l in range(P):
        pooled_m = net.V.new_zeros(len(net.V))
        for x_s, attn in zip(tokens, attention(net, tokens, l), strict=True):
            pooled_m = pooled_m + attn * (net.V @ x_s)
        a_m = net.a[l] if len(net.a) == P else net.a[0]
        total = total + a_m @ pooled_m.clamp(min=0)
    return total / P


def loss(net: Network, samples: Sequence[Sample]) -> Tensor:
    """max(0, 1 - y f(X)), the mean over samples."""
    total = net.V.new_zeros(())
    for sample in samples:
        total = total + (1 - sample.label * output(net, sample.tokens)).clamp(min=0)
    return total / len(samples)


def accuracy(net: Network, samples: Sequence[Sample]) -> float:
    """The share of samples with y f(X) above 0."""
    return sum(sample.label * float(output(net, sample.tokens)) > 0 for sample in samples) / len(samples)


def fine_tuned(net: Network, batches: Sequence[Sequence[Sample]], lr: float) -> tuple[Network, list[float]]:
    """One fine-tuning, a batch a step of plain gradient descent on W and V; and the loss before each step."""
    losses: list[float] = []
    for samples in batches:
        W, V = (p.clone().requires_grad_() for p in (net.W, net.V))
        value = loss(Network(W, V, net.a), samples)
        losses.append(float(value.detach()))
        step_W, step_V = torch.autograd.grad(value, [W, V])
        net = Network(net.W - lr * step_W, net.V - lr * step_V, net.a)
    return net, losses


# From what lemmata.editing has


def edited(params: Params, e: int, lambdas: Sequence[float], part: str = "both") -> Network:
    """Psi^(0) + sum_t lambda_t Delta_t of member e; with part "V", W has only the first of the task vectors."""
    found: dict[str, Tensor] = {}
    for name in ("W", "V"):
        found[name] = params[f"base.{name}"][e].double()
        for t, value in enumerate(lambdas):
            if not (part == "V" and name == "W" and t > 0):
                found[name] = found[name] + value * params[f"delta.{name}"][e, t].double()
    return Network(found["W"], found["V"], params["a"][e].double())


def written_out(samples: Samples, e: int, t: int, P: int, rng: np.random.Generator) -> list[Sample]:
    """The samples of one member and task, those that are counts with their tokens in any order."""
    found: list[Sample] = []
    for b, label in enumerate(samples.label_ETB[e, t].tolist()):
        if isinstance(samples, Tokens):
            tokens = samples.token_ETBPD[e, t, b].double()
        else:
            rows: list[Tensor] = []
            for row_D, share in zip(samples.row_ETKD[e, t].double(), samples.share_ETBK[e, t, b], strict=True):
                rows += [row_D] * round(P * float(share))
            tokens = torch.stack([rows[i] for i in rng.permutation(P)])
        found.append(Sample(tokens, label))
    return found


def double(samples: Samples, P: int) -> Samples:
    """The same in float64, with shares that are whole numbers over P."""
    if isinstance(samples, Tokens):
        return Tokens(samples.token_ETBPD.double(), samples.label_ETB.double())
    share_ETBK = (samples.share_ETBK.double() * P).round() / P
    return Counts(samples.row_ETKD.double(), share_ETBK, samples.label_ETB.double())


def turn(rng: np.random.Generator, d: int) -> Tensor:
    """New axes for R^d, a column each."""
    rows = orthonormal(rng, d, d).astype(float)
    # Orthogonal to the last digit of float64.
    return torch.linalg.qr(torch.from_numpy(rows)).Q


def turned(samples: Sequence[Sample], axes_dd: Tensor) -> list[Sample]:
    """The same samples, whose coordinates are along the first of these axes, in all of R^d."""
    return [Sample(s.tokens @ axes_dd[:, : s.tokens.shape[1]].T, s.label) for s in samples]
