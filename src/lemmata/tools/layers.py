"""The layers of a vision transformer, found by what they do and not by what they are called.

    symbol   meaning                                                    shape
    X        tokens that enter a layer, and leave it                    (B, T, D)
    Q, K     queries and keys, outputs of two linear maps or of parts   (B, T, H d)
    P        patch tokens; the T - P before them are the prefix         number

Random images go through the model a few times, under hooks that see shapes and values:

    layers   the members of the longest list of modules that run once each, in order, map (B, T, D) to (B, T, D), take
             one softmax over all tokens and hold an MLP
    Q, K     the outputs of linear maps in a layer whose products are the logits of its softmax; that also tells the
             heads and the scale
    prefix   the first tokens, which are the same for every image (CLS, registers)
    final    the last module behind the layers that changes each token by itself (a norm), or the last layer

Nothing of the model is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import permutations
from typing import Any, final

import torch
from torch import Tensor, nn

from lemmata.lab.errors import InputError
from lemmata.tools.softmax import Watched

__all__ = ["Bound", "Layer", "Projection", "attention", "bind", "replaced", "tokens_of"]

# Queries of which the logits are compared, and how far they may differ, relative to their norm. In half precision it is
# this many units of rounding; other maps' products are off by about the norm itself.
QUERIES, CLOSE, UNITS = 8, 1e-3, 8
# Linear maps that a layer holds beside its queries and keys: values, output, and two of the MLP; two where one map
# makes queries, keys and values.
FEWEST_LINEAR = 4


@final
@dataclass(frozen=True)
class Projection:
    """A linear map, and which of its output columns are meant."""

    module: nn.Module
    start: int
    stop: int

    def of(self, output_BTW: Tensor) -> Tensor:
        """Its columns of the map's output."""
        return output_BTW[..., self.start : self.stop]


@final
@dataclass(frozen=True)
class Layer:
    """A layer: its module, its queries and keys, its heads, and the scale of its logits."""

    module: nn.Module
    query: Projection
    key: Projection
    heads: int
    scale: float


@final
@dataclass(frozen=True, eq=False)
class Bound:
    """A model whose layers are known.

    prefix: tokens before the patches; the first of them is called CLS. patches, width: of the images it was bound with.
    final: the module whose output are the tokens that leave the model.
    """

    model: nn.Module
    layers: tuple[Layer, ...]
    prefix: int
    patches: int
    width: int
    final: nn.Module


def bind(model: nn.Module, pixels: Tensor) -> Bound:
    """Find the layers of a vision transformer with images of the shape of `pixels`, (B, C, H, W).

    The model is run a few times, without gradients and as for evaluation; nothing of it is changed, nor the state of
    torch's generator.

    Raises:
        InputError: pixels of another shape, or a model that cannot take them, that is no transformer of this kind
            (windows, relative positions, rotated or normalised queries), whose prefix tokens are not the first, that
            takes other tokens each time, or that was compiled.
    """
    if hasattr(model, "_orig_mod"):
        fix = "pass the model that torch.compile was given, and run it uncompiled"
        raise InputError("a model as it was before torch.compile", type(model).__name__, fix)
    if pixels.ndim != 4:
        got = f"a tensor of shape {tuple(pixels.shape)}"
        raise InputError("pixels (B, C, H, W)", got, "pass a batch of images, as the model takes them")
    # A generator of its own: the user's randomness goes on as it was.
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn((2, *pixels.shape[1:]), generator=draws).to(pixels)
    with _evaluated(model), torch.no_grad(), torch.random.fork_rng():
        members = _layers(model, noise)
        _refuse_random(model, members[0], noise)
        return _matched(model, members, noise)


def attention(layer: Layer, query_BTW: Tensor, key_BTW: Tensor, prefix: int) -> Tensor:
    """Attention on every patch, (B, P), from the outputs of the two maps: the mean over heads.

    It is that of CLS, or where there is no prefix the mean over all tokens. It sums to 1 less what the prefix gets.
    """
    query, key = layer.query.of(query_BTW), layer.key.of(key_BTW)
    asking = query[:, :1] if prefix else query
    attn_BHRT = (_heads(asking, layer.heads) @ _heads(key, layer.heads).mT * layer.scale).softmax(-1)
    return attn_BHRT.mean((1, 2))[:, prefix:]


def tokens_of(output: Any) -> Tensor:
    """The tokens that leave a layer, also where it returns more beside them."""
    return output[0] if isinstance(output, tuple) else output


def replaced(output: Any, tokens: Tensor) -> Any:
    """A layer's output with other tokens."""
    return (tokens, *output[1:]) if isinstance(output, tuple) else tokens


def _heads(x_BTW: Tensor, heads: int) -> Tensor:
    """The same with the heads apart, (B, H, T, d)."""
    return x_BTW.unflatten(-1, (heads, -1)).transpose(1, 2)


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Without dropout and the like; afterwards every module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _run(model: nn.Module, pixels: Tensor) -> None:
    try:
        model(pixels)
    except InputError:
        raise
    except Exception as error:
        got = f"{type(model).__name__}, which fails on {tuple(pixels.shape)}: {' '.join(str(error).split())[:200]}"
        fix = "pass a vision transformer, and images of the size that it takes"
        raise InputError("a model that takes images", got, fix) from error


def _layers(model: nn.Module, pixels: Tensor) -> list[nn.Module]:
    """The members of the longest list that look like layers."""
    shapes: dict[nn.Module, list[tuple[torch.Size | None, torch.Size | None]]] = {}
    calls: list[nn.Module] = []
    open_, attend, linear = [], {}, {}

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        open_.append(module)
        calls.append(module)
        if isinstance(module, nn.Linear):
            for holder in open_:
                linear[holder] = linear.get(holder, 0) + 1

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        open_.pop()
        shapes.setdefault(module, []).append((_shape(args), _shape(output)))

    def see(logits_HRT: Tensor) -> None:
        for module in open_:
            attend[module] = [*attend.get(module, []), logits_HRT.shape[-1]]

    with ExitStack() as hooks:
        for module in model.modules():
            hooks.callback(module.register_forward_pre_hook(enter).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        with Watched(see, queries=QUERIES):
            _run(model, pixels[:1])

    def alike(members: list[nn.Module]) -> bool:
        entered = [shapes.get(member, []) for member in members]
        first = entered[0][0][0] if entered and entered[0] else None
        return (
            first is not None
            and len(first) == 3
            and all(found == [(first, first)] for found in entered)
            and all(attend.get(member) == [first[1]] for member in members)
            and all(linear.get(member, 0) >= FEWEST_LINEAR for member in members)
            and sorted(members, key=calls.index) == members
        )

    lists = [list(module) for module in model.modules() if isinstance(module, (nn.ModuleList, nn.Sequential))]
    if found := [members for members in lists if alike(members)]:
        return max(found, key=len)
    fix = "use a ViT or DINOv2: every layer attends from all tokens to all, and changes no shape"
    raise InputError("a list of layers, each with self-attention and an MLP", type(model).__name__, fix)


def _refuse_random(model: nn.Module, first: nn.Module, pixels: Tensor) -> None:
    """Refuse a model that masks or shuffles tokens at random: what is said of a patch would be of another each time."""
    entered: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    try:
        for _ in range(2):
            _run(model, pixels)
    finally:
        hook.remove()
    if not torch.equal(*entered):
        fix = "use the encoder without its random masking"
        raise InputError("the same tokens of the same image each time", f"others in {type(model).__name__}", fix)


def _matched(model: nn.Module, members: list[nn.Module], pixels: Tensor) -> Bound:
    """The queries, keys, heads and scale of every layer; the prefix, and what comes after the last."""
    found: list[Layer] = []
    inside: list[nn.Module] = []
    outputs: list[tuple[nn.Module, Tensor]] = []
    entering: list[Tensor] = []
    leaving: list[Tensor] = []
    after: list[nn.Module] = []

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        inside.append(module)
        outputs.clear()
        if module is members[0]:
            entering.append(args[0])

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        inside.clear()
        if module is members[-1]:
            leaving.append(tokens_of(output))

    def multiply(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if inside and output.ndim == 3:
            outputs.append((module, output[:1]))

    def see(logits_HRT: Tensor) -> None:
        if inside:
            found.append(_products(inside[0], outputs, logits_HRT))

    def follow(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # From token to token, each by itself: a norm, and what does nothing in evaluation.
        if leaving and args and args[0] is leaving[-1] and _shape(output) == leaving[-1].shape:
            leaving.append(tokens_of(output))
            after.append(module)

    with ExitStack() as hooks:
        for member in members:
            hooks.callback(member.register_forward_pre_hook(enter).remove)
            hooks.callback(member.register_forward_hook(leave).remove)
        for module in model.modules():
            if isinstance(module, nn.Linear):
                hooks.callback(module.register_forward_hook(multiply).remove)
            if not list(module.children()) and all(weight.ndim <= 1 for weight in module.parameters()):
                hooks.callback(module.register_forward_hook(follow).remove)
        with Watched(see, queries=QUERIES):
            _run(model, pixels)
    # The same for two images of noise: these tokens do not come from the image.
    same_T = (entering[0][0] == entering[0][1]).all(-1)
    prefix = int(same_T.int().argmin())
    tokens, width = entering[0].shape[1:]
    if same_T.sum() != prefix or prefix == tokens:
        got = f"{int(same_T.sum())} of {tokens} tokens that are the same for every image, {prefix} of them at the front"
        raise InputError(
            "prefix tokens, then patch tokens", got, "use a model with CLS and registers before the patches"
        )
    final = after[-1] if after else members[-1]
    return Bound(model, tuple(found), prefix, tokens - prefix, width, final)


def _products(layer: nn.Module, outputs: list[tuple[nn.Module, Tensor]], logits_HRT: Tensor) -> Layer:
    """The two projections whose products are these logits."""
    heads, rows, _ = logits_HRT.shape
    parts = [(Projection(module, start, stop), part) for module, out in outputs for start, stop, part in _parts(out)]
    for (query, asking), (key, asked) in permutations(parts, 2):
        if asking.shape != asked.shape or asking.shape[-1] % heads:
            continue
        product_HRT = (_heads(asking[:, :rows], heads) @ _heads(asked, heads).mT)[0]
        # Least squares in float64: what differs is rounding.
        a, b = product_HRT.double().flatten(), logits_HRT.double().flatten()
        scale = float(a @ b / (a @ a)) if a.any() else 0.0
        close = max(CLOSE, UNITS * torch.finfo(logits_HRT.dtype).eps * (logits_HRT.dtype != torch.float32))
        if scale > 0 and (b - scale * a).norm() <= close * b.norm():
            return Layer(layer, query, key, heads, scale)
    fix = "use a model without relative positions, rotated or normalised queries"
    raise InputError("logits that are products of two linear maps", f"others in {type(layer).__name__}", fix)


def _parts(output: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """All of a map's output, and its thirds: one map may make queries, keys and values."""
    width = output.shape[-1]
    yield 0, width, output
    if width % 3 == 0:
        third = width // 3
        for start in (0, third, 2 * third):
            yield start, start + third, output[..., start : start + third]


def _shape(value: Any) -> torch.Size | None:
    """Of a tensor, or of the first in a tuple."""
    value = value[0] if isinstance(value, tuple) and value else value
    return value.shape if isinstance(value, Tensor) else None
