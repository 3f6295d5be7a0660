"""GPT-2 as a textbook writes it: one network, every token through every layer, each matrix where the formula has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemmata.lab.ensemble import Params


class Block(nn.Module):
    """Pre-LayerNorm attention and, where there is one, MLP, with residuals."""

    def __init__(self, width: int, n_head: int, *, causal: bool, mlp: bool) -> None:
        super().__init__()
        self.n_head, self.causal, self.mlp = n_head, causal, mlp
        self.ln_1 = nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if mlp:
            self.ln_2 = nn.LayerNorm(width)
            self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attention(self, x_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """What attention adds, and its weights (B, H, L, L)."""
        B, L, D = x_BLD.shape
        q, k, v = (t.view(B, L, self.n_head, -1).transpose(1, 2) for t in self.c_attn(self.ln_1(x_BLD)).split(D, 2))
        scores_BHLL = q @ k.transpose(2, 3) / (D / self.n_head) ** 0.5
        if self.causal:
            scores_BHLL = scores_BHLL.masked_fill(torch.ones(L, L).triu(1).bool(), -torch.inf)
        attn_BHLL = scores_BHLL.softmax(-1)
        return self.c_proj((attn_BHLL @ v).transpose(1, 2).reshape(B, L, D)), attn_BHLL

    def forward(self, x_BLD: Tensor) -> Tensor:
        """All tokens."""
        x_BLD = x_BLD + self.attention(x_BLD)[0]
        return x_BLD + self.mlp_proj(nn.functional.gelu(self.c_fc(self.ln_2(x_BLD)))) if self.mlp else x_BLD


class Layers(nn.Module):
    """All layers and the last LayerNorm, from tokens to the query token."""

    def __init__(self, width: int, n_layer: int, n_head: int, *, causal: bool, mlp: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, n_head, causal=causal, mlp=mlp) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(width)

    def block(self, n: int) -> Block:
        """One of the layers, counted from 0."""
        found = self.blocks[n]
        assert isinstance(found, Block)
        return found

    def answer(self, x_BLD: Tensor) -> Tensor:
        """The last token after everything, x_BD."""
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self.ln_f(x_BLD)[:, -1]

    def answer_of_counts(self, x_BLD: Tensor, count_BL: Tensor) -> Tensor:
        """The same of prompts in which a token occurs so many times, one by one, since their lengths differ."""
        prompts = [x_LD.repeat_interleave(count_L, 0) for x_LD, count_L in zip(x_BLD, count_BL, strict=True)]
        return torch.cat([self.answer(x_LD[None]) for x_LD in prompts])


class TextbookGPT(Layers):
    """The whole network on columns multiplied out, prompt_BLC with C = V + 1."""

    def __init__(self, inputs: int, width: int, n_layer: int, n_head: int, positions: int, causal: bool) -> None:
        super().__init__(width, n_layer, n_head, causal=causal, mlp=True)
        self.read_in = nn.Linear(inputs, width, bias=False)
        self.wpe = nn.Embedding(positions, width) if positions else None
        self.read_out = nn.Linear(width, 1, bias=False)

    def embed(self, prompt_BLC: Tensor) -> Tensor:
        """Tokens before the first layer."""
        x_BLD = self.read_in(prompt_BLC)
        return x_BLD if self.wpe is None else x_BLD + self.wpe(torch.arange(prompt_BLC.shape[1]))

    def forward(self, prompt_BLC: Tensor) -> Tensor:
        """The answer read off the last column, output_B."""
        return self.read_out(self.answer(self.embed(prompt_BLC)))[:, 0]


def textbook_layers(params: Params, e: int) -> Layers:
    """The textbook's layers with the weights of member `e`, with the same precision."""
    _, n_layer, width, _, n_head, _ = params["W_QKV"].shape
    causal = "causal" in params and bool(params["causal"][e])
    layers = Layers(width, n_layer, n_head, causal=causal, mlp="W_fc" in params)
    layers.to(params["W_QKV"].dtype).load_state_dict(state(params, e))
    return layers


def textbook(params: Params, e: int) -> TextbookGPT:
    """The textbook network that has the weights of member `e`, with the same precision."""
    _, inputs, width = params["W_in"].shape
    _, n_layer, _, _, n_head, _ = params["W_QKV"].shape
    positions = params["W_pos"].shape[1] if "W_pos" in params else 0
    network = TextbookGPT(inputs, width, n_layer, n_head, positions, bool(params["causal"][e]))
    network.to(params["W_in"].dtype).load_state_dict(state(params, e))
    return network


def state(params: Params, e: int) -> Params:
    """Weights, or their gradients, of member `e` under the textbook's names."""
    p = {name: t[e].detach() for name, t in params.items()}
    named = {"ln_f.weight": p["gain_F"], "ln_f.bias": p["shift_F"]}
    if "W_in" in p:
        named |= {"read_in.weight": p["W_in"].T, "read_out.weight": p["w_out"][None]}
    if "W_pos" in p:
        named["wpe.weight"] = p["W_pos"]
    for n in range(p["W_O"].shape[0]):
        named |= {
            f"blocks.{n}.ln_1.weight": p["gain_A"][n],
            f"blocks.{n}.ln_1.bias": p["shift_A"][n],
            f"blocks.{n}.c_attn.weight": p["W_QKV"][n].flatten(1).T,
            f"blocks.{n}.c_attn.bias": p["b_QKV"][n].flatten(),
            f"blocks.{n}.c_proj.weight": p["W_O"][n].T,
            f"blocks.{n}.c_proj.bias": p["b_O"][n],
        }
        if "W_fc" in p:
            named |= {
                f"blocks.{n}.ln_2.weight": p["gain_M"][n],
                f"blocks.{n}.ln_2.bias": p["shift_M"][n],
                f"blocks.{n}.c_fc.weight": p["W_fc"][n].T,
                f"blocks.{n}.c_fc.bias": p["b_fc"][n],
                f"blocks.{n}.mlp_proj.weight": p["W_proj"][n].T,
                f"blocks.{n}.mlp_proj.bias": p["b_proj"][n],
            }
    return named
