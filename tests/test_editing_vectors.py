"""Task vectors as parameters: what starts, what is added up, and what a phase of training may move."""

import numpy as np
import pytest
import torch

from lemmata.editing.network import OneLayer
from lemmata.editing.vectors import base, deltas, edited, fine_tuned, frozen, start


def some_params(E=3, T=4, seed=0):
    """A matrix and a vector with task vectors, and something else, in float64."""
    rng = np.random.default_rng(seed)
    shapes = {"base.V": (5, 2), "base.b": (5,), "delta.V": (T, 5, 2), "delta.b": (T, 5), "a": (1, 5)}
    return {name: torch.from_numpy(rng.standard_normal((E, *shape))) for name, shape in shapes.items()}


def test_a_member_starts_from_its_weights_and_no_task_vectors():
    weights = {"V": torch.ones(5, 2, dtype=torch.float64), "b": torch.arange(5.0)}
    params = start(weights, 3)
    assert list(params) == ["base.V", "base.b", "delta.V", "delta.b"]
    assert torch.equal(params["base.V"], weights["V"]) and torch.equal(params["base.b"], weights["b"])
    assert params["delta.V"].shape == (3, 5, 2) and params["delta.V"].dtype == torch.float64
    assert params["delta.b"].shape == (3, 5) and params["delta.b"].dtype == torch.float32
    assert not params["delta.V"].any() and not params["delta.b"].any()


def test_parts_go_by_their_own_names():
    params = some_params()
    for part, found in (("base", base(params)), ("delta", deltas(params))):
        assert list(found) == ["V", "b"]
        assert all(found[name] is params[f"{part}.{name}"] for name in found)
    assert frozen(list(params), "base") == {"base.V": 0.0, "base.b": 0.0}
    assert frozen(list(params), "delta") == {"delta.V": 0.0, "delta.b": 0.0}
    assert frozen(["baseline.V", "V", "a"], "base") == {}


def test_an_edit_is_the_base_and_the_sum_of_the_task_vectors():
    params = some_params()
    coefficient_LT = torch.tensor([[1.0, 0, 0, 0], [0.5, -2.0, 0.25, 3.0], [0, 0, 0, 0]])
    weights = edited(params, coefficient_LT)
    assert list(weights) == ["V", "b"] and weights["V"].shape == (3, 3, 5, 2) and weights["b"].shape == (3, 3, 5)
    for name, found in weights.items():
        assert found.dtype == torch.float64
        for e in range(3):
            for l, lambdas in enumerate(coefficient_LT.tolist()):
                by_hand = params[f"base.{name}"][e].clone()
                for t, value in enumerate(lambdas):
                    by_hand += value * params[f"delta.{name}"][e, t]
                torch.testing.assert_close(found[e, l], by_hand, rtol=0, atol=1e-14)


def test_a_fine_tuning_is_the_edit_with_its_own_task_vector_alone():
    params = some_params()
    tuned, alone = fine_tuned(params), edited(params, torch.eye(4))
    for name, found in tuned.items():
        torch.testing.assert_close(found, alone[name], rtol=0, atol=1e-14)
        assert torch.equal(found[1, 2], params[f"base.{name}"][1] + params[f"delta.{name}"][1, 2])


@pytest.mark.parametrize("changes", [{}, {"tau": 0.3}, {"readout": "per-position", "w0": 1.0}])
def test_fine_tuning_moves_the_task_vectors_and_nothing_else(changes):
    config = OneLayer(steps=5, m=6, d=8, J=3, P=8, delta_s=0.5, delta_h=0.125, B=4, xi=0.3).replace(changes)
    params = config.train([0, 4]).params
    for e, seed in enumerate((0, 4)):
        first = config.weights(seed)
        assert first.keys() == params.keys()
        for name, p in params.items():
            if name.startswith("delta."):
                assert p[e].flatten(1).any(1).all()
            else:
                assert torch.equal(p[e], first[name])


def test_training_a_task_vector_is_training_the_weights():
    """Gradients with respect to Delta are those with respect to Psi."""
    params = some_params()
    target = {name: torch.ones_like(p) for name, p in fine_tuned(params).items()}
    delta = {name: p.clone().requires_grad_() for name, p in params.items() if name.startswith("delta.")}
    whole = {name: p.clone().requires_grad_() for name, p in fine_tuned(params).items()}

    def loss(weights):
        return torch.stack([((weights[name] - target[name]) ** 3).sum() for name in target]).sum()

    by_delta = torch.autograd.grad(loss(fine_tuned({**params, **delta})), list(delta.values()))
    by_whole = torch.autograd.grad(loss(whole), list(whole.values()))
    for one, other in zip(by_delta, by_whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)
