"""The graph transformer on sampled nodes as its formula reads, one node and one sampled node at a time, float64."""

from __future__ import annotations

import torch
from torch import Tensor


def output(params: dict[str, Tensor], feature_NC: Tensor, node: int, keys: list[tuple[int, int]], *, own: bool):
    """F of one node; keys are pairs of a sampled node and the place of its distance."""

    def hidden(n: int) -> Tensor:
        return torch.relu(feature_NC[n] @ params["W_in"] + params["b_in"])

    read = [hidden(node)] if own else []
    weights = torch.zeros(0, dtype=torch.float64)
    if "W_V" in params:
        scores = torch.zeros(len(keys), dtype=torch.float64)
        for i, (key, hop) in enumerate(keys):
            if "W_Q" in params:
                query, asked = hidden(node) @ params["W_Q"], hidden(key) @ params["W_K"]
                scores[i] = query @ asked / len(query) ** 0.5
            if "bias" in params:
                scores[i] = scores[i] + params["bias"][hop]
        weights = torch.exp(scores) / torch.exp(scores).sum() if keys else scores
        width = params["W_V"].shape[0]
        pooled = sum(
            (w * (hidden(k) @ params["W_V"]) for w, (k, _) in zip(weights, keys, strict=True)),
            torch.zeros(width, dtype=torch.float64),
        )
        read.append(pooled)
    inner = torch.relu(torch.cat(read) @ params["W_1"] + params["b_1"])
    return inner @ params["W_2"] + params["b_2"], weights
