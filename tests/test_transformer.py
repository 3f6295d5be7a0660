"""The deep Transformer against its textbook form, what its tokens see of each other, and its members in company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from textbook_gpt import state, textbook_layers
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lemmata.lab.ensemble import Params
from lemmata.lab.transformer import answer, initial_layers, layer_inputs, query_attention


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def some_weights(E: int, *, N: int = 3, H: int = 2, D: int = 8, mlp: bool = True, causal: bool = True) -> Params:
    """Weights far from their start, so that every gain, shift and bias takes part; every second member is causal."""
    first = initial_layers(np.random.default_rng(0), N=N, H=H, D=D, mlp=mlp)
    params = {name: p + 0.3 * gaussian(E, *p.shape, seed=i) for i, (name, p) in enumerate(first.items())}
    return params | {"causal": (torch.arange(E, dtype=torch.float64) % 2).unsqueeze(1)} if causal else params


def some_tokens(E: int, *, B: int = 7, L: int = 9, D: int = 8) -> tuple[Tensor, Tensor]:
    """Tokens, and which of them are present: about half, the query always."""
    present_EBL = gaussian(E, B, L, seed=98) > 0
    present_EBL[..., -1] = True
    return gaussian(E, B, L, D, seed=99), present_EBL


def log(count_EBL: Tensor, like: Tensor) -> Tensor:
    """How often tokens occur, as `log_count_EBL`."""
    return count_EBL.to(like.dtype).log()


def single(params: Params) -> Params:
    """The same weights in float32."""
    return {name: p.float() for name, p in params.items()}


# Against the textbook


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("mlp", [True, False])
@pytest.mark.parametrize(("causal", "N", "H"), [(True, 3, 2), (True, 1, 1), (False, 2, 4)])
def test_answers_and_gradients_are_the_textbooks(causal: bool, N: int, H: int, mlp: bool, absent: bool) -> None:
    params = {name: p.requires_grad_() for name, p in some_weights(2, N=N, H=H, mlp=mlp, causal=causal).items()}
    x_EBLD, present_EBL = some_tokens(2)
    x_EBLD.requires_grad_()
    # Where nobody is causal, tokens may stand for several: none to three.
    count_EBL = present_EBL * (1 if causal else 1 + torch.arange(9) % 3)
    count_EBL[..., -1] = 1
    x_EBD = answer(params, x_EBLD, log_count_EBL=log(count_EBL, x_EBLD) if absent else None)
    weight_BD = gaussian(7, 8, seed=5)
    (x_EBD * weight_BD).sum().backward()
    assert x_EBLD.grad is not None
    for e in range(2):
        layers = textbook_layers(params, e)
        x_BLD = x_EBLD[e].detach().requires_grad_()
        expected_BD = layers.answer_of_counts(x_BLD, count_EBL[e]) if absent else layers.answer(x_BLD)
        (expected_BD * weight_BD).sum().backward()
        gradients = state({name: p if p.grad is None else p.grad for name, p in params.items()}, e)
        assert (x_EBD[e] - expected_BD).abs().max() < 1e-9
        assert x_BLD.grad is not None and (x_EBLD.grad[e] - x_BLD.grad).abs().max() < 1e-9
        for name, weight in layers.named_parameters():
            assert weight.grad is not None, name
            assert (gradients[name] - weight.grad).abs().max() < 1e-9, name


def test_the_querys_attention_is_the_last_row_of_every_layers() -> None:
    params, (x_EBLD, present_EBL) = some_weights(2), some_tokens(2)
    inputs = layer_inputs(params, x_EBLD, log_count_EBL=log(present_EBL, x_EBLD))
    attns = [query_attention(*layer, log_count_EBL=log(present_EBL, x_EBLD)) for layer in inputs]
    for e in range(2):
        layers = textbook_layers(params, e)
        for b, here_L in enumerate(present_EBL[e]):
            x_BLD = x_EBLD[e, b, here_L][None]
            for n, ((_, entering_EBLD), attn_EBHL) in enumerate(zip(inputs, attns, strict=True)):
                _, attn_BHLL = layers.block(n).attention(x_BLD)
                assert (entering_EBLD[e, b, here_L] - x_BLD[0]).abs().max() < 1e-9
                assert (attn_EBHL[e, b][:, here_L] - attn_BHLL[0, :, -1]).abs().max() < 1e-9
                assert not attn_EBHL[e, b][:, ~here_L].any()
                x_BLD = layers.block(n)(x_BLD)


# What tokens see


def test_nothing_is_felt_of_absent_tokens() -> None:
    params, (x_EBLD, present_EBL) = single(some_weights(2)), some_tokens(2)
    one, other = x_EBLD.float(), (x_EBLD + (~present_EBL).unsqueeze(-1) * 100 * gaussian(2, 7, 9, 8)).float()
    assert not torch.equal(one, other)
    answers = [answer(params, t.requires_grad_(), log_count_EBL=log(present_EBL, t)) for t in (one, other)]
    assert torch.equal(*answers)
    (gradient,) = torch.autograd.grad(answers[1].square().sum(), other)
    assert not gradient[~present_EBL].any() and gradient[present_EBL].isfinite().all()


def test_causal_tokens_do_not_see_later_ones() -> None:
    params, (x_EBLD, _) = some_weights(2), some_tokens(2)
    _, long_EBLD = layer_inputs(params, x_EBLD)[-1]
    _, short_EBLD = layer_inputs(params, x_EBLD[:, :, :5])[-1]
    differ_E = (long_EBLD[:, :, :5] - short_EBLD).abs().amax((1, 2, 3))
    assert differ_E[1] < 1e-12 < 1e-3 < differ_E[0]


def test_masks_that_hide_nothing_change_nothing() -> None:
    params, (x_EBLD, present_EBL) = some_weights(2, causal=False), some_tokens(2)
    plain = answer(params, x_EBLD)
    assert torch.equal(plain, answer(params, x_EBLD, log_count_EBL=torch.zeros(present_EBL.shape)))
    assert torch.equal(plain, answer(params | {"causal": torch.zeros(2, 1)}, x_EBLD))


# First weights


def test_first_weights_are_gpt2s() -> None:
    params = initial_layers(np.random.default_rng(0), N=3, H=2, D=64)
    for name in ("W_QKV", "W_O", "W_fc", "W_proj"):
        std = 0.02 / 6**0.5 if name in ("W_O", "W_proj") else 0.02
        assert float(params[name].std()) == pytest.approx(std, rel=0.05), name
    assert all(bool((p == 0).all()) for name, p in params.items() if name.startswith(("b_", "shift_")))
    assert all(bool((p == 1).all()) for name, p in params.items() if name.startswith("gain_"))


def test_without_mlp_only_attention_writes_to_the_residual_stream() -> None:
    params = initial_layers(np.random.default_rng(0), N=3, H=2, D=64, mlp=False)
    assert float(params["W_O"].std()) == pytest.approx(0.02 / 3**0.5, rel=0.05)
    assert not {"gain_M", "shift_M", "W_fc", "b_fc", "W_proj", "b_proj"} & params.keys()


# Members in company


def gradients_of(params: Params, x_EBLD: Tensor, present_EBL: Tensor) -> Params:
    """Answers, and gradients of something of them, of the first members of an ensemble."""
    leaves = {name: p.clone().requires_grad_() for name, p in params.items() if name != "causal"}
    x_EBD = answer(leaves | {"causal": params["causal"]}, x_EBLD, log_count_EBL=log(present_EBL, x_EBLD))
    found = torch.autograd.grad(x_EBD.sin().sum(), list(leaves.values()))
    return {"answer": x_EBD.detach(), **dict(zip(leaves, found, strict=True))}


class Layouts(TorchDispatchMode):
    """How the operands of every product lie in memory, but for the first axis, which holds the members."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[object, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "mm" in str(func):
            for t in tree_leaves(args):
                if isinstance(t, Tensor):
                    axes = list(zip(t.shape, t.stride(), strict=True))[1:]
                    self.seen.append((str(func), *((size, step) for size, step in axes if size > 1)))
        return func(*args, **(kwargs or {}))


class Invariance(TorchDispatchMode):
    """Products that this CPU rounds otherwise when an eighth of them, the first, is multiplied alone."""

    def __init__(self):
        super().__init__()
        self.broken: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        whole = func(*args, **(kwargs or {}))
        tensors = [t for t in args if isinstance(t, Tensor)]
        if "bmm" in str(func) and all(len(t) % 8 == 0 for t in tensors):
            alone = func(*(t[: len(t) // 8] if isinstance(t, Tensor) else t for t in args), **(kwargs or {}))
            if not torch.equal(alone, whole[: len(alone)]):
                self.broken.append(f"{func} of {' and '.join(str(tuple(t.shape)) for t in tensors)}")
        return whole


COMPANY = [(16, 2, 8, 14), (20, 5, 12, 6), (64, 2, 1, 31), (15, 1, 5, 9), (32, 2, 17, 21)]


@pytest.mark.parametrize("mlp", [True, False])
@pytest.mark.parametrize(("D", "H", "B", "L"), COMPANY)
def test_members_are_the_same_to_the_bit_in_any_company(D: int, H: int, B: int, L: int, mlp: bool) -> None:
    params, (x_EBLD, present_EBL) = single(some_weights(8, H=H, D=D, mlp=mlp)), some_tokens(8, B=B, L=L, D=D)
    found, layouts = {}, {}
    for E in (1, 2, 3, 8):
        first = {name: p[:E] for name, p in params.items()}
        with Layouts() as recorded:
            found[E] = gradients_of(first, x_EBLD[:E].float(), present_EBL[:E])
        layouts[E] = recorded.seen
    for E in (1, 2, 3):
        # On some CPUs only does a product's rounding depend on this.
        assert layouts[E] == layouts[8]
    with Invariance() as machine:
        gradients_of(params, x_EBLD.float(), present_EBL)
    if machine.broken:
        pytest.skip(f"this CPU rounds by how many are multiplied: {machine.broken[0]}")
    for E in (1, 2, 3):
        for name, t in found[E].items():
            assert torch.equal(t, found[8][name][:E]), (E, name)
