"""Test prompts: how steps go wrong against the matrices prescribed, noise, patterns, and what shares random numbers."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.stats import beta, binom, chi2, chisquare, kstest, norm

from lemmata.cot.data import pattern_rows
from lemmata.cot.deep import Deep
from lemmata.cot.mistakes import SPLITS, check_mistakes, follow
from lemmata.cot.network import OneLayer
from lemmata.cot.testing import LAWS, TestSet, slices, tsr_patterns
from lemmata.cot.theory import condition_matrices, step_accuracies, step_matrices, transitions, wrong_pieces
from lemmata.lab.errors import ConstantError, InputError

# A sound law fails a comparison once in a million seeds, and no test has more than 200; the seeds are fixed.
FALSE_ALARM = 1e-6
# Constants that every split has; an even split of tau = .5 leaves little room for rho.
CONSTANTS = {"one": (0.5, 0.6), "last": (0.4, 0.75), "even": (0.5, 0.8), "condition-1": (0.5, 0.8)}
CONSTANTS["no-condition-1"] = CONSTANTS["condition-1"]


def numbers(prompts=64, l=40, *, states=6, seed=0, config=None):
    """The random numbers of one slice of prompts."""
    return next(iter(slices(config or OneLayer(), seed, prompts=prompts, l=l, states=states)))


def states(test, given, states=6):
    """The states of every example, state_BLS, read off patterns that are axes, without noise."""
    axis_XX = np.eye(states, dtype=np.float32)
    return replace(test, noise=0.0).prompts(given, axis_XX).vector_BLSD.argmax(-1).numpy()


def likely(counts, share):
    """Whether counts are what chance makes of these shares; nothing happens that has none."""
    counts, share = np.asarray(counts), np.asarray(share, dtype=float)
    assert share.sum() == pytest.approx(1) and not counts[share < 1e-12].any()
    found, expected = counts[share >= 1e-12], share[share >= 1e-12] * counts.sum()
    assert expected.min() > 5
    return len(found) == 1 or chisquare(found, expected * (found.sum() / expected.sum()))[1] > FALSE_ALARM


# How steps go wrong


def prescribed(split, tau, rho, right_KX, order_KW, chosen, favoured):
    """The step matrices of one prompt, entry by entry as the table of `lemmata.cot.mistakes` has them."""
    K, X = right_KX.shape
    matrices = []
    for k in range(K):
        A_XX = np.zeros((X, X))
        wrong = {"one": k == chosen, "last": k == K - 1}.get(split, True)
        p = tau ** (1 / K) if split == "even" else tau if wrong else 1.0
        p = (0.45, 1.0, 0.55)[k] if split.endswith("condition-1") else p
        for i, f_i in enumerate(right_KX[k]):
            A_XX[i, f_i] = p
            if split == "no-condition-1" and k == K - 1 and f_i != favoured:
                A_XX[i, [j not in (f_i, favoured) for j in range(X)]] = 0.1 / (X - 2)
                A_XX[i, favoured] = 0.35
            elif split.endswith("condition-1"):
                A_XX[i, np.arange(X) != f_i] = (1 - p) / (X - 1)
            elif p < 1:
                for q, piece in enumerate(wrong_pieces(p, rho, X)):
                    A_XX[i, (f_i + order_KW[k, q]) % X] = piece
        matrices.append(A_XX)
    return matrices


def tasks(B, K, X, rng):
    """Right steps, orders of the wrong states, the corrupted step and the favoured state of some prompts."""
    right_BKX = rng.permuted(np.broadcast_to(np.arange(X), (B, K, X)), axis=-1)
    order_BKW = rng.permuted(np.broadcast_to(np.arange(1, X), (B, K, X - 1)), axis=-1)
    return right_BKX, order_BKW, rng.integers(K, size=B), rng.integers(X, size=B)


@pytest.mark.parametrize("X", [4, 10])
@pytest.mark.parametrize("split", SPLITS)
def test_examples_go_from_state_to_state_as_the_matrices_say(split, X):
    rng, K, L = np.random.default_rng(7), 3, 60_000
    tau, rho = CONSTANTS[split] if X == 10 else (0.6, 0.85 if split == "even" else 0.5)
    right_BKX, order_BKW, chosen_B, favoured_B = tasks(3, K, X, rng)
    state_BLS = follow(
        split,
        tau,
        rho,
        start_BL=rng.integers(X, size=(3, L)),
        right_BKX=right_BKX,
        order_BKW=order_BKW,
        chosen_B=chosen_B,
        favoured_B=favoured_B,
        chance_BLK=rng.random((3, L, K)),
    )
    for b in range(3):
        matrices = prescribed(split, tau, rho, right_BKX[b], order_BKW[b], chosen_B[b], favoured_B[b])
        for k, A_XX in enumerate(matrices):
            here_L, next_L = state_BLS[b, :, k], state_BLS[b, :, k + 1]
            for i in range(X):
                assert likely(np.bincount(next_L[here_L == i], minlength=X), A_XX[i])
                # Where an example started does not matter, if it is not all the same.
                some_L = (here_L == i) & (state_BLS[b, :, 0] < X / 2)
                assert some_L.sum() < 1000 or likely(np.bincount(next_L[some_L], minlength=X), A_XX[i])


@pytest.mark.parametrize("split", SPLITS)
def test_the_constants_of_every_prompts_matrices_are_those_of_the_theory(split):
    X, K = 10, 3
    tau, rho = CONSTANTS[split]
    right_BKX, order_BKW, chosen_B, favoured_B = tasks(20, K, X, np.random.default_rng(3))
    if split.endswith("condition-1"):
        theory = condition_matrices(split == "condition-1", X)
    else:
        theory = step_matrices(tau, rho, K, X, "even" if split == "even" else "one")
    for b in range(20):
        task = prescribed(split, tau, rho, right_BKX[b], order_BKW[b], chosen_B[b], favoured_B[b])
        found, known = transitions(task), transitions(theory)
        assert (found.path[:, 1:] == [list(walk(right_BKX[b], i)) for i in range(X)]).all()
        assert found.condition_1 == known.condition_1 == (split != "no-condition-1")
        assert found.tau == pytest.approx(known.tau) and found.rho == pytest.approx(known.rho)
        assert found.tau_o == pytest.approx(known.tau_o) or split == "even"
        if split in ("one", "last", "even"):
            assert found.tau == pytest.approx(tau) and found.rho == pytest.approx(rho)
            if split != "even":
                assert found.tau_o == pytest.approx(tau) and found.rho_o == pytest.approx(rho)
        # Every step has rows like those of the theory's step; under "one", the exact ones come first there.
        ordered = sorted(task, key=lambda A_XX: -A_XX.max()) if split == "one" else task
        np.testing.assert_allclose([rows_of(A) for A in ordered], [rows_of(A) for A in theory], atol=1e-12)


def rows_of(A_XX):
    """The rows of a step, however its states are numbered."""
    return sorted(np.sort(A_XX, axis=1).round(12).tolist())


def walk(right_KX, i):
    for f in right_KX:
        i = f[i]
        yield i


def test_without_condition_1_the_outcome_is_mostly_the_favoured_state():
    right_BKX, order_BKW, chosen_B, favoured_B = tasks(1, 3, 10, np.random.default_rng(0))
    task = prescribed("no-condition-1", 0.5, 0.8, right_BKX[0], order_BKW[0], chosen_B[0], favoured_B[0])
    outcome_X = transitions(task).product.argmax(1)
    assert (outcome_X == favoured_B[0]).all()


# Test sets


def test_the_slices_hold_what_the_law_of_prompts_wants():
    given = [numbers(64, 20, states=5, seed=seed) for seed in range(120)]

    def every(name):
        return np.concatenate([getattr(one, name) for one in given])

    B = 64 * 120
    assert likely(np.bincount(every("start_B"), minlength=5), [1 / 5] * 5)
    assert likely(np.bincount(every("favoured_B"), minlength=5), [1 / 5] * 5)
    assert likely(np.bincount(every("chosen_B"), minlength=3), [1 / 3] * 3)
    for name, count in (("right_BKX", 120), ("order_BKW", 24)):
        table = every(name).reshape(B * 3, -1)
        assert (np.sort(table, 1) == np.arange(table.shape[1]) + (name == "order_BKW")).all()
        _, found = np.unique(table @ 6 ** np.arange(table.shape[1]), return_counts=True)
        assert likely(found, [1 / count] * count)
    # Steps have permutations of their own: where 0 goes in one says nothing about the next.
    first, second = every("right_BKX")[:, 0, 0], every("right_BKX")[:, 1, 0]
    assert likely(np.bincount(5 * first + second, minlength=25), [1 / 25] * 25)
    assert likely(np.bincount(every("away_BL").ravel() - 1, minlength=4), [1 / 4] * 4)
    for name in ("same_BL", "chance_BLK"):
        assert kstest(every(name).ravel(), "uniform").pvalue > FALSE_ALARM
    for name in ("noise_BLSD", "query_BD"):
        assert kstest(every(name).ravel()[:200_000], "norm").pvalue > FALSE_ALARM
    chance_N2 = every("chance_BLK")[..., :2].reshape(-1, 2)
    assert abs(np.corrcoef(chance_N2.T)[0, 1]) < norm.isf(FALSE_ALARM / 2) / len(chance_N2) ** 0.5


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.8, 1.0])
def test_so_many_examples_start_where_the_query_does_and_the_others_elsewhere_evenly(alpha):
    same, away = np.zeros(21), np.zeros(6)
    for seed in range(60):
        given = numbers(64, 20, seed=seed)
        start_BL = states(TestSet(alpha=alpha, states=6, tau=0.6, rho=0.5), given)[:, :, 0]
        same += np.bincount((start_BL == given.start_B[:, None]).sum(1), minlength=21)
        away += np.bincount(((start_BL - given.start_B[:, None]) % 6).ravel(), minlength=6)
    share = binom.pmf(np.arange(21), 20, alpha)
    often = share * same.sum() > 5
    rest = [share[~often].sum()] if share[~often].sum() * same.sum() > 5 else []
    total = share[often].sum() + sum(rest)
    assert likely([*same[often], *([same[~often].sum()] if rest else [])], np.array([*share[often], *rest]) / total)
    assert same[share * same.sum() < 1e-3].sum() == 0
    assert likely(away, [alpha, *[(1 - alpha) / 5] * 5])


def test_the_querys_path_is_right_whatever_examples_do():
    given = numbers()
    for split in SPLITS:
        prompts = TestSet(split=split, states=6, tau=0.7, rho=0.88, noise=0.0).prompts(given, np.eye(6))
        for b in range(64):
            assert prompts.path_BS[b, 1:].tolist() == list(walk(given.right_BKX[b], given.start_B[b]))
        assert prompts.query_BD.argmax(-1).tolist() == prompts.path_BS[:, 0].tolist() == given.start_B.tolist()


def test_noise_of_a_coordinate_is_gaussian_and_noise_of_a_norm_is_a_direction():
    config, given = OneLayer(), numbers(64, 20)
    assert set(LAWS) == {"coordinate", "norm"}
    clean, coordinate, length = (
        TestSet(noise=noise, noise_law=law, states=6, tau=0.6, rho=0.5)
        for noise, law in ((0.0, "coordinate"), (0.3, "coordinate"), (0.7, "norm"))
    )
    pattern_XD = clean.patterns(config, 0)
    without, gaussian, fixed = (test.prompts(given, pattern_XD) for test in (clean, coordinate, length))
    for name in ("vector_BLSD", "query_BD"):
        vectors, ideal = getattr(without, name).reshape(-1, 30).numpy(), pattern_XD
        assert (vectors[:, None] == ideal).all(-1).any(1).all()
        noise_ND = getattr(gaussian, name).reshape(-1, 30).numpy() - vectors
        assert kstest(noise_ND.ravel() / 0.3, "norm").pvalue > FALSE_ALARM
        noise_ND = getattr(fixed, name).reshape(-1, 30).numpy() - vectors
        np.testing.assert_allclose(np.linalg.norm(noise_ND, axis=1), 0.7, rtol=1e-5)
        # A coordinate of a uniform direction: its square has a beta distribution, and its sign is a coin.
        coordinate_N = noise_ND[:, 4] / 0.7
        assert kstest(coordinate_N**2, beta(1 / 2, 29 / 2).cdf).pvalue > FALSE_ALARM
        assert abs((coordinate_N > 0).mean() - 0.5) < norm.isf(FALSE_ALARM / 2) / 2 / len(coordinate_N) ** 0.5
    # An example's end of one step is the beginning of the next one, with its noise: there is one vector for both.
    assert without.vector_BLSD.shape == (64, 20, 4, 30)


# Patterns


@pytest.mark.parametrize("c_ts", [0.0, 0.3])
@pytest.mark.parametrize("span", [0.0, 0.5, 1.0])
def test_test_patterns_are_orthonormal_or_correlated_with_their_share_in_the_span(span, c_ts):
    patterns = tsr_patterns(OneLayer(M=12, d_X=30), 3, states=7, span=span, c_ts=c_ts)
    assert patterns.shape == (7, 30) and patterns.dtype == np.float32
    assert np.abs(patterns @ patterns.T - c_ts - (1 - c_ts) * np.eye(7)).max() < 2e-6
    if c_ts == 0:
        np.testing.assert_allclose(np.linalg.norm(patterns[:, :12], axis=1), span, atol=1e-6)
    # All of them keep the share together, whatever they have in common.
    inside = patterns[:, :12].astype(float)
    gram = span**2 * (c_ts + (1 - c_ts) * np.eye(7))
    assert np.abs(inside @ inside.T - gram).max() < 2e-6


def test_test_patterns_are_the_seeds_own_and_favour_no_direction():
    config = OneLayer(M=4, d_X=6)
    found = np.array([tsr_patterns(config, seed, states=2, span=0.8, c_ts=0.0) for seed in range(3000)], dtype=float)
    for inside, size in ((found[..., :4], 0.8), (found[..., 4:], 0.6)):
        d = inside.shape[-1]
        for state in (0, 1):
            assert kstest((inside[:, state, 0] / size) ** 2, beta(1 / 2, (d - 1) / 2).cdf).pvalue > FALSE_ALARM
            spread = np.linalg.inv(np.cov(inside[:, state].T)) * 3000
            assert chi2.sf(inside[:, state].mean(0) @ spread @ inside[:, state].mean(0), d) > FALSE_ALARM
    again = tsr_patterns(config.replace({"lr": 2.0, "alpha": 0.1}), 7, states=2, span=0.8, c_ts=0.0)
    assert (again == found[7].astype(np.float32)).all()


@pytest.mark.parametrize("c_tr", [0.0, 0.25])
def test_without_states_of_their_own_test_prompts_are_on_the_training_patterns(c_tr):
    config = OneLayer(M=6, d_X=9, c_tr=c_tr)
    patterns = TestSet(states=0, tau=0.6, rho=0.5).patterns(config, 0)
    assert (patterns[:, :6] == pattern_rows(6, c_tr)).all() and not patterns[:, 6:].any() and patterns.shape == (6, 9)
    assert numbers(states=0, config=config).right_BKX.shape == (64, 3, 6)


# Common random numbers


def test_what_is_not_changed_stays_as_it_is():
    config, given = OneLayer(), numbers(64, 30, states=8)
    base = TestSet(states=8, alpha=0.5, tau=0.5, rho=0.8, noise=0.2)
    pattern_XD, before = base.patterns(config, 0), states(base, given, 8)
    more = states(replace(base, alpha=0.7), given, 8)
    kept = given.same_BL < 0.5
    assert (more[kept] == before[kept]).all() and (more[given.same_BL >= 0.7] == before[given.same_BL >= 0.7]).all()
    changed = (given.same_BL >= 0.5) & (given.same_BL < 0.7)
    assert (more[changed][:, 0] != before[changed][:, 0]).all() and changed.any()
    # A step that is right stays right under a larger tau, and other steps are not touched.
    better = states(replace(base, tau=0.7, rho=0.7), given, 8)
    at_step = given.chance_BLK[np.arange(64), :, given.chosen_B]
    assert (better[at_step < 0.5] == before[at_step < 0.5]).all()
    differs_BL = (better != before).any(-1)
    assert differs_BL[(at_step > 0.5) & (at_step < 0.7)].all()
    # Noise and patterns move no state, and noise of another size has the same direction.
    loud = replace(base, noise=0.6).prompts(given, pattern_XD).vector_BLSD
    quiet = base.prompts(given, pattern_XD).vector_BLSD
    none = replace(base, noise=0.0).prompts(given, pattern_XD).vector_BLSD
    np.testing.assert_allclose(loud - none, 3 * (quiet - none), atol=2e-6)
    assert (states(replace(base, span=0.5, c_ts=0.2, noise_law="norm"), given, 8) == before).all()


def test_random_numbers_are_a_function_of_the_seed_and_of_how_many_there_are():
    def same(one, other):
        pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)]
        return all(np.array_equal(a, b) for a, b in pairs)

    given = numbers(seed=1)
    elsewhere = OneLayer(M=12, alpha=0.9, l_tr=5, lr=0.1, delta=0.5, tasks="half")
    assert same(numbers(seed=1, config=elsewhere), given) and same(numbers(seed=1, config=Deep(K=3)), given)
    for other in (numbers(seed=2), numbers(seed=1, prompts=63), numbers(seed=1, l=41), numbers(seed=1, states=7)):
        assert not np.array_equal(other.query_BD.ravel()[:50], given.query_BD.ravel()[:50])
    parts = list(slices(OneLayer(), 1, prompts=150, l=5, states=6))
    assert [len(part.start_B) for part in parts] == [64, 64, 22]
    assert len({part.query_BD[:9].tobytes() for part in parts}) == 3


# Refusals


@pytest.mark.parametrize(
    ("changes", "config", "said"),
    [
        ({"alpha": 0.0}, {}, "in (0, 1]"),
        ({"alpha": 1.1}, {}, "in (0, 1]"),
        ({"alpha": float("nan")}, {}, "in (0, 1]"),
        ({"noise": -0.1}, {}, "in [0, 100]"),
        ({"noise_law": "nrom"}, {}, "did you mean norm"),
        ({"split": "evn"}, {}, "did you mean even"),
        ({"span": 1.5}, {}, "in [0, 1]"),
        ({"c_ts": 1.0}, {}, "in [0, 0.99]"),
        ({"tau": 0.5, "rho": 0.95}, {}, "rho in [0.001, 0.888]"),
        ({"split": "last", "tau": 0.05}, {}, "raise tau"),
        ({"split": "even", "rho": 0.5}, {}, 'or split = "one", which has [0.001, 0.888]'),
        ({"split": "condition-1"}, {}, "no tau and no rho with split=condition-1"),
        ({"split": "one", "tau": None}, {}, "tau and rho for split=one"),
        ({"split": "condition-1"}, {"K": 2}, "K = 3 for split=condition-1"),
        ({"split": "no-condition-1"}, {"K": 4}, "K = 3 for split=no-condition-1"),
        ({"states": 21}, {}, "room for 21 orthogonal TSR patterns"),
        ({"states": 11, "span": 0.9}, {}, "room for 11 orthogonal TSR patterns"),
        ({"states": 0, "tau": 0.5, "rho": 0.95}, {"M": 6}, "rho in [0.001, 0.8]"),
    ],
)
def test_test_prompts_that_cannot_be_are_refused(changes, config, said):
    with pytest.raises((ConstantError, InputError)) as caught:
        TestSet(**changes).check(OneLayer(**config))
    assert said in str(caught.value)


def test_what_can_be_drawn_is_not_refused():
    TestSet(states=20, tau=0.5, rho=0.8).check(OneLayer())
    TestSet(states=10, span=0.0).check(OneLayer())
    TestSet(states=0, span=0.3, tau=0.5, rho=0.8).check(OneLayer())
    for split in ("one", "last", "even"):
        check_mistakes(split, *CONSTANTS[split], 3, 10)
        check_mistakes(split, 1.0, 0.5, 3, 10)
    for split in ("condition-1", "no-condition-1"):
        check_mistakes(split, None, None, 3, 10)
    assert step_accuracies(0.5, 3, "even")[0] == pytest.approx(0.5 ** (1 / 3))
