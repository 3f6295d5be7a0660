"""Where a model takes the softmax of its attention, whatever it calls the module that does.

    symbol   meaning                                              shape
    A        logits of attention, scale * Q K^T, before softmax   (B, H, T, T)

A model calls either scaled_dot_product_attention, with the queries and keys of every head, or softmax, with the logits.
torch tells a mode of both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Biased", "Watched"]

SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax}
# Where scaled_dot_product_attention takes the mask, if it is passed by place.
MASK = 3


class _AtSoftmax(TorchFunctionMode, ABC):
    """A mode that sees calls of attention; every other call goes on as it is."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            return self.fused(func, args, given)
        if func in SOFTMAX and args and _square(args[0]):
            return self.plain(func, args, given)
        return func(*args, **given)

    @abstractmethod
    def fused(self, func: Callable[..., Tensor], args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        """The call of scaled_dot_product_attention."""

    @abstractmethod
    def plain(self, func: Callable[..., Tensor], args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        """The call of softmax on a square of logits for every head."""


@final
class Watched(_AtSoftmax):
    """Tells `see` the logits (H, R, T) of the first image and its first R queries, at every softmax of attention.

    >>> seen = []
    >>> with Watched(seen.append, queries=2):
    ...     q = torch.ones(1, 3, 4, 5)
    ...     _ = F.scaled_dot_product_attention(q, q, q, scale=0.1)
    >>> seen[0].shape, round(float(seen[0].max()), 3)
    (torch.Size([3, 2, 4]), 0.5)
    """

    def __init__(self, see: Callable[[Tensor], None], *, queries: int) -> None:
        """So few queries that looking costs nothing."""
        super().__init__()
        self._see, self._queries = see, queries

    def fused(self, func: Callable[..., Tensor], args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        """Multiply queries and keys out and add the mask, as the function does."""
        named = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | given
        query_HRd, key_HTd, mask = named["query"][0, :, : self._queries], named["key"][0], named.get("attn_mask")
        if query_HRd.shape[0] == key_HTd.shape[0] and named["query"].shape[-2] == named["key"].shape[-2]:
            scale = query_HRd.shape[-1] ** -0.5 if given.get("scale") is None else given["scale"]
            logits_HRT = query_HRd @ key_HTd.mT * scale
            if mask is not None:
                mask_HRT = mask.expand(*named["query"].shape[:-1], key_HTd.shape[1])[0, :, : self._queries]
                logits_HRT = _masked(logits_HRT, mask_HRT)
            self._see(logits_HRT)
        return func(*args, **given)

    def plain(self, func: Callable[..., Tensor], args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        """The logits are there."""
        self._see(args[0][0, :, : self._queries])
        return func(*args, **given)


@final
class Biased(_AtSoftmax):
    """Adds `bias()`, (B, T), to the logits of every key; nothing where it is None."""

    def __init__(self, bias: Callable[[], Tensor | None]) -> None:
        """Asked at every softmax."""
        super().__init__()
        self._bias = bias

    def fused(self, func: Callable[..., Tensor], args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        """As the mask, which is added to the logits."""
        if (bias_BT := self._bias()) is None:
            return func(*args, **given)
        mask = args[MASK] if len(args) > MASK else given.get("attn_mask")
        query = args[0] if args else given["query"]
        added = bias_BT[:, None, None, :].to(query.dtype)
        if mask is not None:
            added = _masked(added, mask)
        if len(args) > MASK:
            return func(*args[:MASK], added, *args[MASK + 1 :], **given)
        return func(*args, **(given | {"attn_mask": added}))

    def plain(self, func: Callable[..., Tensor], args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        """To the logits themselves."""
        bias_BT = self._bias()
        if bias_BT is None:
            return func(*args, **given)
        return func(args[0] + bias_BT[:, None, None, :].to(args[0].dtype), *args[1:], **given)


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    """With a mask as scaled_dot_product_attention takes it: numbers to add, or where there is attention at all."""
    return logits.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else logits + mask


def _square(logits: Any) -> bool:
    return isinstance(logits, Tensor) and logits.ndim == 4 and logits.shape[-1] == logits.shape[-2]
