"""Token sparsification of a vision transformer that is there already: Li et al., ICLR 2023.

    symbol   meaning                                                       shape
    X        tokens after the layer at which some are taken away           (B, T, D)
    P, K     patch tokens before and after: K = keep P, rounded up         numbers
    a        attention on a patch, of CLS or, without CLS, of all tokens   (B, P)

The theory says that a shallow vision transformer needs fewer samples the larger the share of label-relevant tokens is,
and that attention goes to them; so tokens without attention, and noisy ones, can go. All of them go at once, after one
layer, which has to be deep enough that its attention means something, and early enough that the layers behind it are
many: a third of the way, unless told otherwise. Positions were added before, so that a token that goes leaves no gap.

    policy      what goes
    attention   the patches with the smallest a
    merge       nothing: the patches with the most similar keys become one (lemmata.tools.merging)
    random      patches drawn at random
    noise       the patches farthest from their nearest neighbour, by the cosine of tokens: a noisy token is near no
    other

After a merge the later layers add the logarithm of its size to the logits of a merged token, so that it is attended to
as the patches were that it stands for.

Source: Theorem 1 and Proposition 2 of arXiv 2302.06015; attention as in arXiv 2202.07800, merge as in arXiv 2210.09461.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, final, get_args
from weakref import WeakSet

import torch
from torch import Tensor, nn

from lemmata.lab.errors import InputError
from lemmata.tools.layers import Bound, attention, bind, replaced, tokens_of
from lemmata.tools.merging import merge
from lemmata.tools.softmax import Biased

__all__ = ["POLICIES", "Policy", "Sparse", "default_layer", "kept", "sparsified", "sparsify"]

Policy = Literal["attention", "merge", "random", "noise"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
# First layers of models from which tokens are being taken away.
_ACTIVE: WeakSet[nn.Module] = WeakSet()
# Held while layers are looked for: two searches in one model would see each other's hooks.
_SEARCH = threading.Lock()


@final
class Sparse:
    """What was done to the last batch.

    places: of the patches that were kept, (B, K), in order; None after a merge. size: how many patches each patch token
    that is left stands for, (B, K). Both are None before the first batch, and where nothing was taken away.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.places: Tensor | None = None
        self.size: Tensor | None = None


@contextmanager
def sparsify(
    model: nn.Module,
    *,
    keep: float,
    policy: Policy = "attention",
    layer: int | None = None,
    seed: int = 0,
    pixels: Tensor | None = None,
) -> Iterator[Sparse]:
    """Run a vision transformer with a share `keep` of its patch tokens, as long as the context lasts.

    `model` takes images (B, C, H, W). After layer `layer`, counted from 1, K of P patch tokens go on; prefix tokens
    always do. `seed` is of the policy random, which draws for every image anew. `pixels` are images of the size that
    will come, to find the layers with; without them it is the size in the model's configuration. With keep = 1 outputs
    are equal to the bit. Afterwards, also after an exception, the model is exactly as it was: its hooks, weights,
    buffers and modes. The context is of the thread that entered it, and a copy of the model made inside keeps fewer
    tokens for good.

    Raises:
        InputError: a keep outside (0, 1], no such policy or layer, a model from which tokens are being taken away
            already, one whose layers cannot be found, or one that is run in another thread.

    Source: arXiv 2302.06015.

    >>> from lemmata.tools.tokens import sparsify
    >>> with sparsify(nn.Linear(1, 1), keep=0.7, pixels=torch.zeros(1, 3, 8, 8)):
    ...     pass
    Traceback (most recent call last):
    lemmata.lab.errors.InputError: expected a model that takes images
    ...
    """
    with _SEARCH:
        # Before its layers are looked for, which then would not keep their shapes.
        _refuse_nested(model)
        bound = bind(model, _usual(model) if pixels is None else pixels)
    with sparsified(bound, keep=keep, policy=policy, layer=layer, seed=seed) as sparse:
        yield sparse


@contextmanager
def sparsified(
    bound: Bound, *, keep: float, policy: Policy = "attention", layer: int | None = None, seed: int = 0
) -> Iterator[Sparse]:
    """The same for a model whose layers are known."""
    number = default_layer(bound) if layer is None else layer
    if not 0 < keep <= 1:
        fix = "name the share of patch tokens to keep, such as 0.7"
        raise InputError("a share above 0 and at most 1 to keep", f"{keep:g}", fix)
    if policy not in POLICIES:
        raise InputError(f"a policy, one of {', '.join(POLICIES)}", str(policy), "for example attention")
    if not 1 <= number < len(bound.layers):
        got = f"{number} of {len(bound.layers)}"
        raise InputError("a layer from the first to the last but one", got, "leave it out for a third of the way")
    _refuse_nested(bound.model)
    first, sparse = bound.layers[0].module, Sparse()
    with ExitStack() as hooks:
        _ACTIVE.add(first)
        hooks.callback(_ACTIVE.discard, first)
        if keep < 1:
            _install(hooks, bound, number, sparse, keep, policy, seed)
        yield sparse


def default_layer(bound: Bound) -> int:
    """The layer after which tokens go: a third of the way, rounded down, but not before the first."""
    return max(1, len(bound.layers) // 3)


def kept(keep: float, patches: int) -> int:
    """How many of so many patches stay: the share, rounded up.

    >>> kept(0.7, 10), kept(0.7, 256), kept(0.001, 16)
    (7, 180, 1)
    """
    # 0.7 x 10 is a little more than 7 in floating point, and 7 is meant.
    return max(1, math.ceil(keep * patches - 1e-9))


def _refuse_nested(model: nn.Module) -> None:
    """Refuse a model that holds, or is held by, one from which tokens are being taken away."""
    if any(module in _ACTIVE for module in model.modules()):
        fix = "leave the first context before you enter another"
        raise InputError("a model from which no tokens are taken away", "sparsify inside sparsify", fix)


def _install(
    hooks: ExitStack, bound: Bound, number: int, sparse: Sparse, keep: float, policy: Policy, seed: int
) -> None:
    """Hooks that see queries and keys of the layer, and change what leaves it."""
    layer, prefix = bound.layers[number - 1], bound.prefix
    seen: dict[str, Tensor] = {}
    draws = torch.Generator().manual_seed(seed)
    thread = threading.get_ident()

    def see(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            if threading.get_ident() != thread:
                fix = "enter sparsify in the thread that runs the model, one at a time"
                raise InputError("the thread that entered sparsify", "a run of the model in another one", fix)
            seen[name] = output

        return hook

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        tokens_BTD = tokens_of(output)
        before, patch_BPD = tokens_BTD[:, :prefix], tokens_BTD[:, prefix:]
        left = kept(keep, patch_BPD.shape[1])
        if left == patch_BPD.shape[1]:
            sparse.places = sparse.size = None
            seen.clear()
            return output
        if policy == "merge":
            key_BPd = layer.key.of(seen["key"])[:, prefix:].unflatten(-1, (layer.heads, -1)).mean(2)
            patch_BKD, sparse.size = merge(patch_BPD, key_BPd, left)
        else:
            if policy == "attention":
                worth_BP = attention(layer, seen["query"], seen["key"], prefix)
            elif policy == "random":
                worth_BP = torch.rand(patch_BPD.shape[:2], generator=draws).to(patch_BPD.device)
            else:
                worth_BP = _nearest(patch_BPD)
            sparse.places = worth_BP.argsort(dim=-1, descending=True, stable=True)[:, :left].sort(-1).values
            patch_BKD = patch_BPD.gather(1, sparse.places[..., None].expand(-1, -1, patch_BPD.shape[-1]))
            sparse.size = torch.ones_like(patch_BKD[..., 0])
        seen.clear()
        return replaced(output, torch.cat([before, patch_BKD], 1))

    hooks.callback(layer.query.module.register_forward_hook(see("query")).remove)
    hooks.callback(layer.key.module.register_forward_hook(see("key")).remove)
    hooks.callback(layer.module.register_forward_hook(leave).remove)
    if policy == "merge":
        _weigh(hooks, bound, number, sparse)


def _weigh(hooks: ExitStack, bound: Bound, number: int, sparse: Sparse) -> None:
    """Add the logarithm of sizes to the logits of the later layers."""
    inside: list[Tensor] = []

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        # An exception may have ended the last pass inside a layer.
        inside.clear()
        if sparse.size is not None:
            whole_BT = torch.cat([sparse.size.new_ones(len(sparse.size), bound.prefix), sparse.size], 1)
            inside.append(whole_BT.log())

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        inside.clear()

    for layer in bound.layers[number:]:
        hooks.callback(layer.module.register_forward_pre_hook(enter).remove)
        hooks.callback(layer.module.register_forward_hook(leave).remove)
    hooks.enter_context(Biased(lambda: inside[0] if inside else None))


def _nearest(patch_BPD: Tensor) -> Tensor:
    """The cosine of every token with its nearest neighbour, (B, P)."""
    direction = nn.functional.normalize(patch_BPD, dim=-1)
    cosine_BPP = direction @ direction.mT
    own = torch.eye(cosine_BPP.shape[-1], dtype=torch.bool, device=patch_BPD.device)
    return cosine_BPP.masked_fill(own, -2.0).max(-1).values


def _usual(model: nn.Module) -> Tensor:
    """An image of the size in a model's configuration, where it has one as transformers or timm write it."""
    config = getattr(model, "config", None)
    side, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    shape = (getattr(model, "pretrained_cfg", None) or {}).get("input_size")
    if side is not None:
        height, width = side if isinstance(side, (list, tuple)) else (side, side)
        shape = (channels, height, width)
    if shape is None:
        got = f"{type(model).__name__} without one in its configuration"
        raise InputError("the size of images", got, "pass pixels=images, a batch as the model takes it")
    like = next(model.parameters())
    return torch.zeros((1, *shape), dtype=like.dtype, device=like.device)
