"""Losses against their formulas and torch's own, and what counts as an error."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lemmata.lab.losses import error, hinge, logistic, squared

LOSSES = (hinge, logistic, squared, error)
finite = st.floats(-50, 50, width=32)
answers = st.lists(st.tuples(finite, st.sampled_from([-1.0, 1.0])), min_size=1, max_size=12)


def tensors(pairs):
    output, target = zip(*pairs, strict=True)
    return torch.tensor([output], dtype=torch.float64), torch.tensor([target], dtype=torch.float64)


@settings(deadline=None)
@given(answers)
def test_each_loss_is_the_mean_of_its_formula(pairs):
    output_EB, target_EB = tensors(pairs)

    def mean(formula, tolerance=1e-15):
        return pytest.approx(sum(formula(f, z) for f, z in pairs) / len(pairs), rel=1e-12, abs=tolerance)

    assert hinge(output_EB, target_EB).item() == mean(lambda f, z: max(0.0, 1 - z * f))
    # From 20 on torch takes the straight line for log(1 + exp), which leaves exp(-20) = 2e-9.
    assert logistic(output_EB, target_EB).item() == mean(
        lambda f, z: math.log1p(math.exp(-z * f)), tolerance=math.exp(-20)
    )
    assert squared(output_EB, target_EB).item() == mean(lambda f, z: (f - z) ** 2 / 2)
    assert error(output_EB, target_EB).item() == mean(lambda f, z: float(not z * f > 0))


@settings(deadline=None)
@given(answers)
def test_the_logistic_loss_is_torchs_cross_entropy(pairs):
    output_EB, target_EB = tensors(pairs)
    usual = F.binary_cross_entropy_with_logits(output_EB, (target_EB + 1) / 2)
    torch.testing.assert_close(logistic(output_EB, target_EB), usual[None])


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_one_number_a_member_and_knows_no_other_member(loss):
    generator = torch.Generator().manual_seed(0)
    output_EB, target_EB = (torch.randn(3, 50, generator=generator) for _ in range(2))
    target_EB = target_EB.sign()
    loss_E = loss(output_EB, target_EB)
    assert loss_E.shape == (3,)
    for e in range(3):
        assert loss(output_EB[e : e + 1], target_EB[e : e + 1]).item() == pytest.approx(loss_E[e].item())


def test_the_logistic_loss_neither_overflows_nor_vanishes():
    output_EB = torch.tensor([[-1e4]]), torch.tensor([[1e4]])
    assert logistic(output_EB[0], torch.ones(1, 1)).item() == 1e4
    assert logistic(output_EB[1], torch.ones(1, 1)).item() == 0.0
    assert logistic(torch.tensor([[30.0]], dtype=torch.float64), torch.ones(1, 1)).item() == pytest.approx(
        math.exp(-30)
    )


TIES = [(1e-30, 0.0), (-1e-30, 1.0), (0.0, 1.0), (math.nan, 1.0), (math.inf, 0.0)]


@pytest.mark.parametrize(("output", "wrong"), TIES)
def test_a_tie_or_a_network_that_answers_nothing_is_wrong(output, wrong):
    assert error(torch.tensor([[output]]), torch.ones(1, 1)).item() == wrong
    assert error(torch.tensor([[-output]]), -torch.ones(1, 1)).item() == wrong


@pytest.mark.parametrize("loss", [hinge, logistic, squared])
def test_a_member_without_numbers_has_no_finite_loss(loss):
    output_EB = torch.tensor([[1.0, math.nan], [1.0, 1.0]])
    assert torch.isfinite(loss(output_EB, torch.ones(2, 2))).tolist() == [False, True]


def test_the_gradient_of_the_hinge_is_that_of_the_prompts_within_the_margin():
    output_EB = torch.tensor([[2.0, 0.5, -3.0, -0.5]], requires_grad=True)
    target_EB = torch.tensor([[1.0, 1.0, 1.0, -1.0]])
    (slope_EB,) = torch.autograd.grad(hinge(output_EB, target_EB).sum(), output_EB)
    assert slope_EB.tolist() == [[0.0, -0.25, -0.25, 0.25]]
