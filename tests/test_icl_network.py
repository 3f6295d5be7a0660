"""The one-layer network: the paper's formulas, the folded form against the textbook form, what training keeps."""

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import textbook
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from lemmata.icl.data import Prompts, Shift, draw, stack, task_set
from lemmata.icl.network import OneLayer, attention, forward, initial, output_signs, pool, readout
from lemmata.icl.probes import same_pattern_mass
from lemmata.icl.testing import TestSet, outputs
from lemmata.lab.ensemble import fit
from lemmata.lab.losses import error, hinge
from lemmata.lab.patterns import largest_sum
from lemmata.lab.stats import error_rate_t

# Float64 against float64: what is left is rounding.
assert_exact = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def double(prompts):
    """The same prompts in float64."""
    return Prompts(
        prompts.idr_EBL,
        prompts.idi_EBL,
        prompts.noise_EBL.double(),
        prompts.label_EBL.double(),
        prompts.target_EB.double(),
        prompts.beta_E.double(),
        None if prompts.axis_EVD is None else prompts.axis_EVD.double(),
    )


def some_prompts(rng, E, B, l, *, M1=6, M2=24, alpha=0.8, kappa=0.5, beta=1.0, sums=None):
    """Prompts of E members, each with a beta of its own; out of domain where `sums` gives them an S_1."""
    members = []
    for e in range(E):
        shown = M1 if sums is None else 3
        tasks = task_set("all", shown)
        prompts = draw(rng, B, l, alpha=alpha, kappa=kappa, beta=beta + e / 4, tasks=tasks, M1=shown, M2=M2)
        members.append(prompts if sums is None else prompts.on(Shift(M1, M2, sums[e]).axes(rng)[None]))
    return double(stack(members))


def some_weights(rng, E, *, V=30, d_Y=30, m=16):
    """Weights of no particular form, with outputs of order 1 so that the hinge is active for some prompts only."""
    H, D = V + d_Y, V + 1
    shapes = {"W_Q": (D, D), "W_K": (D, D), "W_V": (H, D), "W_O": (m, H), "a": (m,)}
    params = {name: torch.from_numpy(rng.standard_normal((E, *shape))) for name, shape in shapes.items()}
    return params | {"a": params["a"] * (8 / m) / H**0.5}


def held_against(params, prompts, e, *, V, d_Y):
    """The textbook network and columns of member e."""
    net = textbook.member(params, e, d_Y=d_Y, outside=0.7)
    return net, textbook.multiplied_out(prompts, e, textbook.axes(prompts, e, V=V, d_Y=d_Y))


def assert_same(one, other, *, rtol, atol):
    for f in fields(one):
        pair = getattr(one, f.name), getattr(other, f.name)
        torch.testing.assert_close(*pair, rtol=rtol, atol=atol, msg=lambda text, name=f.name: f"{name}: {text}")


# The four formulas


@pytest.mark.parametrize("l", [0, 5, 20])
@pytest.mark.parametrize("sums", [None, [1.2]])
def test_the_four_gradient_formulas_of_the_paper_are_those_of_autograd(l, sums):
    rng = np.random.default_rng(l)
    params, prompts = some_weights(rng, 1), some_prompts(rng, 1, 64, l, sums=sums)
    net, prompt_BLH = held_against(params, prompts, 0, V=30, d_Y=30)
    z_B = prompts.target_EB[0]
    active = int((1 - z_B * textbook.output(net, prompt_BLH) > 0).sum())
    assert 0 < active < 64
    assert_same(textbook.gradients(net, prompt_BLH, z_B), textbook.autograd(net, prompt_BLH, z_B), rtol=1e-9, atol=1e-9)


def test_a_prompt_whose_hinge_is_not_active_has_no_gradient():
    rng = np.random.default_rng(0)
    params, prompts = some_weights(rng, 1), some_prompts(rng, 1, 8, 6)
    net, prompt_BLH = held_against(params, prompts, 0, V=30, d_Y=30)
    sure_B = textbook.output(net, prompt_BLH).sign()
    certain = textbook.Network(net.W_Q, net.W_K, net.W_V, net.W_O, 1e6 * net.a)
    for f in fields(net):
        assert not getattr(textbook.gradients(certain, prompt_BLH, sure_B), f.name).any()
    assert textbook.gradients(net, prompt_BLH, -sure_B).W_O.any()


# Folded against textbook


@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_the_folded_form_is_the_textbook_form_in_outputs_and_gradients(data, seed):
    rng = np.random.default_rng(seed)
    E, B, l = (data.draw(st.integers(low, high), name) for name, low, high in (("E", 1, 3), ("B", 1, 9), ("l", 0, 12)))
    M1, M2, d_Y, m = (data.draw(st.integers(*ends), str(ends)) for ends in ((4, 7), (1, 9), (1, 6), (2, 20)))
    alpha, beta = data.draw(st.floats(0.05, 1), "alpha"), data.draw(st.floats(0.1, 4), "beta")
    edge = largest_sum(3, M1)
    sums = data.draw(st.none() | st.lists(st.floats(-edge, edge), min_size=E, max_size=E), "S_1")
    V = M1 + M2
    prompts = some_prompts(rng, E, B, l, M1=M1, M2=M2, alpha=alpha, beta=beta, sums=sums)
    params = some_weights(rng, E, V=V, d_Y=d_Y, m=m)

    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    output_EB, attn_EBL = forward(leaves, prompts), attention(leaves, prompts)
    found = torch.autograd.grad(hinge(output_EB, prompts.target_EB).sum(), list(leaves.values()))
    fast = dict(zip(leaves, found, strict=True))
    for e in range(E):
        net, prompt_BLH = held_against(params, prompts, e, V=V, d_Y=d_Y)
        assert_exact(output_EB[e], textbook.output(net, prompt_BLH))
        assert_exact(attn_EBL[e], textbook.attention(net, prompt_BLH))
        slow = textbook.gradients(net, prompt_BLH, prompts.target_EB[e])
        D = V + 1
        assert_exact(fast["W_Q"][e], slow.W_Q[:D, :D])
        assert_exact(fast["W_K"][e], slow.W_K[:D, :D])
        assert_exact(fast["W_V"][e], slow.W_V[:, :D])
        assert_exact(fast["W_O"][e], slow.W_O)
        # Nothing that the fast form leaves out of W_V sees anything but zeros.
        assert not slow.W_V[:, D:].any() and not slow.W_Q[:, D:].any()


def test_the_readout_has_the_gradients_of_the_usual_form_in_all_its_parts():
    rng = np.random.default_rng(0)
    params = some_weights(rng, 2)
    point_EBD = torch.from_numpy(rng.standard_normal((2, 7, 31))).requires_grad_()
    weight_EB = torch.from_numpy(rng.standard_normal((2, 7)))
    leaves = {name: params[name].clone().requires_grad_() for name in ("W_O", "W_V", "a")}
    wanted = [point_EBD, *leaves.values()]
    usual_EB = ((point_EBD @ (leaves["W_O"] @ leaves["W_V"]).mT).relu() @ leaves["a"].unsqueeze(-1)).squeeze(-1)
    saved_EB = readout(leaves, point_EBD)
    assert_exact(saved_EB, usual_EB)
    usual = torch.autograd.grad((weight_EB * usual_EB).sum(), wanted)
    saved = torch.autograd.grad((weight_EB * saved_EB).sum(), wanted)
    for a, b in zip(saved, usual, strict=True):
        assert_exact(a, b)


def test_pooling_is_the_attention_weighted_mean_of_the_columns():
    rng = np.random.default_rng(0)
    params, prompts = some_weights(rng, 2), some_prompts(rng, 2, 5, 8, sums=[0.3, 1.4])
    pooled_EBD = pool(params, prompts)
    mean_EBD = torch.einsum("ebl,ebld->ebd", attention(params, prompts), prompts.columns(27))
    assert_exact(pooled_EBD, mean_EBD)


# Trajectories


STEPS, LR = 300, 0.5
TRAJECTORY = [
    OneLayer(d_Y=30, m=24, B=32, steps=STEPS, lr=LR),
    OneLayer(d_Y=30, m=24, B=32, steps=STEPS, lr=LR, beta=1.5, delta=0.3, alpha=0.6, tasks="all", sampler="exact"),
]


@pytest.fixture(scope="module")
def textbooks():
    """The textbook networks after 300 steps along the paper's formulas, and the losses (steps, members) they met."""
    job = OneLayer.job(TRAJECTORY, [0, 1], "cpu")
    first = job.params()
    nets = [textbook.member(first, e, d_Y=30, outside=config.delta) for e, config in enumerate(TRAJECTORY)]
    losses = np.empty((STEPS, 2))
    for step in range(STEPS):
        prompts = double(job.draws(step))
        for e, config in enumerate(TRAJECTORY):
            prompt_BLH = textbook.multiplied_out(prompts, e, textbook.axes(prompts, e, V=30, d_Y=30))
            losses[step, e] = textbook.loss(nets[e], prompt_BLH, prompts.target_EB[e])
            nets[e] = textbook.descend(nets[e], prompt_BLH, prompts.target_EB[e], config.lr)
    return nets, losses


def test_the_trajectories_are_of_learning(textbooks):
    losses = textbooks[1]
    assert (losses[:10].mean(0) > 0.9).all() and (losses[-10:].mean(0) < 0.1).all()


def test_the_folded_form_is_exact_over_300_steps(textbooks):
    job = OneLayer.job(TRAJECTORY, [0, 1], "cpu")
    params = {name: p.double() for name, p in job.params().items()}
    trained = ("W_Q", "W_K", "W_V", "W_O")
    for step in range(STEPS):
        prompts = double(job.draws(step))
        leaves = [params[name].requires_grad_() for name in trained]
        found = torch.autograd.grad(hinge(forward(params, prompts), prompts.target_EB).sum(), leaves)
        params |= {n: p.detach() - LR * g for n, p, g in zip(trained, leaves, found, strict=True)}
    for e, net in enumerate(textbooks[0]):
        # All 60 rows and columns: those that the fast form leaves out are still delta I in the textbook.
        assert_same(textbook.member(params, e, d_Y=30, outside=TRAJECTORY[e].delta), net, rtol=1e-9, atol=1e-10)


def test_training_in_float32_stays_with_the_textbook(textbooks):
    # Rounding alone leaves 1e-6. One neuron that rounding switches on or off for one prompt moves its row by about
    # lr / B |a| |p| = 3e-3, which another instruction set may see once or twice in 300 steps.
    snapshot = fit(TRAJECTORY, [0, 1])
    for e, net in enumerate(textbooks[0]):
        trained = textbook.member(snapshot.params, e, d_Y=30, outside=TRAJECTORY[e].delta)
        assert_same(trained, net, rtol=0, atol=5e-3)


def test_training_does_not_feel_a_rotation_of_the_inputs_and_labels():
    config = OneLayer(d_Y=4, m=12, B=16, delta=0.25)
    job = OneLayer.job([config], [0], "cpu")
    rotation_HH = torch.zeros(34, 34, dtype=torch.float64)
    rotation_HH[:30, :30], rotation_HH[30:, 30:] = (
        torch.from_numpy(ortho_group.rvs(size, random_state=1)) for size in (30, 4)
    )
    net = textbook.member(job.params(), 0, d_Y=4, outside=config.delta)
    turned = replace(net, W_O=net.W_O @ rotation_HH.T)
    for step in range(80):
        prompts = double(job.draws(step))
        axis_PH, z_B = textbook.axes(prompts, 0, V=30, d_Y=4), prompts.target_EB[0]
        prompt_BLH = textbook.multiplied_out(prompts, 0, axis_PH)
        turned_BLH = textbook.multiplied_out(prompts, 0, axis_PH @ rotation_HH.T)
        output_B = textbook.output(net, prompt_BLH)
        assert_exact(textbook.output(turned, turned_BLH), output_B)
        net = textbook.descend(net, prompt_BLH, z_B, config.lr)
        turned = textbook.descend(turned, turned_BLH, z_B, config.lr)
    assert output_B.abs().max() > 0.1
    assert (turned.W_O - net.W_O).abs().max() > 0.1


# What is known of a network without looking inside


def test_uniform_attention_is_9_of_21_with_exact_counts():
    rng = np.random.default_rng(0)
    tasks = task_set("all", 6)
    prompts = draw(rng, 200, 20, alpha=0.8, kappa=0.5, beta=2.0, tasks=tasks, sampler="exact")
    params = OneLayer(steps=0).train().params
    blind = params | {"W_Q": torch.zeros_like(params["W_Q"])}
    attn_EBL = attention(blind, prompts)
    torch.testing.assert_close(attn_EBL, torch.full_like(attn_EBL, 1 / 21))
    mass_B = [float(same_pattern_mass(attn_EBL[:, [b]], prompts.split(1)[b])) for b in range(200)]
    assert mass_B == pytest.approx([9 / 21] * 200, abs=1e-6)


def test_without_examples_a_trained_network_is_wrong_half_the_time():
    net = OneLayer(steps=200).train(range(4))
    prompts = TestSet(l=0, alpha=0.8).ensemble(net)
    estimate = error_rate_t(error(outputs(net, prompts), prompts.target_EB), 4096)
    assert estimate.lo <= 0.5 <= estimate.hi and estimate.hi - estimate.lo < 0.05
    long = TestSet(l=20, alpha=0.8).ensemble(net)
    assert error(outputs(net, long), long.target_EB).max() < 0.01


def test_answers_do_not_depend_on_how_many_prompts_are_asked_at_once():
    net = OneLayer(steps=3).train(range(2))
    prompts = TestSet(l=6, alpha=0.8, prompts=1100, S_1=0.4).ensemble(net)
    output_EB = outputs(net, prompts)
    assert output_EB.shape == (2, 1100)
    torch.testing.assert_close(output_EB, forward(net.params, prompts))


# First weights


@pytest.mark.parametrize("m", [2, 7, 64])
def test_output_signs_have_norm_one_and_are_half_plus(m):
    a_M = output_signs(m)
    assert torch.equal(a_M.sign(), torch.tensor([1.0] * (m // 2) + [-1.0] * (m - m // 2)))
    torch.testing.assert_close(a_M.abs(), torch.full((m,), m**-0.5))


def test_first_weights_are_small_identities_and_a_gaussian_layer():
    params = initial(np.random.default_rng(0), V=30, d_Y=30, m=500, delta=0.25, xi=0.1)
    assert torch.equal(params["W_Q"], 0.25 * torch.eye(31)) and torch.equal(params["W_K"], params["W_Q"])
    assert torch.equal(params["W_V"], 0.25 * torch.eye(60)[:, :31])
    W_O = params["W_O"]
    assert W_O.shape == (500, 60)
    assert abs(W_O.mean()) < 4 * 0.1 / 30000**0.5 and W_O.std() == pytest.approx(0.1, rel=0.02)


def test_first_weights_are_a_function_of_the_network_and_the_seed():
    weights = OneLayer(steps=0, m=8).train([3]).params["W_O"]
    assert torch.equal(OneLayer(steps=0, m=8, alpha=0.3, lr=2.0, tasks="all").train([3]).params["W_O"], weights)
    for other in (OneLayer(steps=0, m=8, xi=0.05), OneLayer(steps=0, m=8, delta=0.1)):
        assert not torch.equal(other.train([3]).params["W_O"], weights)
    assert not torch.equal(OneLayer(steps=0, m=8).train([4]).params["W_O"], weights)


def test_the_output_signs_never_move():
    config = OneLayer(steps=5, m=7)
    assert torch.equal(config.train().params["a"][0], output_signs(7))


def test_a_step_of_the_standard_workload_is_20_million_operations():
    step = OneLayer(d_Y=30, m=400, B=200, steps=1).work()
    assert step == pytest.approx(20.2e6, rel=0.1)
    assert OneLayer(d_Y=30, m=400, B=200, steps=7).work() == pytest.approx(7 * step)


@pytest.mark.parametrize(
    "changes",
    [{"B": 1}, {"B": 2}, {"B": 8, "m": 10, "M1": 4, "M2": 6, "l_tr": 8}, {"m": 2}, {"M2": 25, "B": 3, "m": 7}],
    ids=str,
)
def test_a_members_numbers_do_not_depend_on_its_place_among_the_others(changes):
    # Products of odd sizes begin anywhere in memory: MKL_CBWR, which `lemmata` sets, is what makes them round alike.
    config = OneLayer(steps=40).replace(changes)
    together, order = config.train(range(16)), [3, 11, 6, 1, 5]
    some = config.train(order)
    for place, seed in enumerate(order):
        for found in (config.train([seed]), some.take([place])):
            for name, p in found.params.items():
                assert torch.equal(p[0], together.params[name][seed]), (name, seed)
