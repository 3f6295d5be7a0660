"""Steps on hinge losses that spare themselves the samples without a gradient.

max(0, 1 - z F) is flat where z F > 1, and there most samples of a trained network are: after a quarter of its training
a one-layer network has a gradient at one prompt in a hundred. Where that was so in the last steps, the next one
computes a member's outputs alone, and then loss and gradient at the samples that are not flat. Those left out would
have added zeros.

What a member is spared is a function of its own outputs and not of its company, so that its numbers are too: it is
computed at LEAST samples, 2 LEAST, 4 LEAST ... or all, flat ones among them, and members with equally many together.

Shapes: E members, B samples of a step, K of which are computed.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lemmata.lab.losses import hinges

__all__ = ["Hinged", "Part", "Sparing", "places", "share_needed"]

# Samples that are computed at the least, where one is not flat.
LEAST = 16
# What a member needed is averaged over so many steps, about; below HALF of its samples it is spared the others.
MEMORY, HALF = 8, 0.5

Params = dict[str, Tensor]
# Some members, and the gradients of what is trained of them.
Part = tuple[Tensor, Sequence[Tensor]]


@runtime_checkable
class Hinged(Protocol):
    """A job whose loss is a sum of hinges: of the gaps above 0, over B."""

    def gap(self, params: Params, draws: Any) -> Tensor:
        """1 - z F at every sample: members first, samples last, and in between what has a hinge of its own."""
        ...

    def take(self, draws: Any, member_E: Tensor, at_EK: Tensor | None) -> Any:
        """The draws of these members, at all samples or at K of each."""
        ...


def places(member_E: Tensor, at_EK: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
    """The index of some members' samples, all or K of each, in a tensor that has members and samples first.

    >>> torch.arange(6).view(2, 3)[places(torch.tensor([1]), torch.tensor([[2, 0]]))].tolist()
    [[5, 3]]
    """
    return member_E if at_EK is None else (member_E.unsqueeze(1), at_EK)


def share_needed(gap: Tensor) -> Tensor:
    """The share of its samples at which each member has to be computed, share_E: none, LEAST of them, 2 LEAST ..., all.

    >>> share_needed(torch.tensor([[-1.0] * 64, [-1.0] * 63 + [0.5], [0.5] * 64])).tolist()
    [0.0, 0.25, 1.0]
    """
    return _by_flat(gap.shape[-1])[_flat(gap).sum(-1)]


class Sparing:
    """A step (params, state, draws) -> (params, loss_E) that spares members what they can be spared.

    `whole` is the step that spares nothing, and tells the gaps; `gap` is the job's, perhaps compiled; `move` makes the
    new parameters of the gradients of some members. What the members needed is kept in the optimiser's state.
    """

    def __init__(
        self,
        job: Hinged,
        trained: Sequence[str],
        whole: Callable[..., tuple[Params, Tensor, Any]],
        gap: Callable[[Params, Any], Tensor],
        move: Callable[[Params, Sequence[Part], Params], Params],
    ) -> None:
        """Nothing is known of the members yet."""
        self.job, self.trained, self.whole, self.gap, self.move = job, trained, whole, gap, move

    def __call__(self, params: Params, state: Params, draws: Any) -> tuple[Params, Tensor]:
        """Take the step."""
        needed_E = state.pop("needed", None)
        if needed_E is None:
            needed_E = torch.ones(len(next(iter(params.values()))))
        spare_E = needed_E < HALF
        if spare_E.any():
            parts, loss_E, now_E = self._gradients(params, draws, spare_E)
            new = self.move(params, parts, state)
        else:
            new, loss_E, gap = self.whole(params, state, draws)
            now_E = share_needed(gap)
        state["needed"] = needed_E.lerp(now_E, 1 / MEMORY)
        return new, loss_E

    def _gradients(self, params: Params, draws: Any, spare_E: Tensor) -> tuple[list[Part], Tensor, Tensor]:
        """Gradients, losses and shares needed; the gradients of members that are in no part are 0."""
        parts: list[Part] = []

        def compute(member_E: Tensor, at_EK: Tensor | None, share: float) -> Tensor:
            leaves = {name: p[member_E].requires_grad_(name in self.trained) for name, p in params.items()}
            gap = self.job.gap(leaves, self.job.take(draws, member_E, at_EK))
            total = (hinges(gap) * share).sum()
            parts.append((member_E, torch.autograd.grad(total, [leaves[name] for name in self.trained])))
            return gap.detach()

        def note(member_E: Tensor, gap: Tensor) -> None:
            loss_E[member_E], share_E[member_E] = hinges(gap), share_needed(gap)

        (member_E,) = spare_E.nonzero(as_tuple=True)
        with torch.no_grad():
            if len(member_E) == len(spare_E):
                gap = self.gap(params, draws)
            else:
                own = {name: p[member_E] for name, p in params.items()}
                gap = self.gap(own, self.job.take(draws, member_E, None))
        B = gap.shape[-1]
        loss_E, share_E = gap.new_zeros(len(spare_E)), torch.zeros(len(spare_E))
        note(member_E, gap)
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for i, share in enumerate(share_E[member_E].tolist()):
            if share:
                groups[round(share * B)].append(i)
        for K, some in groups.items():
            first_EK = _flat(gap[some]).to(torch.uint8).sort(stable=True, dim=-1).indices[:, :K]
            compute(member_E[some], first_EK if K < B else None, K / B)
        if len(member_E) < len(spare_E):
            (member_E,) = (~spare_E).nonzero(as_tuple=True)
            note(member_E, compute(member_E, None, 1.0))
        return parts, loss_E, share_E


@functools.cache
def _by_flat(B: int) -> Tensor:
    """The share that is needed where so many of the B samples are flat, share_F."""
    share_F = torch.ones(B + 1)
    share_F[B] = 0.0
    size = LEAST
    while 2 * size <= B:
        share_F[B - size : B].clamp_(max=size / B)
        size *= 2
    # The smaller ones come first, and stay.
    return share_F


def _flat(gap: Tensor) -> Tensor:
    """Whether every hinge is flat at each sample, flat_EB: not where one is no number, or has overflowed."""
    flat = (gap <= 0) & (gap > -math.inf)
    return flat if flat.dim() == 2 else flat.flatten(1, -2).all(1)
