"""What is measured of a network, against the textbook network and against the definitions, neuron by neuron."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import textbook
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lemmata.icl.data import draw, task_set
from lemmata.icl.network import OneLayer, attention
from lemmata.icl.probes import (
    AttentionGrowth,
    Neurons,
    Pruning,
    gap,
    row_norms,
    same_pattern_mass,
    value_rows,
)
from lemmata.icl.testing import ErrorCurve, ErrorPassage, TestSet, outputs
from lemmata.lab.ensemble import Snapshot, fit
from lemmata.lab.grid import Cell, measure
from lemmata.lab.losses import error, hinge

V, M1 = 30, 6
SEEDS = (3, 8)


@pytest.fixture(scope="module")
def trained():
    """Two networks half way through training, with d_Y = 3."""
    return OneLayer(d_Y=3, m=20, steps=70).train(SEEDS)


def nets(snapshot, d_Y=3):
    return [textbook.member(snapshot.params, e, d_Y=d_Y, outside=0.2) for e in range(len(snapshot.members))]


def columns(prompts, e, d_Y=3):
    return textbook.multiplied_out(prompts, e, textbook.axes(prompts, e, V=V, d_Y=d_Y))


def table(member_rows):
    """Rows as a mapping from metric, x and coordinates to the value; no two rows share them."""
    found = {(row.metric, row.x, *sorted(row.at.items())): row.value for row in member_rows}
    assert len(found) == len(member_rows)
    return found


# Attention


def test_the_mass_is_the_attention_on_columns_of_the_querys_pattern(trained):
    prompts = TestSet(l=9, alpha=0.7, prompts=50).ensemble(trained)
    mass_E = same_pattern_mass(attention(trained.params, prompts), prompts)
    for e, net in enumerate(nets(trained)):
        prompt_BLH = columns(prompts, e)
        carries_BL = prompt_BLH[:, :, :M1].argmax(-1) == prompt_BLH[:, -1:, :M1].argmax(-1)
        mass = (textbook.attention(net, prompt_BLH) * carries_BL).sum(-1).mean()
        assert float(mass_E[e]) == pytest.approx(float(mass), abs=1e-5)
        assert carries_BL[:, -1].all() and not carries_BL.all()


def test_the_growth_of_the_matrices_is_that_of_the_textbook(trained):
    m = AttentionGrowth(l=7, alpha=0.6, prompts=40)
    prompts = TestSet(l=7, alpha=0.6, prompts=40).ensemble(trained)
    for e, (net, found) in enumerate(zip(nets(trained), map(table, m.observe(trained, {})), strict=True)):
        query_BH = columns(prompts, e)[:, -1]
        pattern_B = query_BH[:, :M1].argmax(-1, keepdim=True)
        for name in ("W_Q", "W_K"):
            moved_BH = query_BH @ getattr(net, name).T
            at = ("matrix", name)
            assert found["norm", 70, at] == pytest.approx(float(moved_BH.norm(dim=-1).mean()), rel=1e-5)
            assert found["aligned", 70, at] == pytest.approx(float(moved_BH.gather(1, pattern_B).mean()), rel=1e-5)
        mass = same_pattern_mass(attention(trained.params, prompts), prompts)[e]
        assert found["attention_same", 70] == pytest.approx(float(mass))


def test_before_training_attention_is_about_uniform_and_the_matrices_are_small_identities():
    net = OneLayer(steps=0, beta=1.5, delta=0.1, kappa=0.0).train()
    found = table(AttentionGrowth(prompts=500).observe(net, {})[0])
    for name in ("W_Q", "W_K"):
        assert found["norm", 0, ("matrix", name)] == pytest.approx(0.15)
        assert found["aligned", 0, ("matrix", name)] == pytest.approx(0.15)
    assert found["attention_same", 0] == pytest.approx(9 / 21, abs=0.02)


def test_growth_is_looked_at_every_few_steps_and_at_the_end():
    assert AttentionGrowth(every=30).steps(OneLayer(steps=70)) == [0, 30, 60, 70]
    assert set(AttentionGrowth(every=30).steps(OneLayer(steps=60))) == {0, 30, 60}
    assert set(AttentionGrowth().steps(OneLayer(steps=0))) == {0}


# Rows of W_O


def test_rows_and_their_norms_are_those_of_the_matrices(trained):
    row_EMD, norm_EM = value_rows(trained.params), row_norms(trained.params)
    for e, net in enumerate(nets(trained)):
        torch.testing.assert_close(row_EMD[e].double(), (net.W_O @ net.W_V)[:, : V + 1], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm_EM[e].double(), net.W_O.square().sum(-1).sqrt(), rtol=1e-5, atol=1e-6)


norms = st.lists(st.floats(0.01, 10), min_size=2, max_size=30, unique=True)


@settings(deadline=None)
@given(norms)
def test_the_gap_splits_the_norms_where_the_variance_within_is_least(values):
    ordered = np.sort(np.array(values))
    within = [((x - x.mean()) ** 2).sum() + ((y - y.mean()) ** 2).sum() for x, y in splits(ordered)]
    between, small = gap(torch.tensor(values, dtype=torch.float64))
    assert 1 <= small < len(values)
    assert within[small - 1] == pytest.approx(min(within), rel=1e-9, abs=1e-12)
    low, high = ordered[:small].mean(), ordered[small:].mean()
    third = (high - low) / 3
    assert between == pytest.approx(np.mean((ordered > low + third) & (ordered < high - third)), abs=1e-12)


def splits(ordered):
    return [(ordered[:k], ordered[k:]) for k in range(1, len(ordered))]


@settings(deadline=None)
@given(norms, st.floats(0.1, 10), st.randoms(use_true_random=False))
def test_the_gap_knows_neither_scale_nor_order(values, scale, random):
    shuffled = random.sample(values, len(values))
    between, small = gap(torch.tensor(values, dtype=torch.float64))
    other, other_small = gap(scale * torch.tensor(shuffled, dtype=torch.float64))
    ordered = np.sort(values)
    within = sorted(((x - x.mean()) ** 2).sum() + ((y - y.mean()) ** 2).sum() for x, y in splits(ordered))
    if len(within) == 1 or within[1] > within[0] * (1 + 1e-6) + 1e-12:
        assert small == other_small and abs(between - other) <= 2 / len(values)


def test_the_gap_of_two_clusters_and_of_none():
    two = torch.cat([torch.linspace(0.10, 0.18, 12), torch.linspace(0.4, 0.5, 52)])
    assert gap(two) == (0.0, 12)
    between, small = gap(torch.linspace(0.1, 0.5, 60))
    assert between == pytest.approx(1 / 6, abs=0.02) and small == 30


# Neurons


def watched(config, m, seeds=(0,)):
    """The rows that a measure leaves of members trained on their own, by member."""
    results, _ = measure([Cell(config, seed, (m,)) for seed in seeds])
    return [result.rows for result in results]


def test_neurons_are_followed_from_the_start_to_the_end():
    config, m = OneLayer(d_Y=3, m=10, steps=40, beta=1.0, lr=1.0), Neurons(looks=3)
    snapshots = {}
    at_all = dict.fromkeys((0, 20, 40))
    fit([config] * 2, SEEDS, watch=lambda s: [bool(snapshots.update({s.step: s}))] * 2, watch_steps=at_all)
    for e, member_rows in enumerate(watched(config, m, SEEDS)):
        per_neuron = [row for row in member_rows if row.at]
        assert {row.x for row in per_neuron} == {0, 20, 40}
        found = table(per_neuron)
        start_MD = rows_of(snapshots[0], e)
        sign_M = snapshots[0].params["a"][e].sign().double()
        mean_D = torch.cat([torch.full((M1,), 1 / M1), torch.zeros(V - M1)]).double()
        lucky_M = start_MD[:, :-1] @ mean_D + sign_M * start_MD[:, -1] > 0
        for step in at_all:
            row_MD = rows_of(snapshots[step], e)
            feature_MV, label_M = row_MD[:, :-1], row_MD[:, -1]
            cosine_M = torch.cosine_similarity(feature_MV, mean_D.expand(10, V), dim=-1)
            along_M = feature_MV @ mean_D / mean_D.norm()
            for i in range(10):
                at = (("lucky", bool(lucky_M[i])), ("neuron", i), ("sign", "+" if sign_M[i] > 0 else "-"))
                expected = {
                    "feature_norm": feature_MV[i].norm(),
                    "feature_angle": cosine_M[i].acos(),
                    "label_norm": label_M[i].abs(),
                    "label_angle": math.acos(float(label_M[i] / (label_M[i] ** 2 + along_M[i] ** 2) ** 0.5)),
                    "row_norm": snapshots[step].params["W_O"][e, i].norm(),
                }
                for name, value in expected.items():
                    assert found[name, step, *at] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name


def rows_of(snapshot, e):
    """The rows of W_O W_V of one member, as the textbook multiplies them, on the coordinates that see anything."""
    net = nets(snapshot)[e]
    return (net.W_O @ net.W_V)[:, : V + 1]


def hand_made(norm_M, label_M, feature_M, sign_M):
    """A network of which everything is known: row i has a label part and a feature part along the mean pattern."""
    m = len(norm_M)
    mean_V = torch.cat([torch.full((M1,), M1**-0.5), torch.zeros(V - M1)])
    row_MD = torch.cat([torch.tensor(feature_M)[:, None] * mean_V, torch.tensor(label_M)[:, None]], 1)
    row_MD = row_MD / row_MD.norm(dim=-1, keepdim=True) * torch.tensor(norm_M)[:, None]
    eye = torch.eye(V + 1)[None]
    return {"W_Q": eye, "W_K": eye, "W_V": eye, "W_O": row_MD[None], "a": torch.tensor([sign_M]) * m**-0.5}


def test_what_became_of_the_lucky_and_the_large_ones():
    config = OneLayer(m=6, steps=9)
    sign_M = [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    # At the start 0, 3 and 4 fire on their own mean column; at the end 0, 1 and 3 are large, and 1 points the wrong
    # way.
    label_M = [1.0, -1.0, -1.0, -1.0, -0.5, 1.0]
    start = hand_made([0.1] * 6, label_M, [0.5, 0.2, -2.0, 0.1, 0.1, -1.0], sign_M)
    end = hand_made([1.0, 1.2, 0.2, 0.8, 0.1, 0.1], label_M, [1.0, 1.0, -2.0, 1.0, 0.1, -1.0], sign_M)
    memory, m = {}, Neurons()
    begun = Snapshot([config], [0], [0], start, 0, ["ok"])
    assert not [row for row in m.observe(begun, memory)[0] if not row.at]
    (rows,) = m.observe(Snapshot([config], [0], [0], end, 9, ["ok"]), memory)
    found = table([row for row in rows if not row.at])
    assert {x for _, x in found} == {9}
    value = {metric: v for (metric, _), v in found.items()}
    assert value["small_share"] == 0.5 and value["between"] == 0.0
    assert value["large_over_small"] == pytest.approx(3.0 / 0.4)
    assert value["large_angle"] == pytest.approx(0.0, abs=1e-3)
    assert value["large_label_right"] == pytest.approx(2 / 3)
    assert value["lucky_share"] == pytest.approx(3 / 6)
    assert value["large_lucky"] == pytest.approx(2 / 3)
    assert value["lucky_large"] == pytest.approx(2 / 3)
    moved = (end["W_O"] - start["W_O"])[0].norm(dim=-1)
    assert value["small_moved"] == pytest.approx(float(moved[[2, 4, 5]].mean() / moved[[0, 1, 3]].mean()))


def test_neurons_are_looked_at_from_the_first_to_the_last_step():
    assert Neurons(looks=5).steps(OneLayer(steps=250)) == [0, 62, 125, 188, 250]
    assert Neurons(looks=2).steps(OneLayer(steps=3)) == [0, 3]
    assert Neurons().steps(OneLayer(steps=0)) == [0]


# Pruning


def test_a_pruned_network_is_one_with_rows_of_zeros(trained):
    m = Pruning(shares=(0.0, 0.15, 0.5), alpha_test=(0.6, 1.0), lengths=(4, 9), S_1=1.1, prompts=60)
    order_EM = row_norms(trained.params).argsort(-1)
    for e, rows in enumerate(m.observe(trained, {})):
        found = {(r.metric, r.at["policy"], round(20 * r.x), r.at["alpha_test"], r.at["l"]): r.value for r in rows}
        assert len(found) == len(rows)
        small = gap(row_norms(trained.params)[e])[1]
        gone = {("magnitude", n): order_EM[e, :n] for n in (0, 3, 10)}
        gone |= {("largest", n): order_EM[e, 20 - n :] for n in (0, 3, 10)}
        gone["small", small] = order_EM[e, :small]
        for alpha, l in product(m.alpha_test, m.lengths):
            prompts = TestSet(l=9, alpha=alpha, prompts=60, S_1=1.1).ensemble(trained).first(l)
            for (policy, n), rows_gone in gone.items():
                margin_B = prompts.target_EB[e] * without(trained, e, rows_gone, prompts)
                hinge_loss, wrong = (1 - margin_B).clamp_min(0).mean(), (margin_B <= 0).double().mean()
                assert found["hinge", policy, n, alpha, l] == pytest.approx(float(hinge_loss), rel=1e-4)
                assert found["error", policy, n, alpha, l] == pytest.approx(float(wrong), abs=1e-6)


def without(snapshot, e, rows_gone, prompts):
    """The textbook's outputs with some rows of W_O set to zero."""
    net = nets(snapshot)[e]
    W_O = net.W_O.clone()
    W_O[rows_gone] = 0
    return textbook.output(replace(net, W_O=W_O), columns(prompts, e))


def test_random_pruning_is_a_function_of_the_seed_and_costs_more_than_pruning_the_smallest():
    m = Pruning(shares=(0.0, 0.5, 1.0), alpha_test=(0.8,), lengths=(10,), prompts=300)
    net, later = (OneLayer(m=20, steps=steps).train(SEEDS) for steps in (70, 72))
    for rows in m.observe(net, {}):
        found = {(row.at["policy"], row.x): row.value for row in rows if row.metric == "hinge"}
        assert found["random", 0.0] == found["magnitude", 0.0] == found["largest", 0.0]
        # Without any row the output is 0 and the hinge loss 1.
        assert found["random", 1.0] == found["magnitude", 1.0] == found["largest", 1.0] == 1.0
        assert found["magnitude", 0.5] < found["random", 0.5] < found["largest", 0.5]
    assert m.observe(net, {}) == m.observe(net, {}) != m.observe(later, {})


# Errors


def test_the_error_curve_is_the_error_of_each_length_alpha_and_sum(trained):
    m = ErrorCurve(lengths=(0, 3, 8), alpha_test=(0.5, 0.9), S_1=(0.4, 1.2), prompts=700, quantile=0.1)
    found = [table(rows) for rows in m.observe(trained, {})]
    assert all(len(rows) == 3 * 3 * 2 * 2 for rows in found)
    for alpha in m.alpha_test:
        for s in m.S_1:
            whole = TestSet(l=8, alpha=alpha, prompts=700, S_1=s).ensemble(trained)
            for l in m.lengths:
                prompts = whole.first(l)
                for e, net in enumerate(nets(trained)):
                    margin_B = (textbook.output(net, columns(prompts, e)) * prompts.target_EB[e]).numpy()
                    at = (("S_1", s), ("alpha_test", alpha))
                    assert found[e]["error", l, *at] == pytest.approx(np.mean(margin_B <= 0), abs=1e-6)
                    assert found[e]["hinge", l, *at] == pytest.approx(np.maximum(0, 1 - margin_B).mean(), rel=1e-4)
                    assert found[e]["margin", l, *at] == pytest.approx(np.quantile(margin_B, 0.1), abs=1e-4)


def test_in_domain_curves_have_no_sum():
    net = OneLayer(steps=0).train()
    rows = ErrorCurve(lengths=(2,), prompts=8).observe(net, {})[0]
    assert [(row.metric, row.x, dict(row.at)) for row in rows] == [
        (metric, 2, {"alpha_test": 0.8}) for metric in ("error", "hinge", "margin")
    ]


def test_a_network_without_numbers_is_always_wrong():
    net = OneLayer(steps=0).train()
    broken = net.with_params(net.params | {"W_O": torch.full_like(net.params["W_O"], torch.nan)})
    error_row, hinge_row, margin_row = ErrorCurve(lengths=(2,), prompts=8).observe(broken, {})[0]
    assert error_row.value == 1.0 and math.isnan(hinge_row.value) and not math.isfinite(margin_row.value)


# First passage


@pytest.mark.parametrize("loss", ["error", "hinge"])
def test_the_first_passage_is_between_the_last_look_before_and_the_first_after(loss):
    configs = [OneLayer(m=16, B=32, steps=90, lr=lr) for lr in (1.0, 0.5, 0.02)]
    m = ErrorPassage(every=8, below=0.2, loss=loss, l=12, prompts=500)
    measured = [row for row in zip(*[r.rows for r in measure([Cell(c, 1, (m,)) for c in configs])[0]], strict=True)]
    looks = [*range(0, 90, 8), 90]
    value = hinge if loss == "hinge" else error
    for e, config in enumerate(configs):
        losses = []
        for step in looks:
            net = config.replace({"steps": step}).train([1])
            prompts = TestSet(l=12, alpha=0.8, prompts=500).ensemble(net)
            losses.append(float(value(outputs(net, prompts), prompts.target_EB)))
        passed = [i for i, v in enumerate(losses) if v < 0.2]
        lo, hi = (looks[passed[0] - 1], looks[passed[0]]) if passed else (90, math.inf)
        assert [(rows[e].metric, rows[e].value) for rows in measured] == [("steps_lo", lo), ("steps_hi", hi)]
    assert {rows.value for rows in measured[1]} >= {math.inf} and len({rows.value for rows in measured[1]}) == 3


def test_a_member_that_has_passed_at_the_start_did_so_at_0():
    rows = watched(OneLayer(steps=6), ErrorPassage(every=2, below=1.1, prompts=50))[0]
    assert [(row.metric, row.value) for row in rows] == [("steps_lo", 0), ("steps_hi", 0)]


def test_a_passage_is_told_once_even_if_another_measure_goes_on():
    config, passage = OneLayer(m=16, B=32, steps=60, lr=1.0), ErrorPassage(every=10, below=0.3, prompts=300)
    alone = watched(config, passage)[0]
    result = measure([Cell(config, 0, (passage, AttentionGrowth(every=20, prompts=20)))])[0][0]
    assert [row for row in result.rows if row.metric in ("steps_lo", "steps_hi")] == list(alone)
    assert {row.x for row in result.rows if row.metric == "attention_same"} == {0, 20, 40, 60}


def test_exact_counts_leave_a_trained_network_without_errors():
    # Every prompt holds the query's pattern, so there is nothing left to miss.
    net, rng, tasks = OneLayer(steps=300).train(), np.random.default_rng(0), task_set("all", 6)
    prompts = draw(rng, 500, 10, alpha=0.8, kappa=0.5, beta=2.0, tasks=tasks, sampler="exact")
    assert float(error(outputs(net, prompts), prompts.target_EB)) == 0.0
