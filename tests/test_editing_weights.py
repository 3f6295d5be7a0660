"""What task vectors are made of: the best approximations of a rank, rows and their pruning, edits with less of them."""

import math

import numpy as np
import pytest
import textbook_editing
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lemmata.editing.data import outside
from lemmata.editing.network import OneLayer
from lemmata.editing.probes import fresh_samples
from lemmata.editing.vectors import deltas
from lemmata.editing.weights import PrunedRows, Ranks, approximated, kept_rows, with_deltas
from lemmata.lab.ensemble import fit
from lemmata.lab.streams import stream

SMALL = OneLayer(d=9, J=3, P=6, delta_s=0.5, delta_h=0.2, B=8, m=10, xi=0.3, lr=2.0, steps=20)
EDITS = ("adding", "keeping", "forgetting", "reaching")
CONFIGS, SEEDS = [SMALL.replace({"alpha": 0.4}), SMALL.replace({"alpha": -0.2})], [3, 8]


@pytest.fixture(scope="module")
def net():
    """Two members with tasks of different correlations."""
    return fit(CONFIGS, SEEDS)


def table(member_rows):
    """Rows as a mapping from metric, x and coordinates to the value; no two rows share them."""
    found = {(row.metric, row.x, *sorted(row.at.items())): row.value for row in member_rows}
    assert len(found) == len(member_rows)
    return found


def lost(net, e=0):
    """The same members, one of which has diverged."""
    params = {name: p.clone() for name, p in net.params.items()}
    params["delta.V"][e, 1, 0, 0] = torch.nan
    params["delta.W"][e] = torch.inf
    return net.with_params(params)


def edit_losses(net, e, beta, count):
    """The losses of the edits of Theorems 1 to 3, by the textbook."""
    config, rng = net.configs[e], np.random.default_rng(0)
    seen = fresh_samples(net, count, "editing.test")
    unseen = fresh_samples(net, count, "editing.outside", [outside([0.7, -0.5])[None]] * len(net.seeds))

    def losses(coefficients, samples, tasks):
        edited = textbook_editing.edited(net.params, e, coefficients)
        written = [textbook_editing.written_out(samples, e, t, config.P, rng) for t in tasks]
        return [float(textbook_editing.loss(edited, samples_t)) for samples_t in written]

    adding = max(losses([1.0, 1 - config.alpha + beta], seen, (0, 1)))
    keeping, forgetting = losses([1.0, -1.0], seen, (0, 1))
    (reaching,) = losses([3.0, -1.0], unseen, (0,))
    return {"adding": adding, "keeping": keeping, "forgetting": forgetting, "reaching": reaching}


def edited_rows(found, x, **at):
    """The measured losses of all edits at one x."""
    return {e: found["edit_hinge", x, *sorted({**at, "edit": e}.items())] for e in EDITS}


# Approximations


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 8), st.integers(0, 1000))
def test_an_approximation_is_the_best_of_its_rank(rows, columns, rank, seed):
    rng = np.random.default_rng(seed)
    stack = rng.standard_normal((2, 3, rows, columns))
    found = approximated(torch.from_numpy(stack), rank).numpy()
    for i in np.ndindex(2, 3):
        u, s, v = np.linalg.svd(stack[i], full_matrices=False)
        np.testing.assert_allclose(found[i], (u[:, :rank] * s[:rank]) @ v[:rank], rtol=0, atol=1e-12)
        assert np.linalg.matrix_rank(found[i]) <= rank
        assert np.linalg.norm(stack[i] - found[i]) == pytest.approx(np.sqrt((s[rank:] ** 2).sum()), abs=1e-12)
    if rank >= min(rows, columns):
        np.testing.assert_allclose(found, stack, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_matrix_with_no_numbers_has_no_approximation_and_the_others_have_theirs(bad):
    stack = torch.randn(2, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = approximated(stack, 2)
    damaged = stack.clone()
    damaged[0, 1, 2, 0] = bad
    found = approximated(damaged, 2)
    assert found[0, 1].isnan().all()
    for i in ((0, 0), (1, 0), (1, 1)):
        assert torch.equal(found[i], expected[i])


def test_kept_rows_are_kept_and_others_are_zero():
    matrix, keep = torch.arange(1.0, 13).view(2, 3, 2), torch.tensor([[True, False, True], [False, False, True]])
    assert kept_rows(matrix, keep).tolist() == [[[1, 2], [0, 0], [5, 6]], [[0, 0], [0, 0], [11, 12]]]


def test_other_task_vectors_leave_base_and_readout(net):
    vector = 2 * net.params["delta.V"]
    other = with_deltas(net, {"V": vector})
    assert other.params["delta.V"] is vector and net.params["delta.V"] is not vector
    assert all(other.params[n] is p for n, p in net.params.items() if n != "delta.V")
    assert (other.configs, other.seeds, other.step) == (net.configs, net.seeds, net.step)


# Ranks


def test_ranks_are_those_of_numpys_singular_values(net):
    m = Ranks(beta=0.2, ranks=(1, 2), samples=5)
    for e, rows in enumerate(m.observe(net, {})):
        found = table(rows)
        for matrix in ("W", "V"):
            at = ("matrix", matrix)
            s_TR = np.linalg.svd(net.params[f"delta.{matrix}"][e].numpy(), compute_uv=False)
            for i in range(5):
                assert found["singular", i + 1, at] == pytest.approx(s_TR[:, i].mean(), abs=1e-5)
            for k in (1, 2):
                rest_T, whole_T = np.linalg.norm(s_TR[:, k:], axis=1), np.linalg.norm(s_TR, axis=1)
                assert found["residual", k, at] == pytest.approx(rest_T.mean(), abs=1e-5)
                assert found["relative", k, at] == pytest.approx((rest_T / whole_T).mean(), abs=1e-5)
        assert len(found) == 2 * (5 + 2 * 2) + (2 + 1) * len(EDITS) + 1
        for k in (1, 2):
            low = with_deltas(net, {name: approximated(delta, k) for name, delta in deltas(net.params).items()})
            assert edited_rows(found, k) == pytest.approx(edit_losses(low, e, 0.2, 5), abs=1e-5)
        # The whole task vectors are of rank 6, the fewer of rows and columns.
        assert edited_rows(found, 6) == pytest.approx(edit_losses(net, e, 0.2, 5), abs=1e-5)
    # What is cut off is missed.
    found = table(Ranks(ranks=(1,), samples=200).observe(net, {})[0])
    missed = {edit: abs(edited_rows(found, 6)[edit] - edited_rows(found, 1)[edit]) for edit in EDITS}
    assert min(missed["adding"], missed["keeping"]) > 1e-3, missed


def test_at_full_rank_nothing_is_lost(net):
    m = Ranks(beta=0.2, ranks=(6,), samples=50)
    for e, rows in enumerate(m.observe(net, {})):
        found = table(rows)
        for matrix in ("W", "V"):
            assert found["residual", 6, ("matrix", matrix)] == pytest.approx(0, abs=1e-6)
        assert edited_rows(found, 6) == pytest.approx(edit_losses(net, e, 0.2, 50), abs=1e-5)


def test_the_second_direction_is_compared_with_the_mean_of_the_irrelevant_patterns(net):
    """Made by hand: sqrt(m) times a matrix of rank 2, whose second direction is any mixture of patterns."""
    for mixture, cosine in (([1.0, 1, 1], 1.0), ([-1.0, -1, -1], 1.0), ([1, 0, 0], 3**-0.5), ([1, -1, 0], 0.0)):
        second_D = torch.tensor([0.0, 0, 0, *mixture])
        first_D = torch.tensor([1.0, 2.0, 0, 0, 0, 0])
        left = torch.eye(10)[:2]
        V_mD = 5 * left[0][:, None] * first_D + left[1][:, None] * second_D
        made = with_deltas(net, {"V": V_mD.expand(2, 2, 10, 6)})
        for rows in Ranks(ranks=(1,), samples=2).observe(made, {}):
            assert table(rows)["second_on_irrelevant", 0] == pytest.approx(cosine, abs=1e-5)


# Rows


def test_shares_of_rows_are_counted_by_their_norms(net):
    norms = torch.tensor([[4.0, 4, 3, 2, 1.9, 0.5, 0.39, 0.3, 0, 0], [1.0, *[0.42] * 8, 0.06]])
    direction_D = torch.tensor([0.6, 0, 0, 0, -0.8, 0])
    made = with_deltas(net, {"V": (norms[..., None] * direction_D).expand(2, 2, 10, 6)})
    m = PrunedRows(fractions=(0.0,), small=0.1, eps=1.0, samples=2)
    for rows in m.observe(made, {}):
        found = table(rows)
        # Below a tenth of their own task's largest: 0.39, 0.3, 0, 0 and 0.06 of 20; up to half of it: 1.9, 0.5, 0.42.
        assert found["small_share", 0] == pytest.approx(5 / 20)
        assert found["middle_share", 0] == pytest.approx(10 / 20)
        # Below half of the largest: 1.9 and eight of 0.42, 0.5, 0.39, 0.3 and 0.06; above 1 / sqrt(10) all but three.
        assert found["unpromised_share", 0] == pytest.approx(11 / 20)
        # The median of 4, 4, 3, 2 and 1.
        assert found["large_norm", 0] == pytest.approx(3.0)
        share = {x: value for (metric, x), value in ((k[:2], v) for k, v in found.items()) if metric == "rows"}
        assert len(share) == m.BINS == 20 and sum(share.values()) == pytest.approx(1)
        assert list(share) == pytest.approx([0.025 + 0.05 * i for i in range(20)])
        # Two rows of 0, eight of 0.42, one just below half of the largest; the largest are in the last bin.
        height = list(share.values())
        assert [height[i] for i in (0, 8, 9, 10, 19)] == pytest.approx([0.1, 0.4, 0.05, 0.05, 0.15])


def test_the_smallest_rows_or_as_many_random_ones_are_pruned(net):
    fractions = (0.0, 0.3, 0.7, 1.0)
    m = PrunedRows(beta=0.2, fractions=fractions, samples=6)
    V_ETmD = net.params["delta.V"]
    for e, rows in enumerate(m.observe(net, {})):
        found = table(rows)
        for order in ("smallest", "random"):
            values = []
            for fraction in fractions:
                pruned = V_ETmD.clone()
                for t in (0, 1):
                    key_m = V_ETmD[e, t].norm(dim=1).numpy()
                    if order == "random":
                        key_m = stream("editing.pruned", SEEDS[e]).random((2, 10), dtype=np.float32)[t]
                    gone = np.argsort(key_m)[: round(10 * fraction)]
                    assert len(gone) == {0.0: 0, 0.3: 3, 0.7: 7, 1.0: 10}[fraction]
                    pruned[e, t, torch.from_numpy(gone)] = 0
                expected = edit_losses(with_deltas(net, {"V": pruned}), e, 0.2, 6)
                values.append(edited_rows(found, fraction, order=order))
                assert values[-1] == pytest.approx(expected, abs=1e-5)
            assert all(len({value[edit] for value in values}) == 4 for edit in ("adding", "keeping"))
        for fraction in (0.0, 1.0):
            ends = [edited_rows(found, fraction, order=order) for order in ("smallest", "random")]
            assert ends[0] == pytest.approx(ends[1], abs=1e-6)


def test_rows_that_did_not_move_are_pruned_without_a_loss(net):
    norms = torch.linspace(1, 2, 10)
    norms[torch.tensor([1, 4, 7])] = 0
    vector = net.params["delta.V"] * norms[:, None]
    for rows in PrunedRows(fractions=(0.0, 0.3), samples=40).observe(with_deltas(net, {"V": vector}), {}):
        found = table(rows)
        smallest = [edited_rows(found, f, order="smallest") for f in (0.0, 0.3)]
        assert smallest[0] == pytest.approx(smallest[1], abs=1e-6)
        assert edited_rows(found, 0.3, order="random") != pytest.approx(smallest[0], abs=1e-3)


# Members


@pytest.mark.parametrize("m", [Ranks(samples=30), PrunedRows(samples=30, fractions=(0.0, 0.5))])
def test_a_diverged_member_leaves_no_numbers_and_disturbs_no_other(m, net):
    intact = [table(rows) for rows in m.observe(net, {})]
    found = [table(rows) for rows in m.observe(lost(net), {})]
    assert found[0].keys() == intact[0].keys() and found[1] == pytest.approx(intact[1], abs=1e-5)
    assert all(math.isnan(value) for value in found[0].values())
    assert all(math.isfinite(value) for value in found[1].values())


@pytest.mark.parametrize("m", [Ranks(samples=30), PrunedRows(samples=30, fractions=(0.0, 0.5))])
def test_a_member_has_the_same_rows_alone_and_in_company(m, net):
    whole = m.observe(net, {})
    for e in (0, 1):
        (alone,) = m.observe(net.take([e]), {})
        assert table(alone) == pytest.approx(table(whole[e]), abs=1e-5)


def test_nothing_learned_has_no_shares():
    net = SMALL.replace({"steps": 0}).train([0])
    found = table(PrunedRows(samples=3, fractions=(0.5,)).observe(net, {})[0])
    assert all(math.isnan(value) for key, value in found.items() if key[0] != "edit_hinge")
    assert edited_rows(found, 0.5, order="random") == edited_rows(found, 0.5, order="smallest")
    found = table(Ranks(samples=3).observe(net, {})[0])
    assert found["residual", 1, ("matrix", "V")] == 0 and math.isnan(found["relative", 1, ("matrix", "V")])
