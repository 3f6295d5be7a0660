"""Directions, kinds of tokens, and the law of samples as counts and as tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, chisquare, kstest

from lemmata.editing.data import Counts, Tokens, count_kinds, directions, kind_rows, outside, stacked, tokens_of
from lemmata.editing.network import OneLayer
from lemmata.lab.errors import InputError

# A sound sampler fails a comparison once in 100,000 seeds; the seeds are fixed.
FALSE_ALARM = 1e-5


def likely(counts, share):
    """Whether counts are what chance makes of these shares; what is hardly expected is counted together."""
    counts, expected = np.asarray(counts), np.sum(counts) * np.asarray(share)
    few = expected < 10
    found, expected = (np.append(n[~few], n[few].sum()) for n in (counts, expected))
    kept = expected > 0
    assert kept.sum() > 1 and not found[~kept].any()
    return chisquare(found[kept], expected[kept])[1] > FALSE_ALARM


# Directions


@settings(deadline=None)
@given(alpha=st.floats(-1, 1))
def test_two_tasks_have_any_correlation(alpha):
    rows = directions(2, alpha)
    assert rows.shape == (2, 3) and (rows[:, 2] == 0).all()
    np.testing.assert_allclose(rows @ rows.T, [[1, alpha], [alpha, 1]], rtol=0, atol=1e-12)


@settings(deadline=None)
@given(tasks=st.integers(3, 30), alpha=st.floats(0, 0.99))
def test_more_tasks_have_one_correlation_in_common(tasks, alpha):
    rows = directions(tasks, alpha)
    assert rows.shape == (tasks, tasks + 1) and (rows[:, tasks] == 0).all()
    np.testing.assert_allclose(rows @ rows.T, alpha + (1 - alpha) * np.eye(tasks), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("tasks", "alpha"), [(1, 0.0), (0, 0.0), (2, 1.01), (2, -1.01), (2, float("nan")), (3, -0.1), (3, 1.0), (5, 2.0)]
)
def test_directions_that_cannot_be_are_refused(tasks, alpha):
    with pytest.raises(InputError) as caught:
        directions(tasks, alpha)
    assert "[0, 1)" in caught.value.expected and f"{alpha:g}" in caught.value.got and caught.value.fix


@settings(deadline=None)
@given(gamma=st.lists(st.floats(-1, 1), min_size=2, max_size=5), scale=st.floats(0, 1))
def test_an_outside_direction_is_a_unit_vector_with_the_given_coefficients(gamma, scale):
    gamma = np.array(gamma)
    gamma = scale * gamma / max(1, np.linalg.norm(gamma))
    direction = outside(gamma.tolist())
    assert len(direction) == len(gamma) + 1 and (direction[:-1] == gamma).all()
    assert direction[-1] >= 0 and np.linalg.norm(direction) == pytest.approx(1, abs=1e-6)


def test_the_whole_of_a_direction_can_be_in_the_tasks_and_no_more():
    assert outside([0.6, -0.8]).tolist() == pytest.approx([0.6, -0.8, 0], abs=1e-7)
    with pytest.raises(InputError) as caught:
        outside([0.792, -0.637])
    assert "at most 1" in caught.value.expected and caught.value.got == "1.03303"
    assert "scale them down" in caught.value.fix


# Kinds


@pytest.mark.parametrize(("tasks", "alpha", "J", "D"), [(2, -0.6, 1, None), (2, 0.3, 4, None), (3, 0.2, 2, 11)])
def test_kinds_are_the_direction_its_negative_and_the_irrelevant_patterns(tasks, alpha, J, D):
    direction_TS = directions(tasks, alpha)
    row_TKD = kind_rows(direction_TS, J, D).numpy()
    assert row_TKD.shape == (tasks, 2 + J, D or tasks + 1 + J) and row_TKD.dtype == np.float32
    whole_TD = np.pad(direction_TS, ((0, 0), (0, row_TKD.shape[2] - tasks - 1))).astype(np.float32)
    np.testing.assert_array_equal(row_TKD[:, 0], whole_TD)
    np.testing.assert_array_equal(row_TKD[:, 1], -whole_TD)
    # The irrelevant patterns are the same for all tasks, orthonormal and orthogonal to all mu and to mu_perp.
    for t in range(tasks):
        np.testing.assert_array_equal(row_TKD[t, 2:], row_TKD[0, 2:])
        others = np.concatenate([row_TKD[:, 0], np.eye(row_TKD.shape[2], dtype=np.float32)[[tasks]], row_TKD[t, 2:]])
        gram = others @ others.T
        np.testing.assert_array_equal(gram[tasks + 1 :], np.eye(tasks + 1 + J)[tasks + 1 :])
        assert (gram[:tasks, tasks] == 0).all()


def test_the_outside_direction_has_its_own_coordinate():
    row_KD = kind_rows(outside([0.6, 0.0])[None], J=2)[0]
    np.testing.assert_allclose(row_KD[0], [0.6, 0, 0.8, 0, 0], atol=1e-7)
    assert row_KD[2:, :3].abs().max() == 0


# Counts


@pytest.mark.parametrize(
    ("P", "J", "delta_s", "delta_h", "right", "wrong"),
    [(20, 20, 0.4, 0.1, 8, 2), (10, 3, 0.4, 0.1, 4, 1), (7, 2, 0.5, 0.0, 4, 0), (6, 4, 0.7, 0.3, 4, 2)],
)
def test_every_sample_has_the_same_numbers_of_both_directions(P, J, delta_s, delta_h, right, wrong):
    count_BK, label_B = count_kinds(np.random.default_rng(P), 10_000, P=P, J=J, delta_s=delta_s, delta_h=delta_h)
    assert count_BK.shape == (10_000, 2 + J) and label_B.dtype == np.float32
    assert (count_BK.sum(1) == P).all() and (count_BK >= 0).all() and set(label_B.tolist()) == {-1.0, 1.0}
    for label, pair in ((1, [right, wrong]), (-1, [wrong, right])):
        assert (count_BK[label_B == label, :2] == pair).all()
    assert binomtest(int((label_B > 0).sum()), 10_000).pvalue > FALSE_ALARM
    rest = P - right - wrong
    if not rest:
        assert not count_BK[:, 2:].any()
        return
    assert likely(count_BK[:, 2:].sum(0), np.full(J, 1 / J))
    # Each on its own: a pattern's number is binomial in a sample, whatever the label and the sample before.
    for k in (2, 1 + J):
        assert likely(np.bincount(count_BK[:, k], minlength=rest + 1), binom.pmf(np.arange(rest + 1), rest, 1 / J))
    there = count_BK[:, 2] > 0
    share = there.mean()
    for other in (label_B > 0, np.roll(label_B > 0, 1), np.roll(there, 1)):
        both = int((there & other).sum())
        assert binomtest(both, int(other.sum()), share).pvalue > FALSE_ALARM


# Tokens


def some_counts(count=300, P=12, J=3):
    return count_kinds(np.random.default_rng(1), count, P=P, J=J, delta_s=0.5, delta_h=0.1)[0]


def test_tokens_are_the_counts_written_out():
    count_BK, row_KD = some_counts(), kind_rows(directions(2, -0.6), 3, 8)[1]
    token_BPD = tokens_of(np.random.default_rng(2), count_BK, row_KD, 0.0)
    assert token_BPD.shape == (300, 12, 8)
    same_BPK = (token_BPD[:, :, None] == row_KD).all(-1)
    assert (same_BPK.sum(-1) == 1).all()
    np.testing.assert_array_equal(same_BPK.sum(1), count_BK)
    # In any order: each place holds each kind as often as chance has it.
    for p in (0, 5, 11):
        assert likely(same_BPK[:, p].sum(0).numpy(), count_BK.sum(0) / count_BK.sum())


def test_noise_is_normal_in_every_coordinate_and_of_the_given_size():
    count_BK, row_KD = some_counts(), kind_rows(directions(2, 0.0), 3, 8)[0]
    plain = tokens_of(np.random.default_rng(2), count_BK, row_KD, 0.0)
    noise = (tokens_of(np.random.default_rng(2), count_BK, row_KD, 0.3) - plain).numpy()
    assert noise.dtype == np.float32
    for c in range(8):
        assert kstest(noise[:, :, c].ravel(), "norm", (0, 0.3)).pvalue > FALSE_ALARM
    # Of its own for every token and coordinate.
    assert np.abs(np.corrcoef(noise.reshape(-1, 8).T) - np.eye(8)).max() < 5 / 3600**0.5
    assert np.abs(np.corrcoef(noise[:, :, 0].T) - np.eye(12)).max() < 5 / 300**0.5


# Samples of an ensemble

SMALL = OneLayer(d=9, J=3, P=8, delta_s=0.5, delta_h=0.125, tasks=3, alpha=0.2)


@pytest.mark.parametrize("changes", [{}, {"tau": 0.05}, {"readout": "per-position"}])
def test_samples_have_the_direction_of_their_task_and_label(changes):
    config = SMALL.replace(changes)
    direction_TS = directions(3, 0.2)
    samples = config.samples(np.random.default_rng(3), 50, direction_TS)
    assert isinstance(samples, Tokens if changes else Counts) and samples.label_ETB.shape == (1, 3, 50)
    for t in range(3):
        mu_D = torch.from_numpy(direction_TS[t]).float()
        if isinstance(samples, Tokens):
            assert samples.token_ETBPD.shape == (1, 3, 50, 8, config.D)
            # Tokens lie along the direction, against it, or have none of it.
            along_BP = samples.token_ETBPD[0, t, :, :, :4] @ mu_D
            right_B, wrong_B = (along_BP > 0.5).sum(-1), (along_BP < -0.5).sum(-1)
        else:
            along_K = samples.row_ETKD[0, t, :, :4] @ mu_D
            assert along_K.tolist() == pytest.approx([1, -1, 0, 0, 0], abs=1e-6)
            count_BK = (8 * samples.share_ETBK[0, t]).round()
            assert torch.equal(samples.share_ETBK[0, t].sum(-1), torch.ones(50))
            right_B, wrong_B = count_BK[:, 0], count_BK[:, 1]
        label_B = samples.label_ETB[0, t]
        assert torch.equal(right_B - wrong_B, 3 * label_B) and torch.equal(right_B + wrong_B, torch.full((50,), 5))
    # Each task has samples of its own.
    assert len({label.numpy().tobytes() for label in samples.label_ETB[0]}) == 3


@pytest.mark.parametrize("changes", [{}, {"tau": 0.2}])
def test_samples_are_split_put_together_and_moved(changes):
    config = SMALL.replace(changes)
    members = [config.samples(np.random.default_rng(e), 7, directions(3, e / 10)) for e in range(3)]
    whole = stacked(members)
    assert type(whole) is type(members[0]) and whole.label_ETB.shape == (3, 3, 7)
    for e, member in enumerate(members):
        for one, all_of_them in zip(vars(member).values(), vars(whole).values(), strict=True):
            assert torch.equal(one[0], all_of_them[e])
    batches = whole.split(3)
    assert [b.label_ETB.shape[2] for b in batches] == [3, 3, 1]
    for name, value in vars(whole).items():
        if name == "row_ETKD":
            assert all(getattr(b, name) is value for b in batches)
        else:
            assert torch.equal(torch.cat([getattr(b, name) for b in batches], 2), value)
            assert getattr(batches[0], name).data_ptr() == value.data_ptr()
    moved = whole.to("meta")
    assert type(moved) is type(whole) and all(p.device.type == "meta" for p in vars(moved).values())
    assert all(
        torch.equal(one, other)
        for one, other in zip(*(vars(s).values() for s in (whole.to("cpu"), whole)), strict=True)
    )
