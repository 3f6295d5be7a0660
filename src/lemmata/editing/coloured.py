"""Networks that are fine-tuned on coloured digits from one pre-training: constants, draws and loss.

After the experiments on coloured MNIST of Li et al. (ICLR 2025, arXiv 2504.10957), whose fractions of colours and
whose training are not on their slides, so that they are chosen here.

    symbol    meaning                                                                    shape
    T         tasks, TASKS below: parity of the digit, with a colour cue each
    F         outputs of a network: 10 logits of the digit, then one whose sign is the   (O,), O = 11
              answer to a question with two answers, parity or colour
    Psi^(0)   weights after the pre-training on ten digits in random colours             "base.NAME"
    Delta_t   what fine-tuning on task t adds                                            "delta.NAME"

Two phases. Pre-training moves the base with cross-entropy on the digit, or with logistic loss on another question.
Fine-tuning moves the task vectors with logistic loss on parity, each on images and colours of its own. Draws of the
fine-tuning do not depend on how long the pre-training was, nor on what it asked.

Shapes: E members, T tasks, B samples, I pixels, O outputs, G networks: a member's weights for each task or edit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from lemmata.editing import vectors
from lemmata.editing.digits import DATASETS, QUESTIONS, Batch, Question, draw, images, split
from lemmata.lab.ensemble import Job, Params, Phase
from lemmata.lab.job import StackedJob
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, constant

__all__ = ["OUTPUTS", "TASKS", "Coloured", "nets"]

# Table A edits the first with one of the next three. Table B reaches the last from "irrelevant", whose digits it
# shares, and "contradictory", whose colours are the opposite of its own.
TASKS = ("first", "aligned", "irrelevant", "contradictory", "outside")
OUTPUTS = 11


def _cue(default: float, meaning: str) -> float:
    return constant(default, f"colour cue of {meaning}", origin="chosen", room="data", low=-1, high=1)


@dataclass(frozen=True, kw_only=True)
class Coloured(Trainee):
    """Pre-training, then fine-tuning on five tasks side by side; a subclass brings the network."""

    lr: float = constant(0.2, "learning rate eta", origin="chosen", room="training", low=0)
    steps: int = constant(300, "gradient steps of fine-tuning", origin="chosen", room="training", low=0, shape=True)
    B: int = constant(64, "samples in a batch", origin="chosen", room="data", low=1, shape=True)
    dataset: str = constant(
        "digits", "scikit-learn's digits or MNIST", origin="chosen", room="data", choices=DATASETS, shape=True
    )
    pretraining: str = constant(
        "digits", "what is learned first", origin="chosen", room="training", choices=("none", *QUESTIONS), shape=True
    )
    pre_ratio: float = constant(
        1.0, "steps of pre-training for one of fine-tuning", origin="chosen", room="training", low=0, shape=True
    )
    cue_first: float = _cue(0.9, "T1")
    cue_aligned: float = _cue(0.7, "the aligned T2")
    cue_irrelevant: float = _cue(0.0, "the irrelevant T2, and of T1 in Table B")
    cue_contradictory: float = _cue(-0.9, "the contradictory T2, and of T2 in Table B")
    cue_outside: float = _cue(0.8, "T' in Table B")

    @property
    def pre_steps(self) -> int:
        """Gradient steps of the pre-training."""
        return 0 if self.pretraining == "none" else round(self.pre_ratio * self.steps)

    @property
    def total(self) -> int:
        """Gradient steps of both phases."""
        return self.pre_steps + self.steps

    @property
    def cues(self) -> tuple[float, ...]:
        """The colour cues of TASKS, in their order."""
        return tuple(getattr(self, f"cue_{task}") for task in TASKS)

    @abstractmethod
    def initial(self, seed: int) -> Params:
        """The network's first weights."""

    @abstractmethod
    def operations(self) -> float:
        """Floating-point operations of one forward pass of one sample, about."""

    @staticmethod
    @abstractmethod
    def outputs(weights: Params, pixel_GBI: Tensor, red_GB: Tensor) -> Tensor:
        """The outputs F of G networks on coloured digits of their own, output_GBO."""

    def weights(self, seed: int) -> Params:
        """The first weights of one member: the network's, and task vectors of zero."""
        return vectors.start(self.initial(seed), len(TASKS))

    def phases(self) -> tuple[Phase, ...]:
        """The base moves, then the task vectors."""
        names = list(self.weights(0))
        before = Phase(self.pre_steps, vectors.frozen(names, "delta"))
        return (*([before] if self.pre_steps else []), Phase(self.steps, vectors.frozen(names, "base")))

    def work(self) -> float:
        """Forward, and twice that backward, in all steps."""
        return 3.0 * self.operations() * self.B * (self.pre_steps + len(TASKS) * self.steps)

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members."""
        return StackedJob(configs, seeds, device, loss=cls.loss, draws=_draws(configs, seeds, device))

    @classmethod
    def loss(cls, params: Params, batch: Batch) -> Tensor:
        """The sum over tasks of the mean loss of a batch, (E,); a batch with one task is of the pre-training."""
        E, T, B, I = batch.pixel_ETBI.shape
        base_ET = {name: p.unsqueeze(1) for name, p in vectors.base(params).items()}
        weights_ET = base_ET if T == 1 else vectors.fine_tuned(params)
        pixel_GBI, red_GB = batch.pixel_ETBI.view(E * T, B, I), batch.red_ETB.view(E * T, B)
        output_GBO = cls.outputs(nets(weights_ET), pixel_GBI, red_GB)
        if batch.asks == "digits":
            logit_GBC, answer_ETB = output_GBO[..., :-1], batch.digit_ETB
        else:
            # The logistic loss as that of two classes: row by row, a member's numbers round alike in any company.
            output_GB, answer_ETB = output_GBO[..., -1], (batch.sign_ETB > 0).long()
            logit_GBC = torch.stack([torch.zeros_like(output_GB), output_GB], -1)
        loss_GB = F.cross_entropy(logit_GBC.flatten(0, 1), answer_ETB.flatten(), reduction="none")
        return loss_GB.view(E, T, B).mean(-1).sum(-1)


def nets(weights: Params) -> Params:
    """Weights of members for each task or edit, (E, T, ...), as those of G = E T networks, (G, ...).

    >>> nets({"W": torch.zeros(2, 3, 4)})["W"].shape
    torch.Size([6, 4])
    """
    return {name: p.flatten(0, 1) for name, p in weights.items()}


def _draws(configs: Sequence[Coloured], seeds: Sequence[int], device: str) -> Blocks[Batch]:
    """The batches of each step of both phases, as `Job.draws` wants them."""
    first = configs[0]
    found = images(first.dataset)
    pools = [split(first.dataset, seed).training for seed in seeds]
    members = list(zip(configs, seeds, strict=True))

    def blocks(name: str, cue_ET: Tensor, asks: Question) -> Blocks[Batch]:
        def block(b: int) -> list[Batch]:
            rngs = [stream(name, config.axes("data"), seed, b) for config, seed in members]
            batches = draw(rngs, found, pools, cue_ET, asks=asks, steps=BLOCK, B=first.B)
            return [batch.to(device) for batch in batches]

        return Blocks(block)

    question: Question = "digits"
    for name in QUESTIONS:
        question = name if name == first.pretraining else question
    before = blocks("editing.pretraining", torch.zeros(len(configs), 1), question)
    after = blocks("editing.fine-tuning", torch.tensor([config.cues for config in configs]), "parity")

    def both(b: int) -> list[Batch]:
        steps = range(b * BLOCK, (b + 1) * BLOCK)
        return [before(s) if s < first.pre_steps else after(s - first.pre_steps) for s in steps]

    return Blocks(both)
