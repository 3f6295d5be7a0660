"""A small GPT-2 on the same prompts: the second architecture of Li et al. (ICML 2024, arXiv 2402.15607).

    x   = W_in^T p_s + W_pos[s]                                  a column is a token, s = 0 .. l, the query at s = l
    F   = w_out . answer(x)                                      the Transformer of lemmata.lab.transformer

    symbol             meaning                                                    shape
    W_in               read-in: what a pattern axis and the label become          (V + 1, D)
    W_pos              learned positions, absent without                          (S, D), S = l_tr + 1
    w_out              read-out of the query token                                (D)
    causal             1 where columns see the earlier ones only; never trained   (1)
    all others         of the layers and the last LayerNorm                       lemmata.lab.transformer

First weights are GPT-2's. Neither read-in nor read-out has a bias: positions and LayerNorm shifts hold what it would
add. (Tests: tests/test_icl_gpt.py, against the textbook form in tests/textbook_gpt.py.)

The columns come in coordinates on the pattern axes. Under any rotation of the inputs the rows of the read-in that they
meet are the same Gaussian, so the first weights, the untrained network and its first gradient have the same
distribution whichever orthonormal patterns there are. Plain gradient descent would keep this for good; Adam, which
scales every entry of W_in by its own gradients, does not: these members are those whose patterns are the axes.

Shapes: E members, B prompts, L = l + 1 columns, V patterns, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.icl.data import TASK_SETS, Prompts
from lemmata.icl.prompting import Prompting
from lemmata.lab.ensemble import Adam, Params, Phase
from lemmata.lab.errors import ConstantError
from lemmata.lab.streams import stream
from lemmata.lab.trainee import constant
from lemmata.lab.transformer import answer, check_heads, initial_layers

__all__ = ["SmallGPT", "forward", "initial", "read_in"]


def forward(params: Params, prompts: Prompts) -> Tensor:
    """The network's output F, output_EB; its sign is the answer.

    Raises:
        ConstantError: a network with learned positions is asked for a length that it was not trained up to.

    >>> net = SmallGPT(steps=1, width=16, B=4).train()
    >>> from lemmata.icl.testing import TestSet
    >>> forward(net.params, TestSet(l=8, alpha=0.8, prompts=5).ensemble(net)).shape
    torch.Size([1, 5])
    """
    # Sums rather than a product with a vector, whose last bits depend on how many members there are.
    return (answer(params, read_in(params, prompts)) * params["w_out"].unsqueeze(1)).sum(-1)


def read_in(params: Params, prompts: Prompts) -> Tensor:
    """The columns as tokens, x_EBLD."""
    W_in_EVD = params["W_in"]
    E, B, L = prompts.idr_EBL.shape
    V = W_in_EVD.shape[1] - 1 if prompts.axis_EVD is None else prompts.axis_EVD.shape[1]
    x_EBLD = (prompts.columns(V).view(E, B * L, -1) @ W_in_EVD).view(E, B, L, -1)
    if "W_pos" not in params:
        return x_EBLD
    S = params["W_pos"].shape[1]
    if S < L:
        expected = f"prompts of at most l_tr = {S - 1} examples, for which positions were learned"
        fix = "ask for shorter prompts, train with a larger l_tr, or with positions=False"
        raise ConstantError(expected, f"l = {L - 1}", fix)
    return x_EBLD + params["W_pos"][:, None, :L]


def initial(rng: np.random.Generator, *, V: int, S: int, N: int, H: int, D: int, causal: bool) -> Params:
    """First weights of one member, without the member axis; S = 0: no positions."""

    def gaussian(*shape: int) -> Tensor:
        return torch.from_numpy(np.float32(0.02) * rng.standard_normal(shape, dtype=np.float32))

    return {
        "W_in": gaussian(V + 1, D),
        **({"W_pos": gaussian(S, D)} if S else {}),
        **initial_layers(rng, N=N, H=H, D=D),
        "w_out": gaussian(D),
        "causal": torch.tensor([float(causal)]),
    }


@final
@dataclass(frozen=True, kw_only=True)
class SmallGPT(Prompting):
    """The small GPT-2 trained by Adam on the hinge loss; members with and without causal attention train together.

    It trains on all tasks unless told otherwise: where (a, b) is trained and (b, a) is not, a deep network can learn to
    answer from which two patterns fill the prompt, without its labels, and then errs on (b, a).
    """

    kind: ClassVar[str] = "icl.gpt"
    version: ClassVar[int] = 2
    together: ClassVar[int] = 3

    lr: float = constant(3e-4, "learning rate of Adam", origin="chosen", room="training", low=0)
    steps: int = constant(800, "gradient steps T", origin="chosen", room="training", low=0, shape=True)
    l_min: int = constant(
        2, "shortest training prompt, 0: all of l_tr", origin="chosen", room="data", low=0, shape=True
    )
    tasks: str = constant("all", "training tasks T_tr", origin="chosen", room="data", choices=TASK_SETS)
    B: int = constant(64, "prompts in a batch", origin="chosen", room="data", low=1, shape=True)
    n_layer: int = constant(3, "layers", origin="given", room="network", low=1, shape=True)
    n_head: int = constant(2, "attention heads in a layer", origin="given", room="network", low=1, shape=True)
    width: int = constant(64, "width of the residual stream", origin="chosen", room="network", low=2, shape=True)
    causal: bool = constant(True, "columns see the earlier ones only", origin="chosen", room="network")
    positions: bool = constant(True, "learned positions", origin="chosen", room="network", shape=True)

    def validate(self) -> None:
        """Heads share the width evenly."""
        super().validate()
        check_heads(self.width, self.n_head)

    @staticmethod
    def forward(params: Params, prompts: Prompts) -> Tensor:
        """The network's outputs F on an ensemble's prompts, output_EB."""
        return forward(params, prompts)

    def optimizer(self) -> Adam:
        """Adam, with its usual constants."""
        return Adam()

    def phases(self) -> tuple[Phase, ...]:
        """Everything moves but the mark of causal attention."""
        return (Phase(self.steps, {"causal": 0.0}),)

    def work(self) -> float:
        """The fewest operations of all steps: forward, and twice that backward."""
        D, L = self.width, 1 + (self.l_tr + (self.l_min or self.l_tr)) / 2
        column = 12 * D * D + 2 * L * D
        query = 12 * D * D + 2 * L * self.n_head * D
        return 6.0 * self.steps * self.B * (3 * L * D + (self.n_layer - 1) * L * column + query)

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""
        return initial(
            stream("icl.gpt.weights", self.axes("network"), seed),
            V=self.M1 + self.M2,
            S=self.l_tr + 1 if self.positions else 0,
            N=self.n_layer,
            H=self.n_head,
            D=self.width,
            causal=self.causal,
        )
