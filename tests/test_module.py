"""A user's own module as an ensemble: the same numbers as training each alone with torch's own optimiser."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import pytest
import torch
from torch import Tensor, nn

from lemmata.lab.ensemble import Params, fit
from lemmata.lab.errors import InputError
from lemmata.lab.losses import squared
from lemmata.lab.module import stacked
from lemmata.lab.trainee import Trainee


def perceptron(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 1)).double()


def batch(seed: int, step: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1000 * seed + step)
    x_BD = torch.randn(16, 3, generator=rng, dtype=torch.float64)
    return x_BD, x_BD.sin().sum(-1)


class PerceptronJob:
    def __init__(self, configs: Sequence[Trainee], seeds: Sequence[int]) -> None:
        self.seeds = seeds
        self.lr_E = torch.tensor([c.lr for c in configs], dtype=torch.float64)
        self.first, self.forward = stacked([perceptron(seed) for seed in seeds])

    def params(self) -> Params:
        return self.first

    def draws(self, step: int) -> tuple[Tensor, Tensor]:
        x, z = zip(*(batch(seed, step) for seed in self.seeds), strict=True)
        return torch.stack(x), torch.stack(z)

    def loss(self, params: Params, draws: tuple[Tensor, Tensor]) -> Tensor:
        return squared(self.forward(params, draws[0]).squeeze(-1), draws[1])


@final
@dataclass(frozen=True, kw_only=True)
class Perceptron(Trainee):
    kind = "test.perceptron"
    version = 1

    def work(self) -> float:
        return 1.0

    @classmethod
    def job(cls, configs: Sequence[Trainee], seeds: Sequence[int], device: str) -> PerceptronJob:
        return PerceptronJob(configs, seeds)


def test_members_train_as_their_modules_would_alone():
    rates = (0.05, 0.2, 0.1)
    end = fit([Perceptron(lr=lr, steps=30) for lr in rates], [3, 4, 5])
    for e, (lr, seed) in enumerate(zip(rates, (3, 4, 5), strict=True)):
        module = perceptron(seed)
        optimizer = torch.optim.SGD(module.parameters(), lr=lr)
        for step in range(30):
            x_BD, z_B = batch(seed, step)
            optimizer.zero_grad()
            squared(module(x_BD).squeeze(-1)[None], z_B[None]).sum().backward()
            optimizer.step()
        for name, p in module.named_parameters():
            torch.testing.assert_close(end.params[name][e], p.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("modules", [[], [nn.Linear(3, 1), nn.Linear(4, 1)]])
def test_modules_that_are_not_equal_are_refused(modules: list[nn.Module]):
    with pytest.raises(InputError, match="the same parameters"):
        stacked(modules)
