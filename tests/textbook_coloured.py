"""The networks on coloured digits and their training as a textbook writes them: one network, one task, torch.optim."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from textbook_gpt import Layers, state
from torch import Tensor, nn
from torch.nn import functional as F

from lemmata.editing.coloured import TASKS, Coloured
from lemmata.editing.digits import Batch
from lemmata.lab.ensemble import Params


def channels(pixel_BI: Tensor, red_B: Tensor) -> Tensor:
    """Images with a red and a green channel, (B, 2, side, side)."""
    side = round(pixel_BI.shape[1] ** 0.5)
    image_BCHW = pixel_BI.new_zeros(len(pixel_BI), 2, side, side)
    for b, red in enumerate(red_B.tolist()):
        image_BCHW[b, 0 if red else 1] = pixel_BI[b].view(side, side)
    return image_BCHW


class TextbookMlp(nn.Module):
    """Two hidden layers."""

    def __init__(self, weights: Params) -> None:
        super().__init__()
        self.layers = nn.ModuleList(linear(weights[f"W_{n}"], weights[f"b_{n}"]) for n in ("1", "2", "out"))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """The outputs."""
        first, second, out = self.layers
        return out(F.relu(second(F.relu(first(image_BCHW.flatten(1))))))

    def named(self) -> Params:
        """Its weights by the names of the network."""
        found = {}
        for n, layer in zip(("1", "2", "out"), self.layers, strict=True):
            assert isinstance(layer, nn.Linear)
            found |= {f"W_{n}": layer.weight.T, f"b_{n}": layer.bias}
        return found


class TextbookVit(nn.Module):
    """Patches by a convolution, one more token to read the answer off, pre-LayerNorm layers."""

    def __init__(self, weights: Params) -> None:
        super().__init__()
        rows, width = weights["W_in"].shape
        n_layer, _, _, n_head, _ = weights["W_QKV"].shape
        p = round((rows / 2) ** 0.5)
        self.patches = nn.Conv2d(2, width, p, stride=p, bias=False, dtype=weights["W_in"].dtype)
        self.patches.weight.data.copy_(weights["W_in"].T.reshape(width, 2, p, p))
        self.positions = nn.Parameter(weights["pos"].clone())
        self.layers = Layers(width, n_layer, n_head, causal=False, mlp=True).to(weights["W_in"].dtype)
        others = ("W_in", "pos", "W_out", "b_out")
        self.layers.load_state_dict(state({n: p[None] for n, p in weights.items() if n not in others}, 0))
        self.out = linear(weights["W_out"], weights["b_out"])

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """The outputs."""
        token_BLD = self.patches(image_BCHW).flatten(2).transpose(1, 2) + self.positions[:-1]
        last_B1D = self.positions[-1].expand(len(token_BLD), 1, -1)
        return self.out(self.layers.answer(torch.cat([token_BLD, last_B1D], 1)))

    def named(self) -> Params:
        """Its weights outside of the layers, by the names of the network."""
        W_in = self.patches.weight.flatten(1).T
        return {"W_in": W_in, "pos": self.positions, "W_out": self.out.weight.T, "b_out": self.out.bias}


Network = TextbookMlp | TextbookVit


def linear(W: Tensor, b: Tensor) -> nn.Linear:
    """x W + b."""
    layer = nn.Linear(W.shape[0], W.shape[1], dtype=W.dtype)
    layer.weight.data.copy_(W.T)
    layer.bias.data.copy_(b)
    return layer


def textbook(config: Coloured, weights: Params) -> Network:
    """The textbook network with these weights, without the member axis."""
    return TextbookMlp(weights) if config.kind.endswith("mlp") else TextbookVit(weights)


def one_loss(network: Network, batch: Batch, task: int) -> Tensor:
    """The mean loss of the first member's batch for one task."""
    output_BO = network(channels(batch.pixel_ETBI[0, task], batch.red_ETB[0, task]))
    if batch.asks == "digits":
        return F.cross_entropy(output_BO[:, :10], batch.digit_ETB[0, task])
    even_B = batch.digit_ETB[0, task] % 2 == 0
    yes_B = batch.red_ETB[0, task] == 1 if batch.asks == "colour" else even_B
    return F.binary_cross_entropy_with_logits(output_BO[:, 10], yes_B.to(output_BO.dtype))


def trained(
    config: Coloured,
    weights: Params,
    draws: Callable[[int], Batch],
    optimizer: Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer],
) -> tuple[Network, list[Network]]:
    """The network after pre-training, and the fine-tuned network of each task."""

    def descend(network: Network, steps: range, task: int) -> Network:
        network = copy.deepcopy(network)
        mover = optimizer(list(network.parameters()))
        for step in steps:
            mover.zero_grad()
            one_loss(network, draws(step), task).backward()
            mover.step()
        return network

    before = descend(textbook(config, weights), range(config.pre_steps), 0)
    return before, [descend(before, range(config.pre_steps, config.total), t) for t in range(len(TASKS))]
