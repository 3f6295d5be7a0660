"""What is the same in every usual script: a loop of gradient descent, and several models on several cores."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["Script", "main"]


@final
@dataclass(frozen=True)
class Script:
    """What is a paper's own.

    draw_prompts: of a number of prompts all tensors, labels included. loss: of a network and a batch of these tensors.
    dataset: prompts drawn for a model. batch: prompts in a step.
    """

    draw_prompts: Callable[[int], tuple[Tensor, ...]]
    network: Callable[[], nn.Module]
    loss: Callable[..., Tensor]
    dataset: int
    batch: int
    learning_rate: float

    def training(self, seed: int) -> Iterator[Tensor]:
        """Train one model for as long as it is asked to; yields the loss of each step."""
        torch.manual_seed(seed)
        dataset = TensorDataset(*self.draw_prompts(self.dataset))
        loader = DataLoader(dataset, batch_size=self.batch, shuffle=True)
        network = self.network()
        optimizer = torch.optim.SGD(network.parameters(), lr=self.learning_rate)
        while True:
            for tensors in loader:
                loss = self.loss(network, *tensors)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                yield loss.detach()


def train(script: Script, seed: int, steps: int) -> float:
    """The loss of one model after some steps."""
    torch.set_num_threads(1)
    losses = script.training(seed)
    return [next(losses) for _ in range(steps)][-1].item()


def main(script: Script) -> None:
    """Train some models, one after another in each of as many processes as there are cores."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    processes = min(os.cpu_count() or 1, args.models)
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        losses = pool.starmap(train, [(script, seed, args.steps) for seed in range(args.models)], chunksize=1)
    seconds = time.perf_counter() - start
    print(f"loss {sum(losses) / len(losses):.4f} after {args.steps} steps, mean over {args.models} models")
    print(f"{args.models * args.steps / seconds:.0f} steps a second over all cores, start and drawing included")
