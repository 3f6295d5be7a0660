"""Training prompts: the law of each part, what controls break, counts against examples written out, reproducibility."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import textbook_cot
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, chi2, chisquare

from lemmata.cot.data import CONTROLS, COVERS, POOL, RARE, TASK_SETS, Prompts, draw, pattern_rows, task_set
from lemmata.cot.deep import Deep
from lemmata.cot.network import OneLayer
from lemmata.lab.errors import ConstantError, InputError
from lemmata.lab.patterns import correlated, orthonormal
from lemmata.lab.streams import BLOCK

# A sound sampler fails a comparison once in 100,000 seeds, and no test has more than 20; the seeds are fixed.
FALSE_ALARM = 1e-5
PARTS = ("step_EBKM", "log_count_EBKM", "path_EBS", "asked_EB")


def some(count=20_000, l=10, *, M=6, K=3, alpha=0.4, name="shifts", seed=0, correlation=0.0):
    rng = np.random.default_rng(seed)
    return draw(rng, count, l, alpha=alpha, tasks=task_set(name, M, K, rng), correlation=correlation)


def likely(counts, share=None):
    """Whether counts are what chance makes of these shares, equal ones if none are given."""
    counts = np.asarray(counts)
    expected = counts.sum() * (np.full(len(counts), 1 / len(counts)) if share is None else np.asarray(share))
    # What is hardly expected is counted together.
    order = np.argsort(expected)
    few = max(1, np.searchsorted(np.cumsum(expected[order]), 10, side="right") + 1)
    found, expected = (np.append(n[order][few:], n[order][:few].sum()) for n in (counts, expected))
    assert len(found) > 1
    return chisquare(found, expected)[1] > FALSE_ALARM


def independent(one, other):
    """Whether two numbers of each prompt, from 0 on, know nothing of each other."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    assert freedom and expected.min() > 5
    return chi2.sf(((table - expected) ** 2 / expected).sum(), freedom) > FALSE_ALARM


def counted(prompts):
    """How often each column occurs, as whole numbers, count_BKM."""
    return prompts.count_EBKM[0].round().long().numpy()


def starts(prompts):
    """How many examples start where, start_BM: the columns of the first step without the query's own."""
    start_BM, own_B = counted(prompts)[:, 0].copy(), prompts.path_EBS[0, :, 0].numpy()
    start_BM[np.arange(len(own_B)), own_B] -= prompts.asked_EB[0].numpy() > 0
    return start_BM


def equal(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in PARTS)


# The law


@pytest.mark.parametrize(("M", "K"), [(4, 1), (6, 3), (20, 3)])
@pytest.mark.parametrize("name", COVERS)
def test_the_query_starts_anywhere_and_asks_for_any_step(name, M, K):
    prompts = some(name=name, M=M, K=K)
    start_B, asked_B = prompts.path_EBS[0, :, 0].numpy(), prompts.asked_EB[0].numpy()
    assert likely(np.bincount(start_B, minlength=M))
    asked_K = np.bincount(asked_B, minlength=K)
    assert len(asked_K) == K and (K == 1 or (likely(asked_K) and independent(start_B, asked_B)))


@pytest.mark.parametrize("alpha", [0.05, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("name", COVERS)
def test_examples_share_the_querys_start_binomially_and_start_elsewhere_evenly(name, alpha):
    prompts, l = some(name=name, alpha=alpha), 10
    start_BM, z_0_B = starts(prompts), prompts.path_EBS[0, :, 0].numpy()
    same_B = start_BM[np.arange(20_000), z_0_B]
    if alpha == 1:
        assert (same_B == l).all() and (start_BM.sum(1) == l).all()
        return
    assert likely(np.bincount(same_B, minlength=l + 1), binom.pmf(np.arange(l + 1), l, alpha))
    assert independent((same_B > alpha * l).astype(int), prompts.asked_EB[0].numpy())
    # The others, by how far around the cycle of patterns they are from the query's start.
    away_BM = np.stack([np.roll(row, -z) for row, z in zip(start_BM, z_0_B, strict=True)])
    assert likely(away_BM[:, 1:].sum(0))
    # They do not know of each other: how many of n others are at a start is binomial.
    n = int(np.bincount(l - same_B).argmax())
    for away in range(1, 6):
        at_B = away_BM[l - same_B == n, away]
        assert likely(np.bincount(at_B, minlength=n + 1), binom.pmf(np.arange(n + 1), n, 1 / 5))


def test_shifts_are_uniform_and_independent_in_every_step():
    prompts = some(32_000, M=4)
    step_BKM = prompts.step_EBKM[0].numpy()
    shift_BK = step_BKM[:, :, 0]
    assert (step_BKM == (shift_BK[:, :, None] + np.arange(4)) % 4).all()
    assert likely(np.bincount(shift_BK @ [16, 4, 1], minlength=64))
    assert independent(shift_BK @ [16, 4, 1], prompts.path_EBS[0, :, 0].numpy())
    assert independent(shift_BK[:, 1], prompts.asked_EB[0].numpy())


def test_permutations_come_from_a_pool_evenly_and_independently():
    tasks = task_set("permutations", 8, 2, np.random.default_rng(1))
    assert tasks.map_KTM.shape == (2, POOL, 8) and (np.sort(tasks.map_KTM) == np.arange(8)).all()
    prompts = draw(np.random.default_rng(0), 60_000, 1, alpha=0.5, tasks=tasks)
    powers = 8 ** np.arange(8)
    found = []
    for k in range(2):
        pool = tasks.map_KTM[k] @ powers
        values, weights = np.unique(pool, return_counts=True)
        drawn = prompts.step_EBKM[0, :, k].numpy() @ powers
        assert np.isin(drawn, values).all()
        at = np.searchsorted(values, drawn)
        assert likely(np.bincount(at, minlength=len(values)), weights / POOL)
        found.append(at % 16)
    assert independent(*found) and independent(found[0], prompts.path_EBS[0, :, 0].numpy())


def test_the_pool_holds_every_permutation_as_often_and_is_the_seeds_own():
    pools = [OneLayer(tasks="permutations", M=4, d_X=4).task_set(seed).map_KTM for seed in range(6)]
    counts = Counter(tuple(map_M) for map_KTM in pools for map_M in map_KTM.reshape(-1, 4).tolist())
    assert set(counts) == set(permutations(range(4))) and likely(list(counts.values()))
    assert len({pool.tobytes() for pool in pools}) == 6
    # Neither training nor network are asked, and the steps have pools of their own.
    again = OneLayer(tasks="permutations", M=4, d_X=4, lr=3.0, delta=0.1, steps=5).task_set(2).map_KTM
    assert (again == pools[2]).all() and (pools[2][0] != pools[2][1]).any()


@pytest.mark.parametrize("name", COVERS)
def test_under_a_cover_every_pattern_is_as_likely_in_every_step(name):
    prompts = some(30_000, 3, name=name, alpha=0.3, seed=4)
    for k in range(4):
        assert likely(np.bincount(prompts.path_EBS[0, :, k], minlength=6))
    for pattern_B in (prompts.query_EB[0], prompts.target_EB[0]):
        assert likely(np.bincount(pattern_B, minlength=6))


def test_the_single_task_is_one_permutation_a_step_and_the_seeds_own():
    step_BKM = some(300, name="one-task").step_EBKM[0].numpy()
    assert (step_BKM == step_BKM[0]).all() and len({tuple(map_M) for map_M in step_BKM[0]}) == 3
    assert (np.sort(step_BKM[0]) == np.arange(6)).all()
    tasks = {OneLayer(tasks="one-task").task_set(seed).map_KTM.tobytes() for seed in range(20)}
    assert len(tasks) == 20


# Controls


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_breaks_what_it_says_and_keeps_the_rest(name):
    prompts = some(30_000, 6, name=name)
    path_BS, step_BKM = prompts.path_EBS[0].numpy(), prompts.step_EBKM[0].numpy()
    column_KM = counted(prompts).sum(0)
    # Halves never mix; both are shifted alike, uniformly and independently in every step.
    shift_BK = step_BKM[:, :, 0]
    assert likely(np.bincount(shift_BK @ [9, 3, 1], minlength=27))
    low_BK3 = (shift_BK[:, :, None] + np.arange(3)) % 3
    high_K = np.array([0 if name == "funnel" else 3, 3, 3])
    assert (step_BKM == np.concatenate([low_BK3, low_BK3 + high_K[:, None]], 2)).all()
    for k in range(4):
        occurs_M = np.arange(6) < (3 if name == "half" or (name == "funnel" and k > 0) else 6)
        count_M = np.bincount(path_BS[:, k], minlength=6)
        assert not count_M[~occurs_M].any() and (count_M[occurs_M] > 0).all()
        assert k == 3 or not column_KM[k, ~occurs_M].any()
        if name == "unequal":
            # A tenth as likely as the others.
            assert pytest.approx((1 - RARE) / 10) == RARE
            assert binomtest(int(count_M[3:].sum()), 30_000, RARE).pvalue > FALSE_ALARM
            assert likely(count_M[:3]) and likely(count_M[3:])
        else:
            assert likely(count_M[occurs_M])
    assert likely(np.bincount(prompts.asked_EB[0], minlength=3))
    same_B = starts(prompts)[np.arange(30_000), path_BS[:, 0]]
    assert likely(np.bincount(same_B, minlength=7), binom.pmf(np.arange(7), 6, 0.4))


@pytest.mark.parametrize("name", CONTROLS)
def test_an_odd_number_of_patterns_has_no_halves(name):
    with pytest.raises(ConstantError, match="M = 7"):
        OneLayer(tasks=name, M=7)


@pytest.mark.parametrize("name", COVERS)
def test_a_cover_may_have_any_number_of_patterns(name):
    assert OneLayer(tasks=name, M=7).task_set(0).starts == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha": 0.0}, "without an example"),
        ({"alpha": 1.5}, "alpha"),
        ({"M": 31}, "d_X = 30"),
        ({"tasks": "shift"}, "did you mean shifts"),
        ({"c_tr": 1.0}, "c_tr"),
        ({"K": 0}, "K"),
        ({"l_tr": 0}, "l_tr"),
    ],
)
def test_constants_that_cannot_be_are_refused(changes, words):
    for kind in (OneLayer, Deep):
        with pytest.raises(ConstantError, match=words):
            kind(**changes)


# Counts


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(TASK_SETS),
    half=st.integers(2, 6),
    K=st.integers(1, 4),
    l=st.integers(0, 12),
    alpha=st.floats(0.01, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_counts_are_those_of_the_same_examples_one_by_one(name, half, K, l, alpha, seed):
    M, B = 2 * half, 5
    tasks = task_set(name, M, K, np.random.default_rng(seed))
    prompts = draw(np.random.default_rng(seed + 1), B, l, alpha=alpha, tasks=tasks)
    written_out = textbook_cot.drawn(np.random.default_rng(seed + 1), B, l, alpha=alpha, tasks=tasks)
    count_BKM = counted(prompts)
    with np.errstate(divide="ignore"):
        assert (prompts.log_count_EBKM[0].numpy() == np.log(count_BKM).astype(np.float32)).all()
    for b, prompt in enumerate(written_out):
        assert prompts.step_EBKM[0, b].tolist() == prompt.maps and int(prompts.asked_EB[0, b]) == prompt.asked
        assert prompts.path_EBS[0, b].tolist() == (path := prompt.path(prompt.z_0))
        assert int(prompts.query_EB[0, b]) == path[prompt.asked] and int(prompts.target_EB[0, b]) == prompt.label
        count_KM = np.zeros((K, M), dtype=int)
        for k, i, j in prompt.moves():
            count_KM[k, i] += 1
            assert prompt.maps[k][i] == j
        assert (count_BKM[b] == count_KM).all()
        assert count_KM.sum(1).tolist() == [l + (k < prompt.asked) for k in range(K)]


def test_batches_and_members_take_prompts_apart_and_put_them_together():
    members = [some(7, seed=seed, correlation=0.3 * (seed == 1)) for seed in range(3)]
    whole = Prompts.stack(members)
    assert whole.row_EMM is not None and whole.asked_EB.shape == (3, 7)
    for e, member in enumerate(members):
        alone = whole.member(e)
        assert equal(alone, member) and alone.row_EMM is not None
        assert torch.equal(alone.row_EMM[0], torch.eye(6) if member.row_EMM is None else member.row_EMM[0])
        assert alone.step_EBKM.data_ptr() == whole.step_EBKM[e].data_ptr()
    batches = whole.split(3)
    assert [b.asked_EB.shape for b in batches] == [(3, 3), (3, 3), (3, 1)]
    for name in PARTS:
        assert torch.equal(torch.cat([getattr(b, name) for b in batches], 1), getattr(whole, name))
    assert all(b.row_EMM is whole.row_EMM for b in batches)
    assert equal(whole.to("cpu"), whole) and whole.to("meta").asked_EB.device.type == "meta"
    plain = Prompts.stack([members[0], members[2]])
    assert plain.row_EMM is None and all(b.row_EMM is None for b in plain.split(4))


# Correlated patterns


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40), more=st.integers(0, 20), c=st.floats(0, 0.99))
def test_correlated_rows_are_unit_rows_of_one_correlation_in_the_span_of_the_given_ones(seed, count, more, c):
    given_rows = orthonormal(np.random.default_rng(seed), count, count + more)
    rows = correlated(given_rows, c)
    assert rows.shape == given_rows.shape and rows.dtype == np.float32
    gram = np.full((count, count), c) + (1 - c) * np.eye(count)
    assert np.abs(rows @ rows.T - gram).max() < 2e-6
    # Each is the root of the Gram matrix times the given rows, nearest to its own: nothing leaves their span.
    mixing = rows.astype(float) @ given_rows.astype(float).T
    assert np.abs(mixing - mixing.T).max() < 2e-6 and (np.diag(mixing) > 0).all()
    assert np.abs(mixing @ mixing.T - gram).max() < 4e-6 and np.linalg.eigvalsh(mixing)[0] > 0


@pytest.mark.parametrize("c", [-0.1, 1.0, 2.0, float("nan")])
def test_a_correlation_that_cannot_be_is_refused(c):
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        correlated(np.eye(3), c)


def test_training_patterns_are_axes_unless_they_are_correlated():
    assert (pattern_rows(5, 0.0) == np.eye(5)).all()
    prompts = some(4, M=6, correlation=0.25)
    assert prompts.row_EMM is not None and (prompts.row_EMM[0].numpy() == pattern_rows(6, 0.25)).all()
    assert np.abs(pattern_rows(6, 0.25) @ pattern_rows(6, 0.25).T - 0.25 - 0.75 * np.eye(6)).max() < 1e-6
    assert some(4).row_EMM is None and equal(prompts, some(4))


# What a member's prompts are a function of

BASE = OneLayer(M=6, d_X=8, B=5, l_tr=7)
MEMBERS = [
    (BASE, 0),
    (BASE.replace({"alpha": 0.7}), 0),
    (BASE.replace({"tasks": "permutations"}), 0),
    (BASE.replace({"l_tr": 12, "tasks": "unequal"}), 3),
    (BASE.replace({"lr": 0.1, "delta": 0.3}), 1),
]


def trained_on(members, steps=(0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 3)):
    """Each member's prompts at some steps, as tensors of their own."""
    configs, seeds = zip(*members, strict=True)
    draws = type(configs[0]).job(configs, seeds, "cpu").draws
    found = [[] for _ in members]
    for step in steps:
        prompts = draws(step)
        for e, mine in enumerate(found):
            mine += [getattr(prompts, name)[e].clone() for name in PARTS]
    return found


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_members_prompts_do_not_depend_on_company_order_or_the_steps_asked_before():
    alone = [trained_on([member])[0] for member in MEMBERS]
    for order in ([0, 1], [4, 2, 0], [3, 1, 4, 0, 2]):
        for i, mine in zip(order, trained_on([MEMBERS[i] for i in order]), strict=True):
            assert same(mine, alone[i])
    backward = trained_on(MEMBERS[:1], (2 * BLOCK + 3, BLOCK, BLOCK - 1, 1, 0))[0]
    assert same([t for i in (4, 3, 2, 1, 0) for t in backward[4 * i : 4 * i + 4]], alone[0])


def test_prompts_depend_on_the_data_constants_and_the_seed_only():
    (alone,) = trained_on([(BASE, 0)])
    for kept in ({"lr": 3.0}, {"steps": 7}, {"delta": 0.5}, {"train_value": True}):
        assert same(trained_on([(BASE.replace(kept), 0)])[0], alone)
    for other in ({"alpha": 0.5}, {"tasks": "half"}, {"c_tr": 0.1}, {"d_X": 9}):
        assert not same(trained_on([(BASE.replace(other), 0)])[0], alone)
    assert not same(trained_on([(BASE, 1)])[0], alone)
    assert same(trained_on([(Deep(steps=3, width=8, n_layer=1).replace(BASE.axes("data")), 0)])[0], alone)


def test_no_step_repeats_another():
    draws = OneLayer.job([BASE], [0], "cpu").draws
    assert len({draws(step).step_EBKM.numpy().tobytes() for step in range(3 * BLOCK)}) == 3 * BLOCK


def test_the_draws_of_a_step_are_pinned():
    """With other numbers, stored cells lose their meaning."""
    prompts = OneLayer.job([BASE], [0], "cpu").draws(3)
    assert prompts.path_EBS[0].tolist() == [[0, 4, 4, 2], [0, 3, 4, 2], [1, 4, 5, 1], [0, 5, 5, 3], [1, 4, 2, 5]]
    assert prompts.asked_EB[0].tolist() == [2, 1, 0, 1, 2]
    assert counted(prompts)[0].tolist() == [[4, 1, 1, 2, 0, 0], [1, 2, 0, 0, 4, 1], [1, 2, 0, 0, 3, 1]]
