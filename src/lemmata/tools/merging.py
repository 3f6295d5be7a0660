"""Bipartite soft matching: tokens that are alike become one, after Bolya et al., ICLR 2023.

    symbol   meaning                                                    shape
    X        tokens                                                     (B, P, D)
    K        what they are compared by: keys, mean over heads           (B, P, d)
    s        how many patches a token stands for                        (B, P)

A round puts tokens by turns into sets A and B, the first into A. Every token of A finds the token of B whose key has
the largest cosine with its own; the r pairs with the largest cosines are merged, several of A into one of B where they
found the same. What is merged is the mean, of tokens and of keys, weighted by s. A round takes away half of the tokens
at most; if more have to go, another one follows.

Source: section 3 of arXiv 2210.09461, written from the paper. Here all rounds come after one layer, and not a few
tokens go in each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["merge"]


def merge(x_BPD: Tensor, key_BPd: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Merge tokens until `keep` are left: those tokens, (B, keep, D), and how many each stands for, (B, keep).

    The tokens left keep their order. 1 <= keep <= P.

    Source: arXiv 2210.09461, section 3.

    >>> import torch
    >>> x = torch.tensor([[[1.0], [3.0], [10.0], [20.0]]])
    >>> key = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 1.0]]])
    >>> merged, size = merge(x, key, 3)  # the first two are most alike
    >>> merged.flatten().tolist(), size.tolist()
    ([2.0, 10.0, 20.0], [[2.0, 1.0, 1.0]])
    """
    # Sums and sizes of half precision would overflow, or round, from a few hundred tokens on.
    dtype = x_BPD.dtype
    x_BPD, key_BPd = (x.to(torch.promote_types(dtype, torch.float32)) for x in (x_BPD, key_BPd))
    size_BP = x_BPD.new_ones(x_BPD.shape[:2])
    while (tokens := x_BPD.shape[1]) > keep:
        into_BP = _round(key_BPd, min(tokens - keep, tokens // 2))
        weight_BP1 = size_BP[..., None]
        total_BP1 = _summed(weight_BP1, into_BP)
        x_BPD = _summed(x_BPD * weight_BP1, into_BP) / total_BP1
        key_BPd = _summed(key_BPd * weight_BP1, into_BP) / total_BP1
        size_BP = total_BP1[..., 0]
    return x_BPD.to(dtype), size_BP


def _round(key_BPd: Tensor, count: int) -> Tensor:
    """Where every token goes, (B, P): the place, among those left, of itself or of the token it is merged into."""
    direction = normalize(key_BPd, dim=-1)
    cosine_BAb = direction[:, ::2] @ direction[:, 1::2].mT
    best_BA, partner_BA = cosine_BAb.max(-1)
    chosen_BR = best_BA.argsort(dim=-1, descending=True, stable=True)[:, :count]
    own_BP = torch.arange(key_BPd.shape[1], device=key_BPd.device).expand(key_BPd.shape[:2])
    target_BP = own_BP.scatter(1, 2 * chosen_BR, 2 * partner_BA.gather(1, chosen_BR) + 1)
    # A target is of B, and stays.
    left_BP = (target_BP == own_BP).cumsum(1) - 1
    return left_BP.gather(1, target_BP)


def _summed(x_BPD: Tensor, into_BP: Tensor) -> Tensor:
    """The sums of what goes to the same place."""
    places = int(into_BP.max()) + 1
    index = into_BP[..., None].expand_as(x_BPD)
    return x_BPD.new_zeros(len(x_BPD), places, x_BPD.shape[-1]).scatter_add(1, index, x_BPD)
