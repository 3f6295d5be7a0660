"""The intervals: against scipy or a slow twin, and on data that ought to make them doubt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as sp

from lemmata.lab import censored, stats
from lemmata.lab.errors import DataError, InputError

ALPHA_P = np.geomspace(0.2, 1.0, 6)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def ends(estimate):
    return estimate.lo, estimate.hi


def times(rng, seeds, *, slope=-2 / 3, noise=0.15):
    """Steps needed at each alpha, about 100 at the smallest."""
    curve_P = 100 * (ALPHA_P / ALPHA_P[0]) ** slope
    return curve_P * np.exp(rng.normal(0.0, noise, (seeds, len(ALPHA_P))))


def checked(times_SP, every=5):
    hi_SP = every * np.ceil(times_SP / every)
    return hi_SP - every, hi_SP


# --- one number a seed -------------------------------------------------------


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mean_t_is_scipys(rng, level):
    values_S = rng.normal(3.0, 2.0, 7)
    estimate = stats.mean_t(values_S, level=level)
    assert ends(estimate) == pytest.approx(sp.ttest_1samp(values_S, 0.0).confidence_interval(level))
    assert (estimate.value, estimate.n) == (pytest.approx(values_S.mean()), 7)


def test_paired_t_is_scipys(rng):
    a_S, b_S = rng.normal(size=(2, 9))
    expected = sp.ttest_rel(a_S, b_S).confidence_interval(0.95)
    assert ends(stats.paired_t(a_S, b_S)) == pytest.approx(expected)


def test_pairs_need_a_partner_each():
    with pytest.raises(InputError, match="2 and 3"):
        stats.paired_t([1.0, 2.0], [1.0, 2.0, 3.0])


def test_geometric_t_turns_with_its_units(rng):
    values_S = np.exp(rng.normal(size=6))
    once, upside_down = stats.geometric_t(values_S), stats.geometric_t(10 / values_S)
    assert once.value == pytest.approx(sp.gmean(values_S))
    assert ends(upside_down) == pytest.approx((10 / once.hi, 10 / once.lo))


@pytest.mark.parametrize("interval", [stats.mean_t, stats.geometric_t])
@pytest.mark.parametrize("diverged", [np.nan, np.inf])
def test_a_diverged_member_is_a_failure_and_no_missing_value(interval, diverged):
    estimate = interval([1.0, diverged, 1.1, 0.9, diverged])
    assert not np.isfinite(estimate.hi)
    assert estimate.objections[0].startswith("2 of 5 seeds")


def test_two_members_that_diverge_alike_are_not_equal():
    assert stats.paired_t([np.inf, 1.0], [np.inf, 0.5]).objections


def test_one_seed_has_no_interval():
    estimate = stats.mean_t([0.5])
    assert (estimate.value, *ends(estimate)) == (0.5, -np.inf, np.inf)
    assert estimate.objections


def test_a_ratio_of_zero_has_no_logarithm():
    assert stats.geometric_t([0.0, 1.0, 2.0]).objections
    assert stats.geometric_t([-1.0, 1.0, 2.0]).objections


def test_no_seeds_is_a_lack_of_data():
    with pytest.raises(DataError):
        stats.mean_t([])


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_probability(level):
    with pytest.raises(InputError, match="level"):
        stats.mean_t([1.0, 2.0], level=level)


def test_prompts_are_not_seeds():
    with pytest.raises(InputError, match="one number for each seed"):
        stats.mean_t(np.ones((5, 4096)))


# --- shares and errors -------------------------------------------------------


def test_wilson_is_its_closed_form():
    share, n, z = 7 / 10, 10, sp.norm.ppf(0.975)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert ends(stats.wilson(7, 10)) == pytest.approx((middle - half, middle + half))


@pytest.mark.parametrize("successes", [0, 1, 13, 20])
def test_clopper_pearson_is_scipys(successes):
    exact = sp.binomtest(successes, 20).proportion_ci(0.9, method="exact")
    estimate = stats.clopper_pearson(successes, 20, level=0.9)
    assert ends(estimate) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("interval", [stats.wilson, stats.clopper_pearson])
@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_a_share_is_counted_once_a_seed(interval, successes, trials):
    with pytest.raises(InputError, match="successes"):
        interval(successes, trials)


def test_no_error_seen_is_not_no_error():
    estimate = stats.error_rate_t([0.0] * 5, 4096)
    assert estimate.lo == 0.0
    assert estimate.hi == pytest.approx(1 - 0.025 ** (1 / (5 * 4096)))


def test_equal_counts_are_not_an_exact_rate():
    estimate = stats.error_rate_t([3 / 4096] * 5, 4096)
    assert estimate.lo < 0.7 * estimate.value < 1.3 * estimate.value < estimate.hi


def test_seeds_that_differ_widen_an_error_rate_beyond_its_counts():
    errors_S = np.array([0.01, 0.05, 0.02, 0.09, 0.03])
    assert stats.error_rate_t(errors_S, 10_000).hi == stats.mean_t(errors_S).hi


def test_a_diverged_network_leaves_its_error_rate_open():
    estimate = stats.error_rate_t([0.01, np.nan, 0.02], 4096)
    assert ends(estimate) == (0.0, 1.0)
    assert estimate.objections


@pytest.mark.parametrize(("errors", "prompts"), [([0.1, 1.2], 100), ([-0.1, 0.2], 100), ([0.1], 0)])
def test_an_error_rate_is_a_share_of_prompts(errors, prompts):
    with pytest.raises(InputError, match="prompt"):
        stats.error_rate_t(errors, prompts)


# --- the bootstrap -----------------------------------------------------------


def mean_of_first(data_XSK):
    return data_XSK[..., 0].mean(-1)


def test_bootstrap_t_of_a_mean_is_near_students(rng):
    data_SK = rng.normal(size=(40, 1))
    estimate = stats.bootstrap_t(data_SK, mean_of_first, rng=rng)
    student = stats.mean_t(data_SK[:, 0])
    assert ends(estimate) == pytest.approx(ends(student), abs=0.15 * (student.hi - student.lo))


def test_bootstrap_t_is_a_function_of_its_generator(rng):
    data_SK = rng.normal(size=(20, 1))
    once, again, other = (stats.bootstrap_t(data_SK, mean_of_first, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert once == again != other


def test_bootstrap_t_leans_to_the_long_tail(rng):
    data_SK = np.exp(rng.normal(size=(30, 1)))
    estimate = stats.bootstrap_t(data_SK, mean_of_first, rng=rng)
    assert estimate.hi - estimate.value > 1.2 * (estimate.value - estimate.lo)


@pytest.mark.parametrize("data_SK", [np.ones((19, 1)), np.full((20, 1), np.nan)])
def test_bootstrap_t_says_when_it_cannot(data_SK, rng):
    estimate = stats.bootstrap_t(data_SK, mean_of_first, rng=rng)
    assert ends(estimate) == (-np.inf, np.inf)
    assert estimate.objections


def test_bootstrap_t_of_equal_seeds_has_no_width(rng):
    assert ends(stats.bootstrap_t(np.ones((20, 1)), mean_of_first, rng=rng)) == (1.0, 1.0)


def test_bootstrap_t_wants_a_row_a_seed(rng):
    with pytest.raises(InputError, match="row"):
        stats.bootstrap_t(np.ones(20), mean_of_first, rng=rng)


# --- exponents ---------------------------------------------------------------


def test_exponent_is_a_regression_a_seed(rng):
    y_SP = times(rng, 5)
    slope_S = [np.polyfit(np.log(ALPHA_P), np.log(y_P), 1)[0] for y_P in y_SP]
    estimate, student = stats.exponent(ALPHA_P, y_SP), stats.mean_t(slope_S)
    assert (estimate.value, *ends(estimate)) == pytest.approx((student.value, *ends(student)))


@settings(deadline=None, max_examples=30)
@given(x=st.floats(1e-3, 1e3), y=st.floats(1e-3, 1e3))
def test_an_exponent_has_no_units(x, y):
    y_SP = times(np.random.default_rng(0), 4)
    lo_SP, hi_SP = checked(y_SP)
    plain, scaled = stats.exponent(ALPHA_P, y_SP), stats.exponent(x * ALPHA_P, y * y_SP)
    assert ends(scaled) == pytest.approx(ends(plain), abs=1e-9)
    plain = stats.censored_exponent(ALPHA_P, lo_SP, hi_SP)
    scaled = stats.censored_exponent(x * ALPHA_P, y * lo_SP, y * hi_SP)
    assert ends(scaled) == pytest.approx(ends(plain), abs=1e-4)


def test_a_bent_line_has_no_exponent(rng):
    # The length a test prompt needs, exactly: its local exponent in alpha' is -1.1 to -1.4.
    length_P = np.log(0.01) / np.log1p(-ALPHA_P / 2)
    bent_SP = length_P * np.exp(rng.normal(0, 0.02, (10, len(ALPHA_P))))
    assert "no single exponent" in stats.exponent(ALPHA_P, bent_SP).objections[0]
    assert "no single exponent" in stats.censored_exponent(ALPHA_P, 0.99 * bent_SP, 1.01 * bent_SP).objections[0]


def test_a_bend_below_the_margin_is_let_pass(rng):
    length_P = np.log(0.01) / np.log1p(-ALPHA_P / 2)
    bent_SP = length_P * np.exp(rng.normal(0, 0.02, (10, len(ALPHA_P))))
    assert not stats.exponent(ALPHA_P, bent_SP, margin=0.6).objections


def test_a_bend_that_seeds_disagree_on_is_let_pass(rng):
    assert not stats.exponent(ALPHA_P, times(rng, 5, noise=0.5)).objections


def test_points_without_a_logarithm_are_counted():
    y_SP = np.array([[3.0, 2.0, 1.0], [3.0, 0.0, np.nan]])
    assert stats.exponent([1, 2, 3], y_SP).objections == ("2 of 6 points are not positive and finite",)


def test_two_points_show_no_bend():
    with pytest.raises(DataError, match="3 different x"):
        stats.exponent([1.0, 2.0, 2.0], [[1.0, 2.0, 2.1]])


@pytest.mark.parametrize(
    ("x", "y"), [([0, 1, 2], np.ones((2, 3))), ([1, 2, 3], np.ones(3)), ([1, 2, 3], np.ones((2, 4)))]
)
def test_points_of_an_exponent_belong_together(x, y):
    with pytest.raises(InputError, match="x"):
        stats.exponent(x, y)


# --- censored quantities -----------------------------------------------------


def test_truncated_moments_are_scipys():
    lo = np.array([-1.0, 0.5, -np.inf, 2.0, 6.0, -9.0, -np.inf, 1.0])
    hi = np.array([0.2, 0.6, -1.0, np.inf, 7.0, -8.0, np.inf, 1.001])
    mean, variance = censored.truncated_moments(lo, hi)
    np.testing.assert_allclose(mean, sp.truncnorm.mean(lo, hi), atol=1e-9)
    np.testing.assert_allclose(variance, sp.truncnorm.var(lo, hi), atol=1e-7)


def test_truncated_moments_far_out_are_the_tails():
    # Beyond z the normal tail is nearly exponential with rate z: mean z + 1/z, variance 1/z^2.
    mean, variance = censored.truncated_moments(np.array([-np.inf, 40.0]), np.array([-40.0, np.inf]))
    np.testing.assert_allclose(mean, [-40.025, 40.025], atol=1e-4)
    np.testing.assert_allclose(variance, 1 / 40**2, rtol=0.01)


@pytest.mark.parametrize("degree", [1, 2])
def test_fit_censored_finds_the_maximum_of_the_likelihood(rng, degree):
    lo_SP, hi_SP = checked(times(rng, 3))
    hi_SP[:, 0], lo_SP[0, 5] = np.inf, 0.0
    lo_SP, hi_SP = censored.log_bounds(lo_SP, hi_SP)
    design_PK = np.vander(np.log(ALPHA_P) + 0.8, degree + 1, increasing=True)
    fit = censored.fit_censored(design_PK, lo_SP, hi_SP)

    def minus_log_likelihood(theta):
        line_SP = theta[1:].reshape(3, -1) @ design_PK.T
        mass = sp.norm.cdf(hi_SP, line_SP, np.exp(theta[0])) - sp.norm.cdf(lo_SP, line_SP, np.exp(theta[0]))
        return -np.log(np.maximum(mass, 1e-300)).sum()

    found = np.concatenate([[np.log(fit.sigma)], fit.beta_SK.ravel()])
    slow = optimize.minimize(minus_log_likelihood, found + 0.05, method="BFGS", options={"gtol": 1e-4})
    assert fit.settled
    assert minus_log_likelihood(found) <= slow.fun + 1e-6
    np.testing.assert_allclose(found, slow.x, atol=5e-3)


def test_fit_censored_settles_on_whatever_it_is_given(rng):
    for _ in range(200):
        noise, every, last = rng.uniform(0.001, 0.5), rng.choice([1, 5, 20]), rng.uniform(70, 150)
        lo_SP, hi_SP = checked(times(rng, 4, noise=noise), every)
        never = hi_SP > last
        lo_SP, hi_SP = censored.log_bounds(np.where(never, last, lo_SP), np.where(never, np.inf, hi_SP))
        closed_SP = np.isfinite(lo_SP) & np.isfinite(hi_SP)
        if closed_SP.sum(axis=1).min() >= 3:
            assert censored.fit_censored(np.vander(np.log(ALPHA_P), 3), lo_SP, hi_SP).settled


def test_narrow_intervals_are_points(rng):
    y_SP = times(rng, 5)
    narrow = stats.censored_exponent(ALPHA_P, y_SP * 0.9999, y_SP * 1.0001)
    assert ends(narrow) == pytest.approx(ends(stats.exponent(ALPHA_P, y_SP)), abs=1e-3)
    mean = stats.censored_mean(y_SP[:, 0] * 0.9999, y_SP[:, 0] * 1.0001)
    assert ends(mean) == pytest.approx(ends(stats.geometric_t(y_SP[:, 0])), rel=1e-3)


def test_what_never_arrived_is_not_taken_for_what_arrived_last(rng):
    lo_SP, hi_SP = checked(times(rng, 200))
    never = hi_SP > 90
    lo_SP, hi_SP = np.where(never, 90, lo_SP), np.where(never, np.inf, hi_SP)
    fitted = stats.censored_exponent(ALPHA_P, lo_SP, hi_SP).value
    as_points = stats.exponent(ALPHA_P, np.where(never, 90, (lo_SP + hi_SP) / 2)).value
    assert abs(fitted + 2 / 3) < 0.02 < 0.05 < abs(as_points + 2 / 3)


def test_seeds_that_fall_between_the_same_checks_do_not_agree_exactly():
    lo_SP, hi_SP = checked(np.tile(times(np.random.default_rng(0), 1, noise=0.0), (20, 1)))
    slope = stats.censored_exponent(ALPHA_P, lo_SP, hi_SP)
    assert slope.lo + 0.03 < slope.hi
    mean = stats.censored_mean(lo_SP[:, 2], hi_SP[:, 2])
    assert mean.lo <= lo_SP[0, 2] < hi_SP[0, 2] <= mean.hi


@pytest.mark.parametrize(("same", "weight"), [(8, 1.0), (7, 0.5625), (6, 0.25), (4, 0.0), (2, 0.0)])
def test_rounding_is_shared_as_far_as_seeds_fall_into_one_interval(same, weight):
    lo_S = np.where(np.arange(8) < same, 0.0, 1.0 + np.arange(8))
    assert censored.shared_rounding(lo_S[:, None], lo_S[:, None] + 1)[0] == weight / 2


def test_an_open_interval_has_no_rounding():
    never = np.full((5, 1), np.inf)
    assert censored.shared_rounding(np.zeros((5, 1)), never)[0] == 0.0
    assert censored.shared_rounding(-never, np.zeros((5, 1)))[0] == 0.0


def test_two_seeds_worlds_apart_are_open_and_not_an_overflow():
    assert stats.geometric_t([1e-30, 1e30]).hi == np.inf


def test_too_many_censored_points_forbid_a_verdict(rng):
    lo_SP, hi_SP = checked(times(rng, 6))
    hi_SP[:, ::3] = np.inf
    assert stats.censored_exponent(ALPHA_P, lo_SP, hi_SP).objections == (
        "33% of the points known only from one side, more than 25%",
    )
    assert not stats.censored_exponent(ALPHA_P, lo_SP, hi_SP, max_censored=0.4).objections
    assert stats.censored_mean(lo_SP[:, 2], np.where(np.arange(6) < 2, np.inf, hi_SP[:, 2])).objections


def test_a_seed_that_hardly_ever_arrived_has_no_slope(rng):
    lo_SP, hi_SP = checked(times(rng, 6))
    hi_SP[0, :4] = np.inf
    estimate = stats.censored_exponent(ALPHA_P, lo_SP, hi_SP)
    assert estimate.objections == ("1 of 6 seeds with fewer than 3 known points",)
    assert ends(estimate) == (-np.inf, np.inf)


def test_a_mean_of_what_was_never_seen_is_open():
    estimate = stats.censored_mean([50, 50, 50], [np.inf, np.inf, 60])
    assert ends(estimate) == (0.0, np.inf)
    assert len(estimate.objections) == 2


def test_a_point_with_an_open_end_tells_less(rng):
    lo_S, hi_S = checked(times(rng, 8)[:, 0])
    late = np.argmax(hi_S)
    open_S = np.where(np.arange(8) == late, np.inf, hi_S)
    known, censored_ = stats.censored_mean(lo_S, hi_S), stats.censored_mean(lo_S, open_S)
    assert censored_.hi / censored_.lo > known.hi / known.lo


@pytest.mark.parametrize(
    ("lo", "hi"),
    [([1.0, np.nan], [2.0, 3.0]), ([-1.0, 1.0], [2.0, 3.0]), ([2.0, 1.0], [2.0, 3.0]), ([1.0], [2.0, 3.0])],
)
def test_an_interval_has_a_width(lo, hi):
    with pytest.raises(InputError, match="0 <= lo < hi"):
        stats.censored_mean(lo, hi)


# --- where a curve arrives ---------------------------------------------------


@pytest.mark.parametrize(
    ("y", "interval"),
    [
        ([0.4, 0.3, 0.2, 0.1], (20, np.inf)),
        ([0.4, 0.3, 0.05, 0.01], (10, 15)),
        ([0.4, 0.05, 0.2, 0.01], (15, 20)),
        ([0.4, 0.05, 0.01, 0.2], (20, np.inf)),
        ([0.05, 0.04, 0.03, 0.02], (0, 5)),
        ([0.4, 0.05, np.nan, 0.01], (15, 20)),
    ],
)
def test_crossing_is_where_the_curve_stays_below(y, interval):
    assert stats.crossing([5, 10, 15, 20], y, 0.05) == interval


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1))
def test_crossing_brackets_what_it_says(y, threshold):
    x = np.arange(1, len(y) + 1)
    lo, hi = stats.crossing(x, y, threshold)
    assert 0 <= lo < hi
    assert all(value <= threshold for at, value in zip(x, y, strict=True) if at >= hi)
    assert lo == 0 or y[int(lo) - 1] > threshold


@pytest.mark.parametrize("x", [[0, 1], [2, 1], [1, 1], [1, 2, 3], []])
def test_crossing_wants_rising_x(x):
    with pytest.raises(InputError, match="rising"):
        stats.crossing(x, [0.2, 0.1], 0.15)
