"""The one-layer network of task vectors against the textbook's, what a member's numbers depend on, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import textbook_editing
import torch
from torch.utils.flop_counter import FlopCounterMode

from lemmata.editing.data import Counts, Tokens
from lemmata.editing.network import OneLayer, forward
from lemmata.editing.vectors import fine_tuned
from lemmata.lab.ensemble import fit
from lemmata.lab.errors import ConstantError
from lemmata.lab.losses import hinges
from lemmata.lab.streams import BLOCK

SMALL = OneLayer(d=9, J=3, P=6, delta_s=0.5, delta_h=0.2, B=4, m=5, xi=0.3, lr=3.0, steps=5)


def assert_exact(one, other, tolerance=1e-10):
    """The same but for rounding; the tolerance left out is float64's."""
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def some_params(rng, config, E):
    """Weights of no particular form, in float64."""
    D, T, P = config.D, config.tasks, config.P if config.readout == "per-position" else 1
    shapes = {"base.W": (D, D), "base.V": (config.m, D), "delta.W": (T, D, D), "delta.V": (T, config.m, D)}
    params = {name: torch.from_numpy(rng.standard_normal((E, *shape))) for name, shape in shapes.items()}
    return params | {"a": torch.from_numpy(rng.standard_normal((E, P, config.m)))}


def some_samples(rng, config, E, count):
    """Samples of several members in float64, of tasks with different correlations."""
    alphas = np.linspace(0.1, 0.8, E)
    job = OneLayer.job([config.replace({"alpha": float(alpha), "B": count}) for alpha in alphas], range(E), "cpu")
    return textbook_editing.double(job.draws(int(rng.integers(20))), config.P)


FORMS = {
    "counts": SMALL,
    "many counts": SMALL.replace({"tasks": 4, "J": 2, "P": 9, "d": 12, "m": 9}),
    "noise": SMALL.replace({"tau": 0.5}),
    "a readout a place": SMALL.replace({"readout": "per-position"}),
    "both": SMALL.replace({"tau": 0.5, "readout": "per-position"}),
}


# Against the textbook


@pytest.mark.parametrize("name", FORMS)
def test_outputs_and_gradients_are_those_of_tokens_written_out(name):
    config, E, B = FORMS[name], 2, 3
    rng = np.random.default_rng(len(name))
    params, samples = some_params(rng, config, E), some_samples(rng, config, E, B)
    assert isinstance(samples, Tokens if config.as_tokens else Counts)
    leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
    output_ETB = forward(fine_tuned(leaves), leaves["a"], samples)
    loss_E = hinges(OneLayer.gap(leaves, samples))
    found = dict(zip(leaves, torch.autograd.grad(loss_E.sum(), list(leaves.values())), strict=True))
    for e in range(E):
        total, base = 0.0, {n: torch.zeros_like(params[f"base.{n}"][e]) for n in ("W", "V")}
        for t in range(config.tasks):
            one_hot = [float(t == other) for other in range(config.tasks)]
            net = textbook_editing.edited(params, e, one_hot)
            written = textbook_editing.written_out(samples, e, t, config.P, rng)
            for b, sample in enumerate(written):
                assert_exact(output_ETB[e, t, b].detach(), textbook_editing.output(net, sample.tokens))
            after, losses = textbook_editing.fine_tuned(net, [written], lr=1.0)
            total += losses[0]
            for n in base:
                step = getattr(net, n) - getattr(after, n)
                assert_exact(found[f"delta.{n}"][e, t], step)
                base[n] += step
        assert_exact(loss_E[e].detach(), torch.tensor(total, dtype=torch.float64))
        for n, step in base.items():
            assert step.abs().max() > 1e-3
            assert_exact(found[f"base.{n}"][e], step)


TRAJECTORIES = {
    "from nothing": SMALL.replace({"alpha": 0.4}),
    "from own kind": SMALL.replace({"alpha": -0.7, "w0": 2.0}),
    "three tasks": SMALL.replace({"tasks": 3, "alpha": 0.3, "w0": -0.5}),
    "no irrelevant token": SMALL.replace({"delta_s": 0.7, "delta_h": 0.3}),
    "noise": SMALL.replace({"alpha": 0.4, "tau": 0.4}),
    "noise, own kind": SMALL.replace({"alpha": -0.7, "tau": 0.4, "w0": 2.0}),
    "a readout a place": SMALL.replace({"alpha": 0.4, "readout": "per-position", "w0": 1.0}),
    "both": SMALL.replace({"alpha": -0.7, "readout": "per-position", "tau": 0.4}),
}


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_steps_are_those_of_single_fine_tunings_in_all_coordinates(name):
    """Two members, one of them with other constants; the textbook's axes are turned against the patterns'."""
    first = TRAJECTORIES[name]
    configs, seeds = [first, first.replace({"lr": 2.0, "xi": 0.2})], [5, 3]
    rng = np.random.default_rng(len(name))
    job = OneLayer.job(configs, seeds, "cpu")
    drawn = [job.draws(step) for step in range(first.steps)]
    params = {n: p.double() for n, p in job.params().items()}
    start = params
    losses_E: list[torch.Tensor] = []
    trained = ["delta.W", "delta.V"]
    for samples in drawn:
        leaves = {n: p.detach().requires_grad_(n in trained) for n, p in params.items()}
        loss_E = job.loss(leaves, textbook_editing.double(samples, first.P))
        losses_E.append(loss_E.detach())
        found = torch.autograd.grad(loss_E.sum(), [leaves[n] for n in trained])
        lr_E = torch.tensor([c.lr for c in configs], dtype=torch.float64).view(-1, 1, 1, 1)
        params = params | {n: params[n] - lr_E * g for n, g in zip(trained, found, strict=True)}
    end = fine_tuned(params)
    for e, (config, seed) in enumerate(zip(configs, seeds, strict=True)):
        axes_dd = textbook_editing.turn(rng, config.d)
        inner = axes_dd[:, : config.D]
        everywhere = config.replace({"tau": 1.0}).weights(seed)
        V_md = everywhere["base.V"].double()
        net = textbook_editing.Network(
            config.w0 * torch.eye(config.d, dtype=torch.float64), V_md @ axes_dd.T, everywhere["a"].double()
        )
        losses = np.zeros(config.steps)
        for t in range(config.tasks):
            batches = [
                textbook_editing.turned(textbook_editing.written_out(samples, e, t, config.P, rng), axes_dd)
                for samples in drawn
            ]
            after, own = textbook_editing.fine_tuned(net, batches, config.lr)
            losses += own
            # Where the patterns are, much has moved, and nothing anywhere else.
            assert (after.W - net.W).abs().max() > 0.01 and (after.V - net.V).abs().max() > 0.1
            delta_W, delta_V = end["W"][e, t] - start["base.W"][e], end["V"][e, t] - start["base.V"][e]
            assert_exact(after.W, net.W + inner @ delta_W @ inner.T)
            assert_exact(after.V, net.V + delta_V @ inner.T)
            assert_exact(end["V"][e, t], after.V @ inner)
        assert [float(loss_E[e]) for loss_E in losses_E] == pytest.approx(losses, abs=1e-10)
    # Training itself does the same in float32, and leaves the base and the readout to the bit.
    snapshot = fit(configs, seeds)
    for n, p in snapshot.params.items():
        assert_exact(p.double(), params[n], 1e-5)
        assert n in trained or torch.equal(p, job.params()[n])


def test_a_kind_that_does_not_occur_has_no_influence():
    rng = np.random.default_rng(0)
    params, samples = some_params(rng, SMALL, 2), some_samples(rng, SMALL, 2, 40)
    assert isinstance(samples, Counts)
    weights = fine_tuned(params)
    output_ETB = forward(weights, params["a"], samples)
    for k in range(2, 5):
        row_ETKD = samples.row_ETKD.clone()
        row_ETKD[:, :, k] = torch.from_numpy(50 * rng.standard_normal((2, 2, SMALL.D)))
        other_ETB = forward(weights, params["a"], replace(samples, row_ETKD=row_ETKD))
        absent_ETB = samples.share_ETBK[..., k] == 0
        assert 10 < absent_ETB.sum() < absent_ETB.numel() - 10
        assert torch.equal(other_ETB[absent_ETB], output_ETB[absent_ETB])
        assert ((other_ETB - output_ETB).abs()[~absent_ETB] > 1e-6).all()


def test_a_readout_that_is_the_same_at_every_place_is_one_readout():
    rng = np.random.default_rng(1)
    config = SMALL.replace({"tau": 0.3})
    params, samples = some_params(rng, config, 2), some_samples(rng, config, 2, 5)
    once = forward(fine_tuned(params), params["a"], samples)
    assert_exact(forward(fine_tuned(params), params["a"].expand(-1, config.P, -1), samples), once, 1e-13)


# A member's numbers


COMPANY = [
    (SMALL, 0),
    (SMALL.replace({"alpha": 0.6, "lr": 0.5}), 0),
    (SMALL.replace({"w0": 2.0}), 4),
    (SMALL.replace({"delta_s": 0.7, "xi": 0.1, "alpha": -1.0}), 1),
    (SMALL, 7),
]


@pytest.mark.parametrize("tau", [0.0, 0.4])
def test_company_changes_no_more_than_rounding(tau):
    members = [(config.replace({"tau": tau}), seed) for config, seed in COMPANY]
    whole = fit(*zip(*members, strict=True))
    for here in ([0], [3], [2, 0], [4, 3, 1]):
        part = fit(*zip(*(members[i] for i in here), strict=True))
        for name, p in part.params.items():
            assert_exact(p, whole.params[name][here], 1e-6)
    assert not torch.equal(whole.params["delta.V"][0], whole.params["delta.V"][4])


def test_members_of_the_registered_size_are_the_same_to_the_bit_in_any_company():
    configs = [OneLayer(steps=4, alpha=e / 10, lr=0.5 + e / 4) for e in range(5)]
    whole = fit(configs, range(5))
    for here in ([0], [3], [1, 2], [0, 2, 3, 4]):
        for name, p in fit([configs[e] for e in here], here).params.items():
            assert torch.equal(p, whole.params[name][here]), (here, name)


@pytest.mark.parametrize("name", FORMS)
def test_other_tasks_leave_a_task_vector_alone(name):
    config = FORMS[name]
    rng = np.random.default_rng(2)
    params = some_params(rng, config, 2)
    one, other = some_samples(rng, config, 2, 4), some_samples(rng, config, 2, 4)
    mixed = type(one)(*(torch.cat([a[:, :1], b[:, 1:]], 1) for a, b in zip(*map(parts, (one, other)), strict=True)))
    moved = dict(params)
    moved["delta.W"] = torch.cat([params["delta.W"][:, :1], 2 * params["delta.W"][:, 1:]], 1)
    steps = []
    for weights, samples in ((params, one), (moved, mixed)):
        leaf = weights["delta.V"].clone().requires_grad_()
        steps += torch.autograd.grad(hinges(OneLayer.gap({**weights, "delta.V": leaf}, samples)).sum(), [leaf])
    assert_exact(steps[0][:, 0], steps[1][:, 0], 1e-13)
    assert (steps[0][:, 1:] - steps[1][:, 1:]).abs().max() > 1e-3


def parts(samples):
    """Its tensors."""
    return list(vars(samples).values())


def trained_on(members, steps=(0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 3)):
    """Each member's samples at some steps, as tensors of their own."""
    configs, seeds = zip(*members, strict=True)
    draws = OneLayer.job(configs, seeds, "cpu").draws
    found = [[] for _ in members]
    for step in steps:
        samples = draws(step)
        for e, mine in enumerate(found):
            mine += [p[e].clone() for p in parts(samples)]
    return found


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("changes", [{}, {"tau": 0.4}])
def test_a_members_samples_do_not_depend_on_company_order_or_the_steps_asked_before(changes):
    members = [(config.replace(changes), seed) for config, seed in COMPANY]
    alone = [trained_on([member])[0] for member in members]
    for order in ([0, 1], [4, 2, 0], [3, 1, 4, 0, 2]):
        for i, mine in zip(order, trained_on([members[i] for i in order]), strict=True):
            assert same(mine, alone[i])
    backward = trained_on(members[:1], (2 * BLOCK + 3, BLOCK, BLOCK - 1, 1, 0))[0]
    n = len(alone[0]) // 5
    assert same([t for i in (4, 3, 2, 1, 0) for t in backward[n * i : n * (i + 1)]], alone[0])


def test_samples_depend_on_the_data_constants_and_the_seed_only():
    (alone,) = trained_on([(SMALL, 0)])
    for kept in ({"lr": 3.0}, {"steps": 7}, {"w0": 4.0}, {"xi": 1.0}, {"m": 50}):
        assert same(trained_on([(SMALL.replace(kept), 0)])[0], alone)
    for other in ({"alpha": 0.5}, {"d": 10}, {"delta_s": 0.6}, {"delta_h": 0.0}):
        assert not same(trained_on([(SMALL.replace(other), 0)])[0], alone)
    assert not same(trained_on([(SMALL, 1)])[0], alone)


def test_no_step_and_no_task_repeats_another():
    draws = OneLayer.job([SMALL.replace({"B": 16})], [0], "cpu").draws
    seen = [draws(step).share_ETBK[0, t].numpy().tobytes() for step in range(3 * BLOCK) for t in range(2)]
    assert len(set(seen)) == 6 * BLOCK


def test_first_weights_depend_on_the_network_constants_and_the_seed_only():
    first = SMALL.weights(3)
    for kept in ({"lr": 3.0}, {"steps": 7}, {"alpha": 0.5}, {"delta_s": 0.7}, {"B": 9}, {"P": 9}):
        assert same(SMALL.replace(kept).weights(3).values(), first.values())
    assert torch.equal(SMALL.replace({"tasks": 3}).weights(3)["a"], first["a"])
    for name, other in (("base.V", {"xi": 0.2}), ("base.W", {"w0": 1.0}), ("base.V", {"m": 6})):
        assert not torch.equal(SMALL.replace(other).weights(3)[name].flatten(), first[name].flatten())
    assert not torch.equal(SMALL.weights(4)["base.V"], first["base.V"])


@pytest.mark.parametrize("readout", ["shared", "per-position"])
def test_with_noise_a_member_starts_from_the_same_weights_where_it_had_any(readout):
    config = SMALL.replace({"w0": 1.5, "readout": readout})
    plain, noisy = config.weights(3), config.replace({"tau": 0.4}).weights(3)
    assert plain["base.V"].shape == (5, 6) and noisy["base.V"].shape == (5, 9)
    assert torch.equal(noisy["base.V"][:, :6], plain["base.V"]) and torch.equal(noisy["a"], plain["a"])
    assert torch.equal(noisy["base.W"], 1.5 * torch.eye(9)) and torch.equal(plain["base.W"], 1.5 * torch.eye(6))


def test_first_weights_have_their_sizes():
    config = OneLayer(m=400, xi=0.3, d=30, tau=0.1)
    weights = config.weights(0)
    V_mD = weights["base.V"]
    # 12,000 normal numbers: four standard deviations of their mean and of their variance.
    assert abs(float(V_mD.mean())) < 4 * 0.3 / 12_000**0.5
    assert float(V_mD.var()) == pytest.approx(0.09, rel=4 * (2 / 12_000) ** 0.5)
    assert torch.equal(weights["a"].abs(), torch.full((1, 400), 0.05)) and 150 < (weights["a"] > 0).sum() < 250
    places = config.replace({"readout": "per-position"}).weights(0)["a"]
    assert places.shape == (20, 400) and len({row.numpy().tobytes() for row in places}) == 20
    assert not weights["delta.W"].any() and weights["delta.V"].shape == (2, 400, 30)


def test_draws_and_first_weights_are_pinned():
    """With other numbers, stored cells lose their meaning."""
    samples = OneLayer.job([SMALL], [0], "cpu").draws(3)
    assert (6 * samples.share_ETBK[0, 1, ::3]).round().tolist() == [[1, 3, 1, 0, 1], [1, 3, 1, 1, 0]]
    assert samples.label_ETB[0].tolist() == [[1, 1, 1, 1], [-1, 1, 1, -1]]
    tokens = OneLayer.job([SMALL.replace({"tau": 0.5})], [0], "cpu").draws(3).token_ETBPD[0, 1, 2]
    assert tokens[:2, 4].tolist() == pytest.approx([0.733256, -0.69105214], rel=1e-6)
    weights = SMALL.weights(0)
    assert weights["base.V"][0, :3].tolist() == pytest.approx([0.2350001, 0.01647496, -0.02829896], rel=1e-6)
    assert weights["a"].sign().tolist() == [[-1, 1, -1, 1, 1]]


# What is trained


@pytest.mark.parametrize("name", ["counts", "noise"])
def test_fine_tuned_networks_solve_their_own_tasks(name):
    tau = 0.0 if name == "counts" else 0.4
    config = OneLayer(steps=60, m=40, d=12, J=8, tau=tau, alpha=0.3)
    net = config.train([0, 1])
    samples = OneLayer.job([config.replace({"B": 200})] * 2, [8, 9], "cpu").draws(0)
    output_ETB = forward(fine_tuned(net.params), net.params["a"], samples)
    right_ET = (output_ETB * samples.label_ETB > 0).float().mean(-1)
    assert (right_ET > (0.999 if tau == 0 else 0.95)).all()
    # One after fine-tuning on the other is worse: correlation 0.3 is not enough.
    crossed = {n: p.flip(1) for n, p in fine_tuned(net.params).items()}
    assert hinges(OneLayer.gap(net.params, samples)).max() < 0.5
    assert (1 - forward(crossed, net.params["a"], samples) * samples.label_ETB).mean() > 0.3


def test_what_takes_part_is_the_span_of_the_patterns_or_with_noise_everything():
    assert (SMALL.as_tokens, SMALL.D) == (False, 6)
    assert [SMALL.replace(c).as_tokens for c in ({"tau": 0.1}, {"readout": "per-position"})] == [True, True]
    assert [SMALL.replace(c).D for c in ({"tau": 0.1}, {"readout": "per-position"}, {"tasks": 4})] == [9, 6, 8]


@pytest.mark.parametrize("changes", [{}, {"J": 60, "d": 80}, {"tau": 0.4}, {"tau": 0.4, "P": 40}])
def test_the_products_of_a_step_are_about_its_work(changes):
    config = OneLayer(steps=1, **changes)
    with FlopCounterMode(display=False) as counter:
        config.train()
    assert 0.5 < counter.get_total_flops() / config.work() < 2
    assert config.replace({"steps": 7}).work() == pytest.approx(7 * config.work())


# What cannot be


@pytest.mark.parametrize(
    ("changes", "expected", "got", "fix"),
    [
        ({"d": 22}, "d of at least tasks + 1 + J = 23 orthogonal directions", "d = 22", "raise d, or lower J"),
        ({"tasks": 10}, "= 31 orthogonal", "d = 30", "raise d"),
        ({"J": 28}, "= 31 orthogonal", "d = 30", "lower J"),
        ({"delta_s": 0.1}, "more tokens along the label than against it", "2 and 2", "raise delta_s"),
        ({"delta_s": 0.05}, "more tokens along the label than against it", "1 and 2", "lower delta_h"),
        ({"delta_s": 0.95}, "no more of both than P = 20", "19 and 2", "lower delta_h"),
        ({"tasks": 3, "alpha": -0.1}, "alpha in [0, 1) for 3 tasks", "alpha = -0.1", "alpha = 0, or tasks = 2"),
        ({"tasks": 3, "alpha": 1.0}, "alpha in [0, 1) for 3 tasks", "alpha = 1", "alpha = 0, or tasks = 2"),
        ({"alpha": -1.01}, "in [-1, 1]", "-1.01", "[-1, 1]"),
        ({"readout": "shard"}, "shared, per-position", "shard", "did you mean shared?"),
        ({"tau": -0.1}, "tau", "-0.1", "choose tau in"),
    ],
)
def test_constants_that_cannot_be_are_refused(changes, expected, got, fix):
    with pytest.raises(ConstantError) as caught:
        OneLayer().replace(changes)
    assert expected in caught.value.expected and got in caught.value.got and fix in caught.value.fix


@pytest.mark.parametrize(
    "changes", [{"d": 23}, {"delta_s": 0.15}, {"delta_s": 0.9}, {"alpha": -1.0}, {"alpha": 1.0}, {"P": 3, "d": 23}]
)
def test_constants_at_the_edge_are_taken(changes):
    net = OneLayer(steps=1, B=2, m=4).replace(changes).train()
    assert net.status == ["ok"]
