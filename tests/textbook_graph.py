"""The graph paper's network as its formula reads, one node and one sampled neighbour at a time, float64: an oracle."""

from __future__ import annotations

import torch
from torch import Tensor

TRAINED = {
    "encoded": ("b", "W_Q", "W_K", "W_V", "W_O"),
    "plain": ("W_Q", "W_K", "W_V", "W_O"),
    "uniform": ("W_V", "W_O"),
}


def attention(net: dict[str, Tensor], x: Tensor, keys: list[tuple[int, Tensor]]) -> Tensor:
    """What a node with features x attends to: keys are pairs of a place of b and a neighbour's features."""
    query = net["W_Q"] @ x
    scores = torch.stack([(net["W_K"] @ key) @ query + net["b"][z] for z, key in keys])
    weights = torch.exp(scores - scores.max())
    return weights / weights.sum()


def output(net: dict[str, Tensor], x: Tensor, keys: list[tuple[int, Tensor]]) -> Tensor:
    """F of one node."""
    attn = attention(net, x, keys)
    pooled = sum(w * (net["W_V"] @ key) for w, (_, key) in zip(attn, keys, strict=True))
    return net["a"] @ torch.relu(net["W_O"] @ pooled)


def written_out(nodes, e: int) -> list[tuple[Tensor, list[tuple[int, Tensor]], float]]:
    """The nodes of member e, each with its own features and its sampled neighbours one by one."""
    eye = torch.eye(nodes.count_EBZM.shape[3], dtype=torch.float64)
    found = []
    for b, label in enumerate(nodes.label_EB[e].tolist()):
        keys = [
            (z, eye[k])
            for z, count_M in enumerate(nodes.count_EBZM[e, b].long().tolist())
            for k, count in enumerate(count_M)
            for _ in range(count)
        ]
        found.append((eye[int(nodes.pattern_EB[e, b])], keys, label))
    return found


def trained(net: dict[str, Tensor], config, batches) -> dict[str, Tensor]:
    """After plain gradient descent: W_O alone for config.first steps, then all that the network has."""
    for step, batch in enumerate(batches):
        moving = ("W_O",) if step < config.first else TRAINED[config.network]
        leaves = {name: p.clone().requires_grad_(name in moving) for name, p in net.items()}
        losses = [torch.relu(1 - label * output(leaves, x, keys)) for x, keys, label in batch]
        grads = torch.autograd.grad(torch.stack(losses).mean(), [leaves[name] for name in moving])
        rates = {"b": config.mult_b, "W_Q": config.mult, "W_K": config.mult}
        net = {name: p.detach() for name, p in leaves.items()}
        for name, g in zip(moving, grads, strict=True):
            net[name] = net[name] - config.lr * rates.get(name, 1.0) * g
    return net
