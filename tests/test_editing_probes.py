"""What edited networks answer, against the textbook's edits sample by sample; geometry of unseen tasks; similarity."""

import math

import numpy as np
import pytest
import textbook_editing
import torch

from lemmata.editing import probes
from lemmata.editing.data import Counts, directions, outside, stacked
from lemmata.editing.network import OneLayer
from lemmata.editing.probes import (
    AddCurve,
    FineTuned,
    OutsideGrid,
    OutsideRay,
    Similarity,
    fresh_samples,
    outputs,
    scores,
)
from lemmata.editing.theory import changes_correlation, function_similarity
from lemmata.editing.vectors import edited
from lemmata.lab.ensemble import fit
from lemmata.lab.errors import ConstantError, InputError
from lemmata.lab.streams import stream

SMALL = OneLayer(d=9, J=3, P=6, delta_s=0.5, delta_h=0.2, B=8, m=7, xi=0.3, lr=2.0, steps=12, alpha=0.4)
SEEDS = (3, 8)
KINDS = {
    "counts": SMALL,
    "three tasks": SMALL.replace({"tasks": 3}),
    "noise": SMALL.replace({"tau": 0.3}),
    "a readout a place": SMALL.replace({"readout": "per-position"}),
}


@pytest.fixture(scope="module")
def nets():
    """Two members of each kind, half way through their fine-tunings."""
    return {name: config.train(SEEDS) for name, config in KINDS.items()}


def table(member_rows):
    """Rows as a mapping from metric, x and coordinates to the value; no two rows share them."""
    found = {(row.metric, row.x, *sorted(row.at.items())): row.value for row in member_rows}
    assert len(found) == len(member_rows)
    return found


def lost(net, e=0):
    """The same members, one of which has diverged."""
    params = {name: p.clone() for name, p in net.params.items()}
    params["delta.V"][e] = torch.nan
    params["delta.W"][e, :, 0, 0] = torch.inf
    return net.with_params(params)


# Samples and outputs


def test_fresh_samples_are_a_members_own_and_of_the_tasks_asked_for(nets):
    net = nets["three tasks"]
    samples = fresh_samples(net, 9, "here")
    assert isinstance(samples, Counts) and samples.share_ETBK.shape == (2, 3, 9, 5)
    for e, seed in enumerate(SEEDS):
        alone = SMALL.replace({"tasks": 3}).samples(
            stream("here", KINDS["three tasks"].axes("data"), seed), 9, directions(3, 0.4)
        )
        assert all(
            torch.equal(one[0], both[e]) for one, both in zip(vars(alone).values(), vars(samples).values(), strict=True)
        )
    there = fresh_samples(net, 9, "there")
    assert isinstance(there, Counts) and not torch.equal(there.share_ETBK, samples.share_ETBK)
    other = fresh_samples(net, 9, "here", [outside([0.6, 0.0, 0.0])[None]] * 2)
    assert isinstance(other, Counts) and other.row_ETKD.shape == (2, 1, 5, 7)
    assert other.row_ETKD[1, 0, 0].tolist() == pytest.approx([0.6, 0, 0, 0.8, 0, 0, 0])


@pytest.mark.parametrize("part", ["both", "V"])
@pytest.mark.parametrize("name", KINDS)
def test_scores_are_those_of_the_textbook_edited_by_hand(name, part, nets):
    net, config, rng = nets[name], KINDS[name], np.random.default_rng(0)
    lambdas = [[1.0, 0.0, 0.3], [1.0, -2.5, 0.0], [-0.5, 1.5, 1.0]]
    coefficient_LT = torch.tensor(lambdas)[:, : config.tasks]
    samples = fresh_samples(net, 6, "test")
    found = scores(net, coefficient_LT, samples, part=part)
    assert found.hinge_ELU.shape == found.accuracy_ELU.shape == (2, 3, config.tasks)
    seen = []
    for e in range(2):
        for l, row in enumerate(coefficient_LT.tolist()):
            by_hand = textbook_editing.edited(net.params, e, row, part)
            for t in range(config.tasks):
                written = textbook_editing.written_out(samples, e, t, config.P, rng)
                hinge = float(textbook_editing.loss(by_hand, written))
                assert float(found.hinge_ELU[e, l, t]) == pytest.approx(hinge, abs=2e-6)
                accuracy = textbook_editing.accuracy(by_hand, written)
                assert float(found.accuracy_ELU[e, l, t]) == pytest.approx(accuracy, abs=1e-6)
                seen.append(accuracy)
    assert 0 < np.mean(seen) < 1


def test_without_attention_of_the_second_only_values_are_added(nets):
    """Part "V" leaves out the second Delta W, and not the first; what both parts have in common stays."""
    net = nets["counts"]
    samples = fresh_samples(net, 50, "test")
    coefficient_LT = torch.tensor([[1.0, 0.0], [1.0, -3.0], [0.0, 2.0]])
    both, values = (scores(net, coefficient_LT, samples, part=part).hinge_ELU for part in ("both", "V"))
    assert torch.equal(both[:, 0], values[:, 0]) and not torch.isclose(both[:, 1:], values[:, 1:]).any()
    params = {name: p.clone() for name, p in net.params.items()}
    params["delta.W"][:, 1] = 0
    assert torch.equal(scores(net.with_params(params), coefficient_LT, samples).hinge_ELU, values)
    params["delta.W"][:, 0] = 0
    less = scores(net.with_params(params), coefficient_LT, samples).hinge_ELU
    assert not torch.isclose(less[:, :2], values[:, :2]).any()


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
@pytest.mark.parametrize("name", ["counts", "noise"])
def test_slices_of_the_samples_do_not_matter(name, size, nets, monkeypatch):
    net = nets[name]
    samples = fresh_samples(net, 50, "test")
    weights = edited(net.params, torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, -1.0]]))
    whole = outputs(weights, net.params["a"], samples)
    assert whole.shape == (2, 3, 2, 50) and not whole.requires_grad
    monkeypatch.setattr(probes, "SLICE", size)
    torch.testing.assert_close(outputs(weights, net.params["a"], samples), whole, rtol=0, atol=1e-6)


def test_members_are_scored_alone_as_in_company(nets):
    net = nets["counts"]
    samples = fresh_samples(net, 30, "test")
    coefficient_LT = torch.tensor([[1.0, 0.5], [0.5, -1.0]])
    whole = scores(net, coefficient_LT, samples)
    for e in range(2):
        mine = scores(net.take([e]), coefficient_LT, fresh_samples(net.take([e]), 30, "test"))
        for one, all_of_them in zip(mine, whole, strict=True):
            torch.testing.assert_close(one[0], all_of_them[e], rtol=0, atol=1e-6)


# Rows


@pytest.mark.parametrize("part", ["both", "V"])
@pytest.mark.parametrize("name", ["counts", "three tasks", "noise"])
def test_the_curve_has_a_row_for_each_lambda_and_task(name, part, nets):
    net, config = nets[name], KINDS[name]
    m = AddCurve(lambdas=(-1.0, 0.0, 0.7), part=part, samples=40)
    assert m.steps(config) == (12,) and m.work(config) > 0
    coefficient_LT = torch.tensor([[1.0] + [x] * (config.tasks - 1) for x in m.lambdas])
    expected = scores(net, coefficient_LT, fresh_samples(net, 40, "editing.test"), part=part)
    for e, rows in enumerate(m.observe(net, {})):
        found = table(rows)
        assert len(found) == 2 * 3 * config.tasks
        for metric, value_ELU in zip(("hinge", "accuracy"), expected, strict=True):
            for l, x in enumerate(m.lambdas):
                for t in range(config.tasks):
                    value = found[metric, x, ("part", part), ("task", t + 1)]
                    assert value == float(value_ELU[e, l, t])


@pytest.mark.parametrize("name", KINDS)
def test_fine_tunings_are_asked_about_their_own_task(name, nets):
    net, config, rng = nets[name], KINDS[name], np.random.default_rng(0)
    m = FineTuned(samples=6)
    assert m.steps(config) == (12,)
    samples = fresh_samples(net, 6, "editing.test")
    for e, rows in enumerate(m.observe(net, {})):
        found = table(rows)
        assert len(found) == 2 * config.tasks
        for t in range(config.tasks):
            own = textbook_editing.edited(net.params, e, [float(t == other) for other in range(config.tasks)])
            written = textbook_editing.written_out(samples, e, t, config.P, rng)
            loss = float(textbook_editing.loss(own, written))
            assert found["fine_tuned_hinge", 12, ("task", t + 1)] == pytest.approx(loss, abs=2e-6)
            right = np.mean(
                [sample.label * float(textbook_editing.output(own, sample.tokens)) > 0 for sample in written]
            )
            assert found["fine_tuned_accuracy", 12, ("task", t + 1)] == pytest.approx(right)


@pytest.fixture(scope="module")
def orthogonal():
    """Two members with orthogonal tasks, trained until these are solved."""
    return OneLayer(d=9, J=3, P=6, delta_s=0.5, delta_h=0.2, m=30, steps=60, lr=2.0).train(SEEDS)


def by_hand(net, pair, gamma, count):
    """The loss and accuracy of the edits with a pair of coefficients on the unseen task, a pair of numbers a member."""
    samples = stacked(
        [
            config.samples(stream("editing.outside", config.axes("data"), seed), count, outside(gamma)[None])
            for config, seed in zip(net.configs, net.seeds, strict=True)
        ]
    )
    rng, found = np.random.default_rng(0), []
    for e, config in enumerate(net.configs):
        written = textbook_editing.written_out(samples, e, 0, config.P, rng)
        edit = textbook_editing.edited(net.params, e, pair)
        found.append((float(textbook_editing.loss(edit, written)), textbook_editing.accuracy(edit, written)))
    return found


def test_the_grid_of_an_unseen_task_has_its_pairs(orthogonal):
    m = OutsideGrid(gamma_1=0.6, gamma_2=-0.3, samples=8, step=1.0)
    tables = [table(rows) for rows in m.observe(orthogonal, {})]
    at = ("gamma_1", 0.6), ("gamma_2", -0.3)
    for found in tables:
        keys = {(x, dict(at)["lambda_2"]) for _, x, *at in found}
        assert keys == {(x, y) for x in (-2, -1, 0, 1, 2, 3) for y in (-2, -1, 0, 1, 2)} and len(found) == 60
    for pair in ((-2.0, 1.0), (2.0, -1.0), (3.0, 2.0)):
        for found, (hinge, accuracy) in zip(tables, by_hand(orthogonal, pair, [0.6, -0.3], 8), strict=True):
            assert found["hinge", pair[0], *at, ("lambda_2", pair[1])] == pytest.approx(hinge, abs=1e-5)
            assert found["accuracy", pair[0], *at, ("lambda_2", pair[1])] == pytest.approx(accuracy, abs=1e-6)
    fine = OutsideGrid(samples=1, step=0.5).observe(orthogonal.take([0]), {})[0]
    assert {row.x for row in fine} == {i / 2 for i in range(-4, 7)} and len(fine) == 2 * 11 * 9
    assert m.work(SMALL) == pytest.approx(SMALL.work() * 30 * 8 / (6 * 12 * 8))


def test_along_the_ray_the_first_sum_is_what_the_row_says(orthogonal):
    gamma = (0.6, -0.3)
    m = OutsideRay(gamma_1=gamma[0], gamma_2=gamma[1], samples=8, reached=(-0.1, 0.5, 1.2))
    tables = [table(rows) for rows in m.observe(orthogonal, {})]
    at = ("gamma_1", 0.6), ("gamma_2", -0.3)
    for s in m.reached:
        # Both sums of squares and products are in the ray: lambda is along gamma, and reaches s.
        pair = [s * g / (0.36 + 0.09) for g in gamma]
        assert sum(value * g for value, g in zip(pair, gamma, strict=True)) == pytest.approx(s)
        assert pair[0] * gamma[1] == pytest.approx(pair[1] * gamma[0])
        for found, (hinge, accuracy) in zip(tables, by_hand(orthogonal, pair, list(gamma), 8), strict=True):
            assert len(found) == 6
            assert found["ray_hinge", s, *at] == pytest.approx(hinge, abs=1e-5)
            assert found["ray_accuracy", s, *at] == pytest.approx(accuracy, abs=1e-6)
    # What has not been reached has the wrong sign, or too small an output.
    assert all(f["ray_hinge", -0.1, *at] > 1 > f["ray_hinge", 0.5, *at] > f["ray_hinge", 1.2, *at] for f in tables)
    assert OutsideRay().reached[0] == -0.2 and OutsideRay().reached[-1] == 1.6 and 1.0 in OutsideRay().reached


@pytest.mark.parametrize("kind", [OutsideGrid, OutsideRay])
def test_unseen_tasks_that_cannot_be_are_refused(kind):
    kind().validate(OneLayer())
    for changes in ({"alpha": 0.1}, {"tasks": 3}):
        with pytest.raises(ConstantError) as caught:
            kind().validate(OneLayer().replace(changes))
        assert "two orthogonal tasks" in caught.value.expected
        assert "tasks at 2 and alpha at 0" in caught.value.fix and "alpha = " in caught.value.got
    with pytest.raises(InputError, match="at most 1"):
        kind(gamma_1=0.9).validate(OneLayer())
    changed = kind().replace({"gamma_2": 0.1, "elsewhere": 3})
    assert (changed.gamma_1, changed.gamma_2) == (0.7, 0.1) and set(kind().coordinates()) == {"gamma_1", "gamma_2"}


# Similarity


@pytest.mark.parametrize(("share", "first"), [(0.5, 5), (0.8, 8), (1.0, 10), (0.0, 0)])
@pytest.mark.parametrize("name", ["counts", "three tasks", "noise"])
def test_similarity_is_of_the_changes_of_the_textbooks_outputs_on_a_pooled_sample(name, share, first, nets):
    net, config, rng = nets[name], KINDS[name], np.random.default_rng(1)
    samples = fresh_samples(net, 10, "editing.pooled")
    for e, rows in enumerate(Similarity(share=share, samples=10).observe(net, {})):
        found = table(rows)
        pooled = textbook_editing.written_out(samples, e, 0, config.P, rng)[:first]
        pooled += textbook_editing.written_out(samples, e, 1, config.P, rng)[: 10 - first]
        edits = [[0.0] * config.tasks for _ in range(3)]
        edits[1][0] = edits[2][1] = 1.0
        nets_3 = [textbook_editing.edited(net.params, e, row) for row in edits]
        before, *after = ([float(textbook_editing.output(n, s.tokens)) for s in pooled] for n in nets_3)
        changes = [np.array(y) - np.array(before) for y in after]
        at = ("share", share)
        assert found["similarity", 0.4, at] == pytest.approx(function_similarity(*changes), abs=1e-5)
        assert found["correlation", 0.4, at] == pytest.approx(changes_correlation(*changes), abs=1e-5)
        agreement = np.mean(np.sign(after[0]) * np.sign(after[1]))
        assert found["agreement", 0.4, at] == pytest.approx(agreement)
        for part in ("W", "V"):
            one, other = (net.params[f"delta.{part}"][e, t].flatten().double() for t in (0, 1))
            cosine = float(one @ other / one.norm() / other.norm())
            assert found[f"cosine_{part}", 0.4, at] == pytest.approx(cosine, abs=1e-5)
        assert len(found) == 5


def test_similarity_knows_alpha_of_each_member():
    configs = [OneLayer(alpha=alpha, steps=60, m=40, J=8, d=12) for alpha in (-0.6, 0.0, 0.7)]
    net = fit(configs, [1, 2, 3])
    for config, rows in zip(configs, Similarity(samples=300).observe(net, {}), strict=True):
        found = {row.metric: row.value for row in rows}
        assert {row.x for row in rows} == {config.alpha}
        assert found["similarity"] == pytest.approx(config.alpha, abs=0.1)
        assert found["cosine_W"] == pytest.approx(config.alpha**2, abs=0.15)


def test_nothing_changed_is_no_similarity():
    net = SMALL.replace({"steps": 0}).train(SEEDS)
    for rows in Similarity(samples=20).observe(net, {}):
        # One network and itself answer alike.
        assert {row.metric: row.value for row in rows} == {
            "agreement": 1,
            "similarity": 0,
            "correlation": 0,
            "cosine_W": 0,
            "cosine_V": 0,
        }


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_of_the_sample_is_one(share):
    with pytest.raises(ConstantError, match="share"):
        Similarity(share=share).validate(SMALL)


# Diverged members


@pytest.mark.parametrize(
    "m",
    [
        FineTuned(samples=30),
        AddCurve(lambdas=(0.0, -2.0), samples=30),
        AddCurve(lambdas=(0.0, -2.0), part="V", samples=30),
        Similarity(samples=30),
        OutsideGrid(step=2.0, samples=30),
        OutsideRay(reached=(0.5, 1.0), samples=30),
    ],
)
def test_a_diverged_member_leaves_no_numbers_and_disturbs_no_other(m, orthogonal):
    intact = [table(rows) for rows in m.observe(orthogonal, {})]
    found = [table(rows) for rows in m.observe(lost(orthogonal), {})]
    assert found[0].keys() == intact[0].keys() and found[1] == pytest.approx(intact[1], abs=1e-6)
    # To have no answer is to be wrong.
    for key, value in found[0].items():
        assert value == 0 if "accuracy" in key[0] else math.isnan(value), key
    assert all(math.isfinite(value) for value in found[1].values())


def test_measures_of_one_member_are_those_of_it_in_company(orthogonal):
    for m in (AddCurve(samples=30), Similarity(samples=30), OutsideRay(reached=(0.5, 1.0), samples=30)):
        whole = m.observe(orthogonal, {})
        for e in range(2):
            (alone,) = m.observe(orthogonal.take([e]), {})
            assert table(alone) == pytest.approx(table(whole[e]), abs=1e-6)
