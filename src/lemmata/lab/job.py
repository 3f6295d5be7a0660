"""The jobs of ensembles whose members know their own first weights, and whose draws come in blocks of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar, final

import torch
from torch import Tensor

from lemmata.lab.ensemble import Params
from lemmata.lab.losses import hinges
from lemmata.lab.streams import Blocks

__all__ = ["HingeJob", "Member", "StackedJob"]

T = TypeVar("T")


class Member(Protocol):
    """What a trainee brings for it."""

    @property
    def lr(self) -> float:
        """Its learning rate."""
        ...

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""
        ...


class StackedJob(Generic[T]):
    """First weights, loss and draws of an ensemble: the weights of its members stacked, the rest as it is given."""

    def __init__(
        self,
        configs: Sequence[Member],
        seeds: Sequence[int],
        device: str,
        *,
        loss: Callable[[Params, T], Tensor],
        draws: Blocks[T],
    ) -> None:
        """`loss` maps parameters and the draws of one step to a number a member, (E,)."""
        self._members, self._device = list(zip(configs, seeds, strict=True)), device
        self._loss, self.draws = loss, draws
        self.lr_E = torch.tensor([config.lr for config in configs], device=device)

    def params(self) -> Params:
        """The first weights of every member."""
        members = [config.weights(seed) for config, seed in self._members]
        return {name: torch.stack([p[name] for p in members]).to(self._device) for name in members[0]}

    def loss(self, params: Params, draws: T) -> Tensor:
        """One loss a member, (E,)."""
        return self._loss(params, draws)


@final
class HingeJob(StackedJob[T]):
    """A job that trains on hinge losses, and spares itself the samples that are flat (`lemmata.lab.sparing`)."""

    def __init__(
        self,
        configs: Sequence[Member],
        seeds: Sequence[int],
        device: str,
        *,
        gap: Callable[[Params, T], Tensor],
        take: Callable[[T, Tensor, Tensor | None], T],
        draws: Blocks[T],
    ) -> None:
        """`gap` and `take` are those of `lemmata.lab.sparing.Hinged`."""
        super().__init__(configs, seeds, device, loss=lambda params, t: hinges(gap(params, t)), draws=draws)
        self.gap, self.take = gap, take
