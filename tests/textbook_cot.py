"""The one-layer network of the chain-of-thought paper as it is written down: one prompt, every column multiplied out.

    F(P) = sum_i W_V p_i attn_i,   attn_i = softmax_i( (W_K p_i)^T W_Q p_query ),   i over all columns but the query's

    symbol      meaning                                                       shape
    p_i         column (y_{i,k-1}; y_{i,k}; c_k), the query's is (z; 0; c_k)  G = 2 D + K, D = d_X
    W_Q W_K     query and key matrices, delta I at the start                  (G, G)
    W_V         value matrix, the selector (0 I 0) at the start               (D, G)

Examples are written out one by one, whatever they have in common; nothing is counted, saved or left out here, so this
is what the fast form in lemmata.cot.network and the answers in lemmata.cot.answers are held against. The gradients of
|z - F|^2 / 2 are formulas of this file, beside automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from textbook_gpt import Layers
from torch import Tensor

from lemmata.cot.data import TaskSet
from lemmata.lab.ensemble import Params

NAMES = ("W_Q", "W_K", "W_V")


@dataclass(frozen=True)
class Network:
    """The weights of one network; also their gradients."""

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor


@dataclass(frozen=True)
class Prompt:
    """One training prompt: where its examples and its query start, f_k(i), and the step asked for, from 0 on."""

    starts: list[int]
    maps: list[list[int]]
    z_0: int
    asked: int

    def path(self, start: int) -> list[int]:
        """Where an example goes that starts there."""
        states = [start]
        for f in self.maps:
            states.append(f[states[-1]])
        return states

    def moves(self) -> list[tuple[int, int, int]]:
        """All columns but the query's, as (step, state before, state after): the examples', then the query's own."""
        K = len(self.maps)
        paths = [(self.path(start), K) for start in self.starts] + [(self.path(self.z_0), self.asked)]
        return [(k, path[k], path[k + 1]) for path, steps in paths for k in range(steps)]

    @property
    def label(self) -> int:
        """The pattern that the query asks for."""
        return self.path(self.z_0)[self.asked + 1]

    def columns(self, pattern_MD: Tensor) -> Tensor:
        """The prompt, column_LG with the query last."""
        K, nothing_D = len(self.maps), torch.zeros_like(pattern_MD[0])
        found = [column(pattern_MD[i], pattern_MD[j], k, K) for k, i, j in self.moves()]
        found.append(column(pattern_MD[self.path(self.z_0)[self.asked]], nothing_D, self.asked, K))
        return torch.stack(found)


def column(x_D: Tensor, y_D: Tensor, k: int, K: int) -> Tensor:
    """(x; y; c_k), k counted from 0."""
    code_K = x_D.new_zeros(K)
    code_K[k] = 1
    return torch.cat([x_D, y_D, code_K])


# Networks


def beginning(d_X: int, K: int, delta: float) -> Network:
    """The first weights."""
    G = 2 * d_X + K
    eye_GG = torch.eye(G, dtype=torch.float64)
    return Network(delta * eye_GG, delta * eye_GG, eye_GG[d_X : 2 * d_X])


def coordinates(M: int, K: int, d_X: int) -> tuple[Tensor, Tensor]:
    """Where the fast form's coordinates lie in R^G: those of a column, and those of a query."""
    x, y, code = torch.arange(M), d_X + torch.arange(M), 2 * d_X + torch.arange(K)
    return torch.cat([x, y, code]), torch.cat([x, code])


def member(params: Params, e: int, *, d_X: int, delta: float) -> Network:
    """Member `e` of an ensemble, float64, as it was at the start in all coordinates that the fast form leaves out."""
    W_Q, W_K, W_V = (params[name][e].detach().double() for name in NAMES)
    M, K = len(W_V), W_K.shape[0] - 2 * len(W_V)
    column_D, query_Q = coordinates(M, K, d_X)
    net = beginning(d_X, K, delta)
    net.W_Q[column_D[:, None], query_Q] = W_Q
    net.W_K[column_D[:, None], column_D] = W_K
    net.W_V[torch.arange(M)[:, None], column_D] = W_V
    return net


def attention(net: Network, column_LG: Tensor) -> Tensor:
    """The query's attention on all other columns."""
    return ((column_LG[:-1] @ net.W_K.T) @ (net.W_Q @ column_LG[-1])).softmax(0)


def output(net: Network, column_LG: Tensor) -> Tensor:
    """F, (D,); 0 where there are no other columns."""
    return (attention(net, column_LG).unsqueeze(1) * (column_LG[:-1] @ net.W_V.T)).sum(0)


def loss(net: Network, columns: Sequence[Tensor], z_BD: Tensor) -> Tensor:
    """|z - F|^2 / 2, the mean over prompts."""
    F_BD = torch.stack([output(net, column_LG) for column_LG in columns])
    return (z_BD - F_BD).square().sum(1).mean() / 2


def gradients(net: Network, columns: Sequence[Tensor], z_BD: Tensor) -> Network:
    """Its gradients: with the error r = F - z and attention a, score i has the gradient a_i r . (W_V p_i - F)."""
    total = Network(*(torch.zeros_like(getattr(net, name)) for name in NAMES))
    for column_LG, z_D in zip(columns, z_BD, strict=True):
        others_LG, query_G = column_LG[:-1], column_LG[-1]
        attn_L, F_D = attention(net, column_LG), output(net, column_LG)
        r_D = (F_D - z_D) / len(columns)
        score_L = attn_L * ((others_LG @ net.W_V.T - F_D) @ r_D)
        total.W_Q.add_(torch.outer(score_L @ (others_LG @ net.W_K.T), query_G))
        total.W_K.add_(torch.outer(net.W_Q @ query_G, score_L @ others_LG))
        total.W_V.add_(torch.outer(r_D, attn_L @ others_LG))
    return total


def autograd(net: Network, columns: Sequence[Tensor], z_BD: Tensor) -> Network:
    """The same gradients by automatic differentiation of the forward formula."""
    leaves = [getattr(net, name).clone().requires_grad_() for name in NAMES]
    return Network(*torch.autograd.grad(loss(Network(*leaves), columns, z_BD), leaves))


def descend(net: Network, columns: Sequence[Tensor], z_BD: Tensor, lr: float, *, train_value: bool) -> Network:
    """One step of plain gradient descent along the formulas."""
    step = gradients(net, columns, z_BD)
    W_V = net.W_V - lr * step.W_V if train_value else net.W_V
    return Network(net.W_Q - lr * step.W_Q, net.W_K - lr * step.W_K, W_V)


# Answers to test prompts, with how much nearer the answer is than any other pattern

Answer = tuple[int, float]
# Patterns in float32 have a norm of 1 up to 1e-7.
TIE = 1e-6


def nearest(F_D: Tensor, pattern_XD: Tensor) -> Answer:
    """argmin_u |F - u|^2 / 2, the first of those that tie, and its lead over the second."""
    distance_X = (pattern_XD - F_D).square().sum(1) / 2
    first, second = distance_X.topk(2, largest=False).values.tolist()
    return int((distance_X < first + TIE).nonzero()[0]), second - first


def step_by_step(net: Network, vector_LSD: Tensor, query_D: Tensor, pattern_XD: Tensor) -> list[Answer]:
    """The chain of thought: every answer becomes the next query, and a column of the prompt."""
    K, nothing_D = vector_LSD.shape[1] - 1, torch.zeros_like(query_D)
    shown = [column(x_SD[k], x_SD[k + 1], k, K) for x_SD in vector_LSD for k in range(K)]
    answers = []
    for k in range(K):
        F_D = output(net, torch.stack([*shown, column(query_D, nothing_D, k, K)]))
        answers.append(nearest(F_D, pattern_XD))
        answer_D = pattern_XD[answers[-1][0]]
        shown.append(column(query_D, answer_D, k, K))
        query_D = answer_D
    return answers


def at_once(net: Network, vector_LSD: Tensor, query_D: Tensor, pattern_XD: Tensor) -> Answer:
    """Without steps: an example is (x; y_K) and K - 1 columns of zeros, each with its code."""
    K, nothing_D = vector_LSD.shape[1] - 1, torch.zeros_like(query_D)
    shown = []
    for x_SD in vector_LSD:
        shown.append(column(x_SD[0], x_SD[K], 0, K))
        shown += [column(nothing_D, nothing_D, k, K) for k in range(1, K)]
    return nearest(output(net, torch.stack([*shown, column(query_D, nothing_D, 0, K)])), pattern_XD)


# The deep network


def read_by_query(layers: Layers, x_LD: Tensor, query_D: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The query token after all layers and the last LayerNorm, and its attention in each, (H, L), on the others alone.

    Nobody sees the query, itself neither, so that the others go through the layers as if it were not there.
    """
    attns = []
    for n in range(len(layers.blocks)):
        block, D = layers.block(n), len(query_D)
        q_HK = block.c_attn(block.ln_1(query_D))[:D].view(block.n_head, -1)
        k_LHK, v_LHK = (t.view(len(x_LD), *q_HK.shape) for t in block.c_attn(block.ln_1(x_LD))[:, D:].split(D, 1))
        attns.append((torch.einsum("hk,lhk->hl", q_HK, k_LHK) / q_HK.shape[1] ** 0.5).softmax(1))
        query_D = query_D + block.c_proj(torch.einsum("hl,lhk->hk", attns[-1], v_LHK).flatten())
        if block.mlp:
            query_D = query_D + block.mlp_proj(torch.nn.functional.gelu(block.c_fc(block.ln_2(query_D))))
        x_LD = block(x_LD[None])[0]
    return layers.ln_f(query_D), attns


# The law of training prompts, out of the same random words, one number at a time


def drawn(rng: np.random.Generator, B: int, l: int, *, alpha: float, tasks: TaskSet) -> list[Prompt]:
    """What `lemmata.cot.data.fill` draws, as explicit examples; a word is a fraction u in [0, 1) of 32 bits."""
    K, T, _ = tasks.map_KTM.shape
    words = rng.integers(0, 2**32, (B, l + K + 2), dtype=np.uint32).tolist()
    return [_prompt([Fraction(word, 2**32) for word in row], K, T, l, alpha, tasks) for row in words]


def _prompt(u: list[Fraction], K: int, T: int, l: int, alpha: float, tasks: TaskSet) -> Prompt:
    S, start = tasks.starts, u[l + K + 1]
    if tasks.rare is None:
        z_0 = int(start * S)
    else:
        common, half = _fraction(1 - tasks.rare), S // 2
        z_0 = int(start / common * half) if start < common else half + int((start - common) / (1 - common) * half)
    others = [(z_0 + away) % S for away in range(1, S)]
    same = _fraction(alpha)
    starts = [z_0 if v < same else others[int((v - same) / (1 - same) * (S - 1))] for v in u[:l]]
    maps = [tasks.map_KTM[k, int(v * T)].tolist() for k, v in enumerate(u[l : l + K])]
    return Prompt(starts, maps, z_0, int(u[l + K] * K))


def _fraction(share: float) -> Fraction:
    return Fraction(round(share * 2**32), 2**32)
