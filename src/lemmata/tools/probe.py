"""A linear probe on a frozen model: what its features tell of the classes.

    symbol   meaning                                                                  shape
    f        features: CLS as it leaves the model, or without CLS the mean of tokens  (N, D)
    o        outputs of the probe, centred over classes                               (N, C)
    a        attention on every patch of the layers that are asked for                (N, P)

The probe is a ridge regression on standardised features with one output a class, whose penalty is chosen on the images
it is fitted with, each left out in turn. It is fitted once, on features of whole images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from scipy.special import ndtri
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from lemmata.lab.stats import Estimate
from lemmata.tools.layers import Bound, attention, tokens_of
from lemmata.tools.tokens import Sparse

__all__ = ["Observed", "Probe", "drop", "fitted", "observe"]

PENALTIES = np.logspace(-1, 6, 15)


@final
@dataclass(frozen=True, eq=False)
class Observed:
    """Features of images, and the attention of every layer that was asked for, by its number from 1."""

    feature_ND: np.ndarray
    attention: dict[int, np.ndarray]


@final
@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe."""

    model: Any

    def outputs(self, feature_ND: np.ndarray) -> np.ndarray:
        """Its outputs, (N, C), of which the largest is the class; their mean is 0."""
        output = self.model.decision_function(feature_ND)
        output_NC = np.stack([-output / 2, output / 2], 1) if output.ndim == 1 else output
        return output_NC - output_NC.mean(1, keepdims=True)

    def hits(self, feature_ND: np.ndarray, label_N: np.ndarray) -> np.ndarray:
        """Whether it is right, (N,)."""
        return self.model.predict(feature_ND) == label_N


def observe(
    bound: Bound,
    batches: Iterable[Tensor],
    *,
    layers: Sequence[int] = (),
    sparse: Sparse | None = None,
    told: Callable[[int], None] = lambda images: None,
) -> Observed:
    """Run a model on images and keep features, and attention of `layers`.

    `sparse` is what `sparsify` gives inside its context. `told` hears of every batch how many images it had.
    """
    features: list[np.ndarray] = []
    seen: dict[tuple[int, str], Tensor] = {}
    mass: dict[int, list[np.ndarray]] = {number: [] for number in layers}
    leaving: list[Tensor] = []

    def see(number: int, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            seen[number, name] = output

        return hook

    with ExitStack() as hooks, torch.no_grad():
        final = bound.final.register_forward_hook(lambda module, args, output: leaving.append(tokens_of(output)))
        hooks.callback(final.remove)
        for number in layers:
            layer = bound.layers[number - 1]
            hooks.callback(layer.query.module.register_forward_hook(see(number, "query")).remove)
            hooks.callback(layer.key.module.register_forward_hook(see(number, "key")).remove)
        for pixels in batches:
            bound.model(pixels)
            features.append(_pooled(leaving.pop(), bound.prefix, sparse).double().cpu().numpy())
            for number in layers:
                found = attention(bound.layers[number - 1], seen[number, "query"], seen[number, "key"], bound.prefix)
                mass[number].append(found.double().cpu().numpy())
            told(len(pixels))
    return Observed(np.concatenate(features), {number: np.concatenate(parts) for number, parts in mass.items()})


def fitted(feature_ND: np.ndarray, label_N: np.ndarray) -> Probe:
    """The probe of these features.

    >>> feature = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 1.0], [0.9, 1.0]])
    >>> probe = fitted(feature, np.array([0, 0, 1, 1]))
    >>> probe.hits(np.array([[0.2, 1.0], [0.8, 1.0]]), np.array([0, 1])).tolist()
    [True, True]
    """
    return Probe(make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES)).fit(feature_ND, label_N))


def drop(before_N: np.ndarray, after_N: np.ndarray) -> Estimate:
    """By how much accuracy falls, over the same images, with a 95 % interval.

    The adjusted Wald interval for paired shares: an image more is counted as lost, and one as won, so that it covers
    where few images change or none.

    Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, 479-488.

    >>> e = drop(np.array([True] * 50), np.array([True] * 50))
    >>> e.value, round(e.lo, 3), round(e.hi, 3)
    (0.0, -0.053, 0.053)
    """
    n = len(before_N)
    lost, won = int((before_N & ~after_N).sum()), int((after_N & ~before_N).sum())
    p_lost, p_won = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    middle = p_lost - p_won
    reach = float(ndtri(0.975)) * math.sqrt((p_lost + p_won - middle**2) / (n + 2))
    method = "adjusted Wald over paired images (Bonett and Price)"
    return Estimate((lost - won) / n, max(-1.0, middle - reach), min(1.0, middle + reach), n, (), method)


def _pooled(token_BTD: Tensor, prefix: int, sparse: Sparse | None) -> Tensor:
    """Features of each image."""
    if prefix:
        return token_BTD[:, 0]
    if sparse is None or sparse.size is None:
        return token_BTD.mean(1)
    return (token_BTD.float() * sparse.size[..., None]).sum(1) / sparse.size.sum(1, keepdim=True)
