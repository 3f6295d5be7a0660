"""Prompts: the probabilities of the data model, exact counts, out-of-domain patterns, which prompts are the same."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import textbook
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2, chisquare, kstest

from lemmata.icl.data import CONTROLS, COVERS, TASK_SETS, Shift, draw, exact_count, stack, task_set, unseen
from lemmata.icl.gpt import SmallGPT
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import TestSet
from lemmata.lab.errors import ConstantError, InputError

# A sound sampler fails one of these tests once in ten thousand seeds, and the seeds are fixed.
RARE = 1e-4
TASK = np.array([[4, 1]])
OTHERS = (0, 2, 3, 5)


def some(count=4000, l=10, *, alpha=0.8, kappa=0.5, beta=1.0, tasks=TASK, M1=6, M2=24, sampler="iid", seed=0):
    rng = np.random.default_rng(seed)
    return draw(rng, count, l, alpha=alpha, kappa=kappa, beta=beta, tasks=tasks, M1=M1, M2=M2, sampler=sampler)


def likely(counts, expected=None):
    """Whether counts are what chance makes of expected ones, equal ones if none are given."""
    return chisquare(counts, expected)[1] > RARE


def independent(table):
    """Whether rows and columns of a table of counts know nothing of each other."""
    table = np.asarray(table, dtype=float)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return chi2.sf(((table - expected) ** 2 / expected).sum(), freedom) > RARE


def axes_of(prompts):
    assert prompts.axis_EVD is not None
    return prompts.axis_EVD


def tasks_of(prompts):
    """The tasks of prompts drawn with alpha = 1, which show them: the pattern labelled +1 and the one labelled -1."""
    idr_BL, y_BL = prompts.idr_EBL[0, :, :-1], prompts.label_EBL[0, :, :-1]
    found = []
    for idr_L, y_L in zip(idr_BL, y_BL, strict=True):
        (a,), (b,) = set(idr_L[y_L > 0].tolist()), set(idr_L[y_L < 0].tolist())
        found.append((a, b))
    return found


# Task sets


@pytest.mark.parametrize("M1", [4, 6, 10])
@pytest.mark.parametrize("name", TASK_SETS)
def test_covers_hold_every_pattern_equally_in_both_labels_and_controls_do_not(name, M1):
    tasks = [tuple(task) for task in task_set(name, M1).tolist()]
    assert len(set(tasks)) == len(tasks) and set(tasks) <= set(permutations(range(M1), 2))
    plus, minus = (Counter(task[side] for task in tasks) for side in (0, 1))
    uniform = set(plus) == set(minus) == set(range(M1)) and len({*plus.values(), *minus.values()}) == 1
    assert uniform == (name in COVERS)
    assert (name in COVERS) != (name in CONTROLS)


@pytest.mark.parametrize(
    ("name", "share"), [("cyclic", 6), ("cyclic-2", 12), ("cyclic-3", 18), ("cyclic-4", 24), ("all", 30)]
)
def test_strides_of_the_cycle_are_multiples_of_the_smallest_cover(name, share):
    assert len(task_set(name, 6)) == share
    assert {(i, (i + 1) % 6) for i in range(6)} <= {tuple(task) for task in task_set(name, 6).tolist()}


@pytest.mark.parametrize("name", TASK_SETS)
def test_unseen_tasks_are_all_the_others(name):
    seen, rest = ({tuple(t) for t in tasks.tolist()} for tasks in (task_set(name, 6), unseen(name, 6)))
    assert seen | rest == set(permutations(range(6), 2))
    assert not seen & rest or name == "all"


@pytest.mark.parametrize(("name", "M1"), [("half-the-patterns", 3), ("pairs", 5), ("one-label", 7)])
def test_a_task_set_that_does_not_fit_the_number_of_patterns_is_refused(name, M1):
    with pytest.raises(ConstantError, match="M1"):
        OneLayer(tasks=name, M1=M1)


# The iid sampler


@pytest.mark.parametrize("alpha", [0.1, 0.55, 0.8, 1.0])
def test_examples_carry_their_patterns_with_the_stated_probabilities(alpha):
    idr = some(100_000, alpha=alpha, seed=1).idr_EBL[0, :, :-1].flatten().numpy()
    counts = np.bincount(idr, minlength=6)
    expected = np.full(6, (1 - alpha) / 4)
    expected[[4, 1]] = alpha / 2
    possible = expected > 0
    assert not counts[~possible].any()
    assert likely(counts[possible], expected[possible] * len(idr))


@pytest.mark.parametrize("sampler", ["iid", "exact"])
def test_labels_follow_the_task_and_are_coins_elsewhere(sampler):
    prompts = some(sampler=sampler)
    idr, y = prompts.idr_EBL[0, :, :-1].flatten().numpy(), prompts.label_EBL[0, :, :-1].flatten().numpy()
    assert (y[idr == 4] == 1).all() and (y[idr == 1] == -1).all()
    assert set(y) == {-1.0, 1.0}
    outside = np.isin(idr, OTHERS)
    table = [[np.sum((idr == j) & (y == sign)) for sign in (-1, 1)] for j in OTHERS]
    assert likely(np.ravel(table), np.full(8, outside.sum() / 8))


@pytest.mark.parametrize("sampler", ["iid", "exact"])
def test_the_query_carries_either_pattern_of_the_task_and_its_label_is_the_target(sampler):
    prompts = some(sampler=sampler)
    query, target = prompts.idr_EBL[0, :, -1].numpy(), prompts.target_EB[0].numpy()
    assert ((query == 4) == (target == 1)).all() and ((query == 1) == (target == -1)).all()
    assert not prompts.label_EBL[0, :, -1].any()
    assert binomtest(int((target > 0).sum()), len(target)).pvalue > RARE
    # Which label comes out says nothing about the examples before.
    first = prompts.idr_EBL[0, :, 0].numpy()
    assert independent([[np.sum((first == j) & (target == z)) for z in (-1, 1)] for j in range(6)])


@pytest.mark.parametrize("sampler", ["iid", "exact"])
def test_irrelevant_patterns_are_uniform_and_independent_of_the_coins(sampler):
    prompts = some(sampler=sampler, seed=2)
    idi = prompts.idi_EBL[0].numpy() - 6
    counts = np.bincount(idi.ravel(), minlength=24)
    assert len(counts) == 24 and likely(counts)
    assert likely(np.bincount(idi[:, -1], minlength=24))
    idr, y = prompts.idr_EBL[0, :, :-1].numpy(), prompts.label_EBL[0, :, :-1].numpy()
    outside = np.isin(idr, OTHERS)
    table = [[np.sum(outside & (idi[:, :-1] == k) & (y == sign)) for sign in (-1, 1)] for k in range(24)]
    assert independent(table)


def test_kappa_is_uniform_and_scaled_by_beta():
    prompts = some(kappa=0.4, beta=3.0)
    assert (prompts.beta_E == 3.0).all()
    noise_BL = prompts.noise_EBL[0].numpy()
    kappa = noise_BL.ravel() / 3.0
    assert np.abs(kappa).max() <= 0.4
    assert kstest(kappa, "uniform", args=(-0.4, 0.8)).pvalue > RARE
    # No column knows its neighbour.
    steps = noise_BL[:, :-1] * noise_BL[:, 1:] / (3.0 * 0.4) ** 2
    assert abs(steps.mean()) < 4 / 3 / steps.size**0.5


def test_examples_are_independent_of_each_other():
    idr_BL = some(alpha=0.5, seed=3).idr_EBL[0, :, :-1].numpy()
    pairs = np.zeros((6, 6))
    np.add.at(pairs, (idr_BL[:, :-1:2].ravel(), idr_BL[:, 1::2].ravel()), 1)
    assert independent(pairs)


@pytest.mark.parametrize("M1", [4, 6])
def test_tasks_are_uniform(M1):
    found = Counter(tasks_of(some(6000, 24, alpha=1.0, tasks=task_set("all", M1), M1=M1)))
    assert set(found) == set(permutations(range(M1), 2))
    assert likely(list(found.values()))


@pytest.mark.parametrize("M1", [3, 40, 60, 100])
def test_the_whole_promised_range_of_patterns_is_drawn_uniformly(M1):
    prompts = some(20_000, 1, tasks=task_set("all", M1), M1=M1, M2=127)
    queries = np.bincount(prompts.idr_EBL[0, :, -1].numpy(), minlength=M1)
    assert len(queries) == M1 and likely(queries)
    idi = np.bincount(prompts.idi_EBL[0].numpy().ravel() - M1, minlength=127)
    assert len(idi) == 127 and likely(idi)


# The exact sampler


@pytest.mark.parametrize(("alpha", "l"), [(0.8, 10), (0.8, 20), (1.0, 6), (0.2, 10), (0.5, 4)])
def test_exact_counts_are_exact(alpha, l):
    prompts = some(500, l, alpha=alpha, sampler="exact")
    idr_BL = prompts.idr_EBL[0, :, :-1].numpy()
    for pattern in (4, 1):
        assert ((idr_BL == pattern).sum(1) == round(alpha * l / 2)).all()
    rest = np.bincount(idr_BL.ravel(), minlength=6)[list(OTHERS)]
    assert rest.sum() == 500 * (l - 2 * round(alpha * l / 2))
    assert alpha == 1.0 or likely(rest)


def test_exact_counts_come_in_random_order():
    idr_BL = some(sampler="exact").idr_EBL[0, :, :-1].numpy()
    at_position = np.array([(idr_BL == pattern).sum(0) for pattern in range(6)])
    assert likely(at_position[4]) and likely(at_position[1])
    # Four of ten columns carry mu_a; given that the first does, each of the others does in 3 of 9 prompts.
    given_first = (idr_BL[idr_BL[:, 0] == 4][:, 1:] == 4).sum(0)
    assert likely(given_first)
    assert len({tuple(row) for row in (idr_BL[:100] == 4).tolist()}) > 50


@pytest.mark.parametrize(("alpha", "l", "step"), [(0.8, 7, 5), (0.8, 12, 5), (0.5, 10, 4), (1.0, 3, 2), (0.3, 10, 20)])
def test_a_length_that_cannot_hold_the_counts_is_refused_with_one_that_can(alpha, l, step):
    for call in (lambda: exact_count(alpha, l), lambda: OneLayer(alpha=alpha, l_tr=l, sampler="exact")):
        with pytest.raises(ConstantError, match=f"multiple of {step}\\b"):
            call()
    assert exact_count(alpha, step) == pytest.approx(alpha * step / 2)


@settings(deadline=None)
@given(alpha=st.floats(0.001, 1), l=st.integers(0, 200))
def test_exact_counts_are_whole_or_refused_whatever_alpha_is(alpha, l):
    try:
        count = exact_count(alpha, l)
    except ConstantError:
        assert abs(alpha * l / 2 - round(alpha * l / 2)) > 1e-6
    else:
        assert 0 <= 2 * count <= l and count == pytest.approx(alpha * l / 2, abs=1e-6)


# Prompts as data


def test_columns_are_the_sums_of_their_three_axes():
    members = [some(5, 4, beta=beta, seed=seed) for seed, beta in enumerate((1.0, 2.5))]
    rng = np.random.default_rng(0)
    axis_EVD = torch.stack([Shift(6, 24, s, M1_test=4).axes(rng) for s in (0.5, -1.1)])
    prompts = stack(members)
    shown = stack([some(5, 4, M1=4, tasks=task_set("all", 4), seed=seed) for seed in range(2)])
    shifted = shown.on(axis_EVD)
    for p, V in ((prompts, 30), (shifted, 28)):
        columns_EBLD = p.columns(V)
        assert columns_EBLD.shape == (2, 5, 5, 31)
        for e in range(2):
            slow_BLH = textbook.multiplied_out(p, e, textbook.axes(p, e, V=30, d_Y=1))
            torch.testing.assert_close(columns_EBLD[e].double(), slow_BLH, rtol=1e-6, atol=1e-6)


def test_the_first_examples_are_a_prompt_with_the_same_query():
    prompts = stack([some(5, 8, seed=seed) for seed in range(2)])
    columns_EBLD = prompts.columns(30)
    for l in (0, 1, 5, 8):
        first = prompts.first(l)
        assert first.length == l
        assert torch.equal(first.columns(30), columns_EBLD[:, :, [*range(l), 8]])
        assert torch.equal(first.target_EB, prompts.target_EB)
        assert torch.equal(first.first(l // 2).columns(30), prompts.first(l // 2).columns(30))


def test_members_and_batches_take_ensembles_of_prompts_apart():
    members = [some(5, 3, seed=seed) for seed in range(3)]
    axis_EVD = torch.arange(3.0)[:, None, None].expand(3, 30, 30)
    whole = stack(members).on(axis_EVD)
    for e, member in enumerate(members):
        assert torch.equal(whole.member(e).noise_EBL, member.noise_EBL)
        assert torch.equal(axes_of(whole.member(e)), axis_EVD[e : e + 1])
    batches = whole.split(2)
    assert [b.target_EB.shape for b in batches] == [(3, 2), (3, 2), (3, 1)]
    assert all(b.axis_EVD is axis_EVD for b in batches)
    assert torch.equal(torch.cat([b.idr_EBL for b in batches], 1), whole.idr_EBL)
    assert torch.equal(whole.to("cpu").target_EB, whole.target_EB)


def test_drawing_is_a_function_of_the_generator():
    one, again, other = (some(20, 6, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.columns(30), again.columns(30)) and not torch.equal(one.columns(30), other.columns(30))


# Out of domain


@pytest.mark.parametrize(
    ("M1", "M1_test", "S_1"), [(6, 3, 1.3), (6, 3, 2**0.5), (6, 3, 0.0), (6, 3, -1.3), (4, 4, 1.0), (9, 1, 2.9)]
)
def test_test_patterns_are_orthonormal_mixtures_with_their_sum(M1, M1_test, S_1):
    axis_VD = Shift(M1, 10, S_1, M1_test).axes(np.random.default_rng(0)).numpy()
    assert axis_VD.dtype == np.float32 and axis_VD.shape == (M1_test + 10, M1 + 10)
    assert np.abs(axis_VD @ axis_VD.T - np.eye(M1_test + 10, dtype=np.float32)).max() < 1e-6
    np.testing.assert_allclose(axis_VD[:M1_test, :M1].sum(1), S_1, atol=2e-6)
    assert not axis_VD[:M1_test, M1:].any() and not axis_VD[M1_test:, :M1].any()


@pytest.mark.parametrize(
    ("M1", "M1_test", "S_1", "largest"),
    [(6, 3, 1.5, "1.41421"), (6, 3, -1.42, "1.41421"), (8, 2, 2.1, "2"), (5, 5, 0.9, "1")],
)
def test_a_sum_that_cannot_exist_is_refused_with_the_largest(M1, M1_test, S_1, largest):
    with pytest.raises(InputError) as refusal:
        Shift(M1, 10, S_1, M1_test).axes(np.random.default_rng(0))
    assert f"{largest})" in refusal.value.expected and f"{S_1:g}" in refusal.value.got


# Training constants


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.5}, "alpha"),
        ({"l_min": 21}, "l_min"),
        ({"sampler": "stratified"}, "iid, exact"),
        ({"tasks": "cyclic-33"}, "did you mean cyclic-3"),
        ({"M1": 2}, "M1"),
        ({"M2": 128}, "M2"),
        ({"B": 0}, "B"),
        ({"beta": float("inf")}, "beta"),
        ({"beta": float("nan")}, "beta"),
        ({"sampler": "exact", "l_min": 2}, "l_min"),
    ],
)
def test_constants_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ConstantError, match=words):
        OneLayer(**changes)


def test_prompts_of_drawn_lengths_share_them_across_seeds_and_networks():
    config = SmallGPT(l_min=3, l_tr=9)
    lengths = [length for block in range(200) for length in config.lengths(block)]
    assert set(lengths) == set(range(3, 10)) and likely(np.bincount(lengths)[3:])
    job = SmallGPT.job([config, config.replace({"alpha": 0.5})], [0, 7], "cpu")
    assert [job.draws(step).length for step in range(16)] == lengths[:16]
    assert set(OneLayer(l_tr=7).lengths(3)) == {7}


# Test prompts


def member(test, config, seed=0):
    prompts = test.member(config, seed)
    return prompts.columns(prompts.axis_EVD.shape[1] if prompts.axis_EVD is not None else 30)


@pytest.mark.parametrize("S_1", [None, 1.1])
def test_networks_under_one_seed_answer_the_same_test_prompts(S_1):
    test = TestSet(l=12, alpha=0.7, prompts=40, S_1=S_1)
    prompts = member(test, OneLayer())
    elsewhere = OneLayer(alpha=0.3, tasks="all", lr=1.0, m=8, l_tr=40, B=7, sampler="exact", d_Y=30)
    for other in (elsewhere, SmallGPT()):
        assert torch.equal(member(test, other), prompts)
    assert not torch.equal(member(test, OneLayer(), seed=1), prompts)


def test_test_prompts_of_several_alphas_and_sums_share_all_that_they_can():
    low, high = (TestSet(l=12, alpha=alpha, prompts=400).member(OneLayer(), 0) for alpha in (0.4, 0.8))
    assert torch.equal(low.noise_EBL, high.noise_EBL) and torch.equal(low.idi_EBL, high.idi_EBL)
    assert torch.equal(low.idr_EBL[..., -1], high.idr_EBL[..., -1]) and torch.equal(low.target_EB, high.target_EB)
    one, other = (TestSet(l=12, alpha=0.8, prompts=40, S_1=s).member(OneLayer(), 0) for s in (0.5, 1.3))
    assert torch.equal(one.idr_EBL, other.idr_EBL) and torch.equal(one.noise_EBL, other.noise_EBL)
    assert not torch.equal(axes_of(one), axes_of(other))


def test_test_prompts_are_of_the_tasks_asked_for():
    everything = tasks_of(TestSet(l=30, alpha=1.0, prompts=900).member(OneLayer(), 0))
    assert set(everything) == set(permutations(range(6), 2))
    rest = tasks_of(TestSet(l=30, alpha=1.0, prompts=900, tasks="unseen").member(OneLayer(tasks="cyclic-4"), 0))
    assert set(rest) == {(i, (i + 5) % 6) for i in range(6)}
    out = tasks_of(TestSet(l=30, alpha=1.0, prompts=300, S_1=1.0).member(OneLayer(), 0))
    assert set(out) == set(permutations(range(3), 2))


def test_out_of_domain_patterns_are_drawn_anew_for_each_seed_and_kept_for_each_measure():
    def axes(l, seed):
        return axes_of(TestSet(l=l, alpha=0.8, prompts=4, S_1=1.1).member(OneLayer(), seed))

    assert torch.equal(axes(4, 0), axes(9, 0)) and not torch.equal(axes(4, 0), axes(4, 1))


def test_an_ensemble_gets_each_members_own_test_prompts():
    net = OneLayer(steps=0).train([3, 1])
    prompts = TestSet(l=5, alpha=0.8, prompts=6, S_1=0.2).ensemble(net)
    for e, seed in enumerate((3, 1)):
        alone = TestSet(l=5, alpha=0.8, prompts=6, S_1=0.2).member(OneLayer(), seed)
        assert torch.equal(prompts.member(e).columns(27), alone.columns(27))
