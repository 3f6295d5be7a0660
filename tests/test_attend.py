"""Attention on columns in coordinates: both papers' maps are adjoint, and gradients are those of dense columns."""

import numpy as np
import pytest
import torch

from lemmata.cot import network as cot
from lemmata.cot.data import draw, task_set
from lemmata.icl import network as icl
from lemmata.lab.attend import attend, average


def gaussian(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape))


def icl_columns(rng, E=2, B=3, L=5, V=7):
    """Columns of the first paper as planes, and multiplied out: beta on one axis, noise on another, a label."""
    idr_EBL, idi_EBL = (torch.from_numpy(rng.integers(V, size=(E, B, L))) for _ in range(2))
    beta_E11, noise_EBL, label_EBL = gaussian(rng, E, 1, 1), gaussian(rng, E, B, L), gaussian(rng, E, B, L)
    axis_VV = torch.eye(V, dtype=torch.float64)
    pattern_EBLV = beta_E11.unsqueeze(-1) * axis_VV[idr_EBL] + noise_EBL.unsqueeze(-1) * axis_VV[idi_EBL]
    x_EBLV = torch.cat([pattern_EBLV, label_EBL.unsqueeze(-1)], -1)
    return icl._dot, icl._mix, (idr_EBL, idi_EBL, beta_E11, noise_EBL, label_EBL), x_EBLV


def cot_columns(rng, E=2, B=3, K=3, M=4):
    """Columns of the second paper: step k, a pattern, and what any map of the patterns makes of it."""
    step_EBKM = torch.from_numpy(rng.integers(M, size=(E, B, K, M)))
    axis_MM, code_KK = torch.eye(M, dtype=torch.float64), torch.eye(K, dtype=torch.float64)
    parts = axis_MM.expand(E, B, K, M, M), axis_MM[step_EBKM], code_KK[:, None].expand(E, B, K, M, K)
    return cot._dot, cot._mix, (step_EBKM,), torch.cat(parts, -1)


@pytest.fixture(params=[icl_columns, cot_columns])
def columns(request):
    """dot, mix, the planes that they take, and the same columns multiplied out."""
    return request.param(np.random.default_rng(0))


def pooled(weight_EBC, x_EBCV):
    """The sum of dense columns with a weight each."""
    return (weight_EBC.unsqueeze(-1) * x_EBCV).flatten(2, -2).sum(2)


def products(u_EBV, x_EBCV):
    """The inner product of every dense column with a vector a prompt."""
    return torch.einsum("ebv,ebcv->ebc", u_EBV, x_EBCV.flatten(2, -2)).view(x_EBCV.shape[:-1])


def test_dot_and_mix_are_those_of_the_columns_and_adjoint(columns):
    rng, (dot, mix, planes, x_EBCV) = np.random.default_rng(1), columns
    E, B, *C, V = x_EBCV.shape
    for _ in range(3):
        u_EBV, weight_EBC = gaussian(rng, E, B, V), gaussian(rng, E, B, *C)
        score_EBC, mixed_EBV = dot(u_EBV, *planes), mix(weight_EBC, V, *planes)
        torch.testing.assert_close(score_EBC, products(u_EBV, x_EBCV), rtol=0, atol=1e-12)
        torch.testing.assert_close(mixed_EBV, pooled(weight_EBC, x_EBCV), rtol=0, atol=1e-12)
        one, other = (score_EBC * weight_EBC).flatten(2).sum(2), (u_EBV * mixed_EBV).sum(2)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        assert one.abs().min() > 1e-3


@pytest.mark.parametrize("biased", [False, True])
def test_the_average_and_its_gradient_are_those_of_a_dense_softmax(columns, biased):
    rng, (dot, mix, planes, x_EBCV) = np.random.default_rng(2), columns
    E, B, *C, V = x_EBCV.shape
    bias_EBC = gaussian(rng, E, B, *C) if biased else None
    u_EBV, wanted_EBV = gaussian(rng, E, B, V).requires_grad_(), gaussian(rng, E, B, V)
    fast_EBV = average(dot, mix, u_EBV, bias_EBC, *planes)
    score_EBC = products(u_EBV, x_EBCV) + (0 if bias_EBC is None else bias_EBC)
    slow_EBV = pooled(score_EBC.flatten(2).softmax(-1).view_as(score_EBC), x_EBCV)
    torch.testing.assert_close(fast_EBV, slow_EBV, rtol=0, atol=1e-12)
    (fast,), (slow,) = (torch.autograd.grad((t * wanted_EBV).sum(), u_EBV) for t in (fast_EBV, slow_EBV))
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    assert slow.abs().max() > 1e-2
    assert torch.autograd.gradcheck(lambda u: average(dot, mix, u, bias_EBC, *planes), u_EBV)


def test_columns_that_do_not_occur_have_no_attention_and_no_gradient(columns):
    rng, (dot, mix, planes, x_EBCV) = np.random.default_rng(3), columns
    E, B, *C, V = x_EBCV.shape
    absent_EBC = torch.from_numpy(rng.random((E, B, *C)) < 0.5)
    absent_EBC.view(E, B, -1)[..., 0] = False
    bias_EBC = torch.zeros_like(absent_EBC, dtype=torch.float64).masked_fill_(absent_EBC, -torch.inf)
    u_EBV = gaussian(rng, E, B, V).requires_grad_()
    attn_EBC = attend(dot(u_EBV.detach(), *planes) + bias_EBC)
    assert not attn_EBC[absent_EBC].any() and (attn_EBC[~absent_EBC] > 0).all()
    torch.testing.assert_close(attn_EBC.flatten(2).sum(-1), torch.ones(E, B, dtype=torch.float64))
    pooled_EBV = average(dot, mix, u_EBV, bias_EBC, *planes)
    torch.testing.assert_close(pooled_EBV, pooled(attn_EBC, x_EBCV), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(pooled_EBV.square().sum(), u_EBV)
    assert gradient.isfinite().all() and gradient.abs().max() > 1e-3


def test_a_column_that_occurs_n_times_is_n_columns():
    rng, (dot, mix, planes, x_EBCV) = np.random.default_rng(4), icl_columns(np.random.default_rng(4), E=1, B=1)
    count_L = torch.tensor([3, 1, 0, 2, 5])
    u_EBV = gaussian(rng, 1, 1, x_EBCV.shape[-1])
    repeated = average(
        lambda u, x: (x @ u.unsqueeze(-1)).squeeze(-1),
        lambda w, V, x: (w.unsqueeze(2) @ x).squeeze(2),
        u_EBV,
        None,
        x_EBCV.repeat_interleave(count_L, 2),
    )
    counted = average(dot, mix, u_EBV, count_L.double().log().view(1, 1, -1), *planes)
    torch.testing.assert_close(counted, repeated, rtol=0, atol=1e-12)


def test_gradients_flow_to_the_vector_only_and_once():
    rng = np.random.default_rng(5)
    dot, mix, planes, _ = icl_columns(rng)
    planes = tuple(plane.requires_grad_() if plane.is_floating_point() else plane for plane in planes)
    u_EBV, bias_EBC = gaussian(rng, 2, 3, 8).requires_grad_(), gaussian(rng, 2, 3, 5).requires_grad_()
    pooled_EBV = average(dot, mix, u_EBV, bias_EBC, *planes)
    (gradient, *others) = torch.autograd.grad(
        pooled_EBV.square().sum(), [u_EBV, bias_EBC, *planes[2:]], create_graph=True, allow_unused=True
    )
    assert gradient is not None and others == [None] * 4
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_what_is_drawn_is_not_written_to():
    rng = np.random.default_rng(6)
    prompts = draw(rng, 5, 4, alpha=0.5, tasks=task_set("shifts", 4, 3, rng))
    before = prompts.log_count_EBKM.clone(), prompts.step_EBKM.clone()
    u_EBD = torch.randn(1, 5, 11, generator=torch.Generator().manual_seed(0)).requires_grad_()
    average(cot._dot, cot._mix, u_EBD, prompts.log_count_EBKM, prompts.step_EBKM).sum().backward()
    assert torch.equal(prompts.log_count_EBKM, before[0]) and torch.equal(prompts.step_EBKM, before[1])


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 1, 2, 3, 4)])
def test_attention_is_one_distribution_over_all_columns_of_a_prompt(shape):
    score = gaussian(np.random.default_rng(7), *shape)
    attn = attend(score)
    assert attn.shape == score.shape
    weight = score.exp()
    torch.testing.assert_close(attn, weight / weight.flatten(2).sum(-1).view(*shape[:2], *[1] * (len(shape) - 2)))
