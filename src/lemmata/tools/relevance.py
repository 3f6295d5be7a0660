"""Does attention go to the tokens that matter? What the theory says of a shallow model, checked on one's own.

    symbol   meaning                                                                   shape
    r        relevance of a patch: how far the probe's output moves when it is removed (P,)
    R        the relevant patches: the fewest that carry more than half of all r, or a mask that the user gives
    m        share of the attention on patches that goes to R, for each image          (N,)

Proposition 2 says of a trained one-layer network that its attention goes to label-relevant tokens. The condition that
relevant tokens carry most of the attention, more than a half, is judged by the mean of m over images with its 95 %
interval; but where R is large, attention that knows nothing of relevance goes there too. So it is judged beside it
whether m is above the share that R has of the patches. Of a deep network nothing follows from either.

Source: Proposition 2 of arXiv 2302.06015.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lemmata.lab.stats import Estimate
from lemmata.tools.layers import Bound, replaced, tokens_of
from lemmata.tools.probe import Probe, observe

__all__ = ["HALF", "holds", "needed_share", "relevance", "relevant"]

HALF = 0.5
# Images without one token that go through the later layers at once.
AT_ONCE = 64


def relevance(
    bound: Bound,
    probe: Probe,
    pixels_1CHW: Tensor,
    layer: int,
    *,
    told: Callable[[int], None] = lambda removed: None,
) -> np.ndarray:
    """The relevance of every patch of one image, (P,): the norm of the change of the probe's centred output.

    The token is removed after layer `layer`, where `sparsify` removes it; the layers before run once for many removals.
    """
    whole_1D = observe(bound, [pixels_1CHW]).feature_ND
    parts = torch.arange(bound.patches).split(AT_ONCE)
    removed: list[np.ndarray] = []
    for part_R in parts:
        without = bound.layers[layer - 1].module.register_forward_hook(_without(bound.prefix + part_R))
        try:
            removed.append(observe(bound, [pixels_1CHW]).feature_ND)
        finally:
            without.remove()
        told(len(part_R))
    change_PC = probe.outputs(np.concatenate(removed)) - probe.outputs(whole_1D)
    return np.linalg.norm(change_PC, axis=1)


def relevant(relevance_P: np.ndarray) -> np.ndarray:
    """Which patches are relevant, (P,): the fewest that carry more than half of all relevance.

    >>> relevant(np.array([1.0, 5.0, 2.0, 1.0])).tolist()
    [False, True, False, False]
    >>> relevant(np.array([1.0, 1.0, 1.0, 1.0])).sum()
    np.int64(3)
    """
    order = np.argsort(-relevance_P, kind="stable")
    carried = np.cumsum(relevance_P[order])
    found = np.zeros(len(relevance_P), bool)
    found[order[: int((carried <= HALF * carried[-1]).sum()) + 1]] = True
    return found


def holds(mass: Estimate, excess: Estimate) -> bool | None:
    """Whether most of the attention goes to relevant tokens; None where these images do not tell.

    `excess` is m less the share that relevant tokens have of the patches: below 0 the condition does not hold, however
    large m is; above 0 m decides, more than a half or less.

    >>> most, none = Estimate(0.6, 0.55, 0.65, 8), Estimate(0.0, -0.1, 0.1, 8)
    >>> more, less = Estimate(0.2, 0.1, 0.3, 8), Estimate(-0.2, -0.3, -0.1, 8)
    >>> holds(most, more), holds(most, none), holds(most, less), holds(Estimate(0.3, 0.2, 0.4, 8), more)
    (True, None, False, False)
    """
    if mass.hi < HALF or excess.hi < 0:
        return False
    return True if mass.lo > HALF and excess.lo > 0 else None


def needed_share(attention_NP: np.ndarray, mass: float) -> tuple[float, np.ndarray]:
    """The smallest share of patches that carries so much of the attention on patches, and the whole curve, (P,).

    The patches of each image are ordered by their attention; the curve is the mean over images.

    >>> share, curve_P = needed_share(np.array([[0.1, 0.2, 0.4, 0.1], [0.4, 0.1, 0.1, 0.2]]), 0.75)
    >>> share, curve_P.round(3).tolist()
    (0.5, [0.5, 0.75, 0.875, 1.0])
    """
    ordered_NP = -np.sort(-attention_NP / attention_NP.sum(1, keepdims=True), axis=1)
    curve_P = ordered_NP.cumsum(1).mean(0)
    # Rounding may leave the last sum a little below 1.
    needed = min(int((curve_P < mass - 1e-9).sum()) + 1, len(curve_P))
    return needed / len(curve_P), curve_P


def _without(place_R: Tensor) -> Callable[..., Any]:
    """A hook that makes of one image as many as there are places, each without the token at its own."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        token_1TD = tokens_of(output)
        tokens = token_1TD.shape[1]
        all_RT = torch.arange(tokens, device=token_1TD.device).expand(len(place_R), tokens)
        left_RS = all_RT[all_RT != place_R.to(all_RT.device)[:, None]].unflatten(0, (len(place_R), tokens - 1))
        return replaced(output, token_1TD[0][left_RS])

    return hook
