"""The vision paper's network as its formula reads, one sample and one token at a time, float64: the oracle of tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Network:
    """The weights of one member."""

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    W_O: Tensor
    a: Tensor

    @classmethod
    def of(cls, params: dict[str, Tensor], e: int) -> Network:
        """Member e of an ensemble."""
        return cls(**{name: p[e].detach().double().clone() for name, p in params.items()})


def attention(net: Network, token_Ld: Tensor, l: int) -> Tensor:
    """What token l attends to, (L,)."""
    query = net.W_Q @ token_Ld[l]
    scores = torch.stack([(net.W_K @ x) @ query for x in token_Ld])
    weights = torch.exp(scores - scores.max())
    return weights / weights.sum()


def output(net: Network, token_Ld: Tensor) -> Tensor:
    """F of one sample."""
    total = token_Ld.new_zeros(())
    for l in range(len(token_Ld)):
        pooled = sum(w * x for w, x in zip(attention(net, token_Ld, l), token_Ld, strict=True))
        total = total + net.a @ torch.relu(net.W_O @ (net.W_V @ pooled))
    return total / len(token_Ld)


def loss(net: Network, samples: list[tuple[Tensor, float]]) -> Tensor:
    """The mean hinge loss."""
    return torch.stack([torch.relu(1 - label * output(net, x)) for x, label in samples]).mean()


def written_out(samples, e: int, L: int) -> list[tuple[Tensor, float]]:
    """The samples of member e, token by token, whatever they are kept as."""
    found = []
    for b, label in enumerate(samples.label_EB[e].tolist()):
        if hasattr(samples, "token_EBLd"):
            tokens = samples.token_EBLd[e, b].double()
        else:
            counts = [round(share * L) for share in samples.share_EBT[e, b].tolist()]
            assert sum(counts) == L
            eye = torch.eye(int(samples.pattern_EBT.max()) + 1 + L, dtype=torch.float64)
            patterns = samples.pattern_EBT[e, b].tolist()
            tokens = torch.stack([eye[p] for p, n in zip(patterns, counts, strict=True) for _ in range(n)])
        found.append((tokens, label))
    return found


def trained(net: Network, batches, lr: float, mult: float) -> Network:
    """After plain gradient descent, W_Q and W_K at mult times the rate, the readout fixed."""
    for batch in batches:
        weights = {name: getattr(net, name).requires_grad_() for name in ("W_Q", "W_K", "W_V", "W_O")}
        grads = torch.autograd.grad(loss(net, batch), list(weights.values()))
        for (name, p), g in zip(weights.items(), grads, strict=True):
            rate = lr * (mult if name in ("W_Q", "W_K") else 1.0)
            setattr(net, name, (p - rate * g).detach())
    return net


def relevant_mass(net: Network, samples, e: int, L: int, relevant) -> float:
    """Attention on relevant tokens, averaged over queries and samples; relevant(b) are their places."""
    masses = []
    for b, (tokens, _) in enumerate(written_out(samples, e, L)):
        at = relevant(b)
        masses += [float(attention(net, tokens, l)[at].sum()) for l in range(len(tokens))]
    return math.fsum(masses) / len(masses)
