"""Every claim on the one-layer network of the task-vector paper, from its grid to its verdicts and its figure."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from brief import assert_judged_and_drawn, assert_judged_with_reasons, briefly

from lemmata import editing, registry
from lemmata.editing.claims import correlation, low_rank, multi_task, out_of_domain, sparsity, unlearning
from lemmata.editing.experiments import of_trained
from lemmata.editing.theory import expected_correlation
from lemmata.lab.errors import DataError
from lemmata.lab.rule import Verdict
from lemmata.lab.stats import Estimate, clopper_pearson

ALL_WELL = Estimate(1.0, 0.9, 1.1, n=3)
# The others have tests of their own, on digits and on books.
CLAIMS = {
    claim.id: claim
    for claim in editing.PAPER.claims
    if all(e.base.kind == "editing.one-layer" for e in claim.experiments)
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("claims") / "store"


def checked(store, name, **changes):
    with briefly():
        return registry.claim(name).check("quick", changes=changes, store=store, workers=1)


def test_six_claims_are_of_the_one_layer_network():
    assert len(CLAIMS) == 6


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_judged_and_drawn(name, store):
    assert_judged_and_drawn(checked(store, name))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("editing.multi-task", {"alpha": 0.3}),
        ("editing.multi-task", {"alpha": -0.4, "tasks": 2}),
        ("editing.multi-task", {"w0": 1.0}),
        ("editing.multi-task", {"tau": 0.2}),
        ("editing.multi-task", {"tasks": 3, "alpha": 0.0}),
        ("editing.unlearning", {"alpha": 0.0}),
        ("editing.unlearning", {"w0": 4.0}),
        ("editing.unlearning", {"tau": 0.1, "alpha": -0.6}),
        ("editing.out-of-domain", {"gamma_1": 0.5}),
        ("editing.out-of-domain", {"gamma_1": -0.5, "gamma_2": 0.3}),
        ("editing.out-of-domain", {"w0": 0.0}),
        ("editing.low-rank", {"J": 2}),
        ("editing.low-rank", {"tau": 0.1}),
        ("editing.low-rank", {"J": 1}),
        ("editing.low-rank", {"m": 4}),
        ("editing.sparsity", {"m": 32}),
        ("editing.sparsity", {"readout": "per-position", "m": 16}),
        ("editing.correlation", {"share": 0.3}),
        ("editing.correlation", {"alpha": 0.5}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(f"{k}={v}" for k, v in value.items()),
)
def test_changed_constants_end_in_verdicts_with_reasons(name, changes, store):
    assert_judged_with_reasons(checked(store, name, **changes))


@pytest.mark.parametrize("changes", [{"lr": 1e30}, {"lr": 0.0}], ids=["diverged", "untrained"])
@pytest.mark.parametrize("name", CLAIMS)
def test_networks_that_did_not_learn_confirm_nothing(name, changes, store):
    result = checked(store, name, **changes)
    for judged in result.verdicts:
        assert judged.verdict is not Verdict.CONFIRMED, judged.id


@pytest.mark.parametrize(
    ("tau", "metric", "well", "bad", "words"),
    [
        (0.0, "fine_tuned_hinge", 0.05, 0.06, "a loss above 0.05"),
        (0.4, "fine_tuned_accuracy", 0.99, 0.98, "an accuracy below 0.99"),
    ],
)
def test_an_estimate_is_open_where_a_fine_tuning_failed(tau, metric, well, bad, words):
    """Of the networks with its own noise; what others learned is nothing to it."""
    elsewhere = pd.DataFrame({"metric": metric, "seed": [0], "tau": 0.1, "value": [1 - well]})
    rows = {"metric": metric, "seed": [0, 1, 2], "tau": tau, "value": [well] * 3}
    (asked,) = of_trained(replace(CLAIMS["editing.low-rank"].predictions[0], estimate=lambda frame: ALL_WELL), tau=tau)
    assert asked.estimate(pd.concat([pd.DataFrame(rows), elsewhere])) == ALL_WELL
    for value in (bad, math.nan):
        found = asked.estimate(pd.concat([pd.DataFrame({**rows, "value": [well, well, value]}), elsewhere]))
        assert found.objections == (f"1 of 3 fine-tunings have {words} on their own task",)
    with pytest.raises(DataError, match="fine_tuned"):
        asked.estimate(elsewhere)


# The statistics, on rows whose answer is known.


def pairs(loss, *, lambdas, alphas, w0=0.0, tau=0.0, metric="hinge", seeds=(0, 1)):
    """Rows of edits with a given value: loss(task, alpha, lambda, seed)."""
    return pd.DataFrame(
        [
            {
                "metric": metric,
                "seed": s,
                "tasks": 2,
                "alpha": a,
                "w0": w0,
                "tau": tau,
                "part": "both",
                "task": t,
                "x": x,
            }
            | {"value": loss(t, a, x, s)}
            for s in seeds
            for a in alphas
            for x in lambdas
            for t in (1, 2)
        ]
    )


STEPS = [round(0.05 * i, 2) for i in range(41)]


def as_promised(task, alpha, lam, seed):
    """Task 2 is solved from 1 - alpha on; task 1 loses nothing where alpha >= 0, and alpha lambda below."""
    return max(0.0, 1 - alpha - lam) if task == 2 else max(0.0, -alpha * lam)


def test_the_smallest_coefficient_its_slope_and_the_loss_beyond():
    frame = pairs(as_promised, lambdas=STEPS, alphas=(-0.6, 0.0, 0.3, 0.6))
    assert multi_task.smallest(frame).to_numpy() == pytest.approx(np.array([[1.0, 0.7, 0.4]] * 2), abs=0.05)
    assert multi_task.slope(frame, w0=0.0).value == pytest.approx(-1, abs=0.01)
    assert multi_task.irrelevant(frame).value == pytest.approx(1, abs=0.05)
    assert multi_task.loss_at(frame, task=2).value == 0 == multi_task.loss_at(frame, task=1).value
    with pytest.raises(DataError, match="several alpha"):
        multi_task.slope(frame[frame["alpha"] <= 0], w0=0.0)


def test_what_is_left_of_contradictory_tasks_is_the_best_compromise():
    frame = pairs(as_promised, lambdas=STEPS, alphas=(-1.0, -0.6, 0.3))
    # 0.6 lambda = 1.6 - lambda at lambda = 1, and lambda = 2 - lambda at lambda = 1.
    assert multi_task.joint(frame, "hinge").loc[0].to_dict() == pytest.approx({-1.0: 1.0, -0.6: 0.6, 0.3: 0.0})
    assert multi_task.contradictory(frame, w0=0.0).value == pytest.approx(0.6)
    right = pairs(lambda t, a, x, s: 0.9 if t == 1 else min(1.0, x), lambdas=STEPS, alphas=(-0.6,), metric="accuracy")
    assert multi_task.hidden(right).value == pytest.approx(0.9)


def test_accuracies_are_those_of_moderately_contradictory_tasks():
    least = {-1.0: 0.1, -0.6: 0.9, -0.2: 0.8, 0.0: 0.3}
    frame = pairs(lambda t, a, x, s: least[a] if t == 1 else x, lambdas=STEPS, alphas=least, metric="accuracy")
    assert multi_task.hidden(frame).value == pytest.approx(0.8)
    with pytest.raises(DataError, match="alpha in"):
        multi_task.hidden(frame[frame["alpha"] == 0])


def test_what_noise_costs_contradictory_tasks():
    one = pairs(lambda t, a, x, s: 0.95 + a / 10, lambdas=(0.0, 1.0), alphas=(-0.6, 0.0), tau=0.4, metric="accuracy")
    assert multi_task.noisy(one).value == pytest.approx(0.06)
    with pytest.raises(DataError, match="one of them"):
        multi_task.noisy(one[one["alpha"] == 0])


def window(end, *, leak=0.0, w0=0.0):
    """Edits that keep task 2 forgotten down to -end(alpha), and cost task 1 leak |lambda|."""
    lambdas = [-8.0, -6.0, -4.0, *(-0.25 * i for i in range(12, -1, -1))]
    return pairs(
        lambda t, a, x, s: leak * -x if t == 1 else (1.0 if -x <= end(a) else 0.0),
        lambdas=lambdas,
        alphas=(-1.0, -0.2, 0.0),
        w0=w0,
    )


def test_the_end_of_the_window_lies_between_two_steps():
    alpha_P, lo_SP, hi_SP = unlearning.lower_end(window(lambda a: 0.5 if a == -1 else 2.6), w0=0.0)
    assert alpha_P.tolist() == [1.0, 0.2]
    assert lo_SP.tolist() == [[0.5, 2.5]] * 2 and hi_SP.tolist() == [[0.75, 2.75]] * 2
    ratio = unlearning.growth(window(lambda a: 0.5 if a == -1 else 2.6))
    assert (ratio.lo, ratio.hi) == pytest.approx((2.5 / 0.75, 2.75 / 0.5))


def test_a_window_that_never_closes_or_never_opens():
    frame = window(lambda a: 99.0, w0=4.0)
    _, lo_SP, hi_SP = unlearning.lower_end(frame, w0=4.0)
    assert (lo_SP == 8).all() and np.isinf(hi_SP).all()
    assert unlearning.still_open(frame) == clopper_pearson(2, 2)
    _, lo_SP, hi_SP = unlearning.lower_end(window(lambda a: -1.0), w0=0.0)
    assert (lo_SP == 0).all() and (hi_SP == 0.25).all()
    lost = window(lambda a: 99.0)
    lost.loc[lost["task"] == 1, "value"] = math.nan
    assert (unlearning.lower_end(lost, w0=0.0)[1] == 0).all(), "a network that diverged has unlearned nothing"
    assert unlearning.growth(lost).objections


def test_losses_of_negation():
    frame = window(lambda a: 2.6, leak=0.01)
    assert unlearning.at_full(frame, 1, "not above 0", "max").value == pytest.approx(0.01)
    assert unlearning.at_full(frame, 2, "not above 0", "min").value == 1
    assert unlearning.least_below(frame, "0").value == 0
    assert unlearning.least_below(frame, "below 0", down_to=-2.5).value == 1
    assert unlearning.leak(frame, w0=0.0).value == pytest.approx(0.01)
    with pytest.raises(DataError, match="alpha above 0"):
        unlearning.at_full(frame, 1, "above 0", "min")


def outside_rows(loss, gamma=(0.7, -0.5), metric="hinge", **columns):
    """Rows over the grid of both coefficients with a given value: loss(first sum, second sum)."""
    grid = [(x, y) for x in np.arange(-2, 3.1, 0.25) for y in np.arange(-2, 2.1, 0.25)]
    return pd.DataFrame(
        [
            {"metric": metric, "seed": s, "x": x, "lambda_2": y, "gamma_1": gamma[0], "gamma_2": gamma[1]}
            | {"w0": 0.0, "tau": 0.0, **columns, "value": loss(x * gamma[0] + y * gamma[1], x * 0.49 + y * 0.25)}
            for s in (0, 1)
            for x, y in grid
        ]
    )


def test_losses_inside_the_polytope_and_outside():
    frame = outside_rows(lambda first, second: max(0.0, 1.1 - first, -second))
    assert out_of_domain.inside_loss(frame, name="").value == pytest.approx(0, abs=1e-9)
    assert out_of_domain.second_alone(frame, w0=0.0, lo=-np.inf, hi=0.0).value > 0.2
    assert out_of_domain.second_alone(frame, w0=0.0, lo=0.4, hi=1.0).value == pytest.approx(0, abs=1e-9)
    with pytest.raises(DataError, match="second in"):
        out_of_domain.second_alone(frame, w0=0.0, lo=5.0, hi=6.0)


def test_where_loss_and_wrong_answers_come_down_along_gamma():
    s = np.arange(-4, 33) * 0.05
    at = {"seed": 0, "gamma_1": 0.7, "gamma_2": -0.5, "w0": 0.0, "tau": 0.0}
    loss = pd.DataFrame([{**at, "metric": "ray_hinge", "x": x, "value": max(0.0, 1 - x)} for x in s])
    right = pd.DataFrame([{**at, "metric": "ray_accuracy", "x": x, "value": float(x > 0.22)} for x in s])
    both = pd.concat([loss, loss.assign(seed=1), right, right.assign(seed=1)])
    assert out_of_domain.reached(both, "ray_hinge", 0.01).value == pytest.approx(1.0, abs=0.05)
    assert out_of_domain.reached(both, "ray_accuracy", 0.01).value == pytest.approx(0.225, abs=0.026)


def test_ranks_and_rows():
    at = {"seed": [0, 1, 0, 1], "J": [5, 5, 20, 20], "metric": "residual", "matrix": "W", "x": 1}
    over = low_rank.over_bound(pd.DataFrame({**at, "value": [1.0, 1.0, 0.1, 0.1]}))
    assert over.value == pytest.approx(1 / (5 * 0.01 + 1 / math.log(5)))
    at = {"seed": [0, 1] * 2, "m": [64, 64, 256, 256], "J": 1, "metric": "large_norm", "x": 0}
    rows = pd.DataFrame({**at, "value": [0.5, 0.5, 0.25, 0.25]})
    assert sparsity.large_rows(rows).value == pytest.approx(4)
    more = pd.concat([rows, rows.assign(m=rows["m"] * 16, value=rows["value"] / 4)])
    assert sparsity.norm_exponent(more).value == pytest.approx(-0.5)


def test_distances_of_estimates_from_what_they_should_be():
    at = {"tasks": 2, "w0": 0.0, "tau": 0.0, "share": 0.5, "metric": "similarity"}
    rows = [{**at, "seed": s, "x": x, "value": x + 0.1 * abs(x)} for s in (0, 1) for x in (-0.5, 0.0, 0.8)]
    assert correlation.largest_error(pd.DataFrame(rows), "similarity").value == pytest.approx(0.08)
    exact = [row | {"metric": "correlation", "value": expected_correlation(row["x"])} for row in rows]
    frame = pd.DataFrame(exact)
    assert correlation.largest_error(frame, "correlation", truth=expected_correlation).value == pytest.approx(0)
    assert correlation.largest_error(frame, "correlation").value == pytest.approx(expected_correlation(-0.5) * -1 - 0.5)


# What is taken, and from which rows.


def test_a_coefficient_that_is_never_found_is_no_number():
    frame = pairs(lambda t, a, x, s: 1.0 if s == 1 else as_promised(t, a, x, s), lambdas=STEPS, alphas=(0.0, 0.5))
    table = multi_task.smallest(frame)
    assert np.isfinite(table.loc[0]).all() and np.isinf(table.loc[1]).all()
    assert multi_task.slope(frame, w0=0.0).objections and multi_task.irrelevant(frame).objections
    frame.loc[frame["seed"] == 1, "value"] = math.nan
    assert np.isinf(multi_task.smallest(frame).loc[1]).all()
    for task in (1, 2):
        assert multi_task.loss_at(frame, task=task).objections
    one = pairs(lambda t, a, x, s: math.nan if a == 0.5 and s == 1 else 0.0, lambdas=STEPS, alphas=(0.0, 0.5))
    assert multi_task.loss_at(one, task=1).objections and multi_task.loss_at(one, task=2).objections
    below = pairs(lambda t, a, x, s: math.nan if x == 1 and t == 1 else 0.5, lambdas=STEPS, alphas=(-0.6,))
    assert multi_task.contradictory(below, w0=0.0).objections
    assert multi_task.hidden(below.assign(metric="accuracy")).objections


def test_starts_noise_and_parts_are_kept_apart():
    """Rows that were not asked for have losses that would be seen."""
    mine = pairs(as_promised, lambdas=STEPS, alphas=(-0.6, 0.0, 0.5))
    wrong = [mine.assign(value=9.0, **other) for other in ({"w0": 4.0}, {"tau": 0.4}, {"part": "V"})]
    subtracted = mine[mine["x"] == 0].assign(x=-0.5, value=0.0)
    frame = pd.concat([mine, *wrong, subtracted])
    assert multi_task.smallest(frame).equals(multi_task.smallest(mine))
    assert multi_task.slope(frame, w0=0.0) == multi_task.slope(mine, w0=0.0)
    assert multi_task.contradictory(frame, w0=0.0) == multi_task.contradictory(mine, w0=0.0)
    assert multi_task.contradictory(frame, w0=4.0).value == 9
    negative = window(lambda a: 2.6, leak=0.01)
    wrong = [negative.assign(value=9.0, **other) for other in ({"w0": 4.0}, {"tau": 0.4}, {"part": "V"})]
    both = pd.concat([negative, *wrong])
    assert unlearning.leak(both, w0=0.0) == unlearning.leak(negative, w0=0.0)
    assert unlearning.leak(both, w0=4.0).value == pytest.approx(9 / 0.25)
    assert unlearning.least_below(both, "0") == unlearning.least_below(negative, "0")
    assert unlearning.least_below(both, "below 0", part="V").value == 9
    for one, other in zip(unlearning.lower_end(both, w0=0.0), unlearning.lower_end(negative, w0=0.0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_loss_beyond_is_that_at_each_alphas_own_coefficient():
    def there_alone(task, alpha, lam, seed):
        return alpha / 10 + seed / 100 if abs(lam - (1.05 - alpha)) < 0.01 else 7.0

    frame = pairs(there_alone, lambdas=STEPS, alphas=(-0.6, 0.0, 0.35, 0.9))
    for task in (1, 2):
        assert multi_task.loss_at(frame, task=task).value == pytest.approx(0.09 + 0.005)
    with pytest.raises(DataError, match="choose alpha >= 0 in steps"):
        multi_task.loss_at(pairs(there_alone, lambdas=STEPS, alphas=(0.33,)), task=1)


def test_the_sum_of_several_tasks_is_as_good_as_its_worst():
    rows = {"metric": "hinge", "seed": [0, 0, 0, 1, 1, 1], "x": 1.1, "task": [1, 2, 3] * 2}
    rows |= {"tasks": multi_task.TASKS, "alpha": 0.0}
    assert multi_task.several(pd.DataFrame({**rows, "value": [0, 0.2, 0, 0.4, 0, 0]})).value == pytest.approx(0.3)
    assert multi_task.several(pd.DataFrame({**rows, "value": [0, 0.2, math.nan, 0.4, 0, 0]})).objections


@pytest.mark.parametrize("power", [-2.0, -1.0])
def test_the_exponent_of_the_windows_end_is_found(power):
    lambdas = [-(1.05**i) for i in range(90, -30, -1)] + [0.0]
    frame = pairs(
        lambda t, a, x, s: 0.0 if t == 1 else float(-x <= (1.0 + 0.02 * s) * abs(a) ** power),
        lambdas=lambdas,
        alphas=(-1.0, -0.8, -0.6, -0.4, 0.5),
        seeds=(0, 1, 2),
    )
    found = unlearning.lower_end_exponent(frame, w0=0.0)
    assert found.objections == () and found.value == pytest.approx(power, abs=0.1)
    with pytest.raises(DataError, match="contradictory"):
        unlearning.lower_end(frame[frame["alpha"] > 0], w0=0.0)
    with pytest.raises(DataError, match="several contradictory"):
        unlearning.growth(frame[frame["alpha"] == -1])
    # An end on the way down, whatever comes after it.
    reopened = frame.assign(value=frame["value"].where((frame["task"] == 1) | (frame["x"] > -20), 1.0))
    for one, other in zip(unlearning.lower_end(reopened, w0=0.0), unlearning.lower_end(frame, w0=0.0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_window_closes_where_the_first_task_is_lost_too():
    frame = window(lambda a: 99.0, leak=0.02)
    # 0.02 lambda is above 0.05 from 2.5 on.
    _, lo_SP, hi_SP = unlearning.lower_end(frame, w0=0.0)
    assert (lo_SP == 2.5).all() and (hi_SP == 2.75).all()


def test_how_far_a_window_is_open_is_asked_at_the_most_contradictory_tasks():
    frame = window(lambda a: 2.6 if a == -1 else 99.0, w0=4.0)
    assert unlearning.still_open(frame) == clopper_pearson(0, 2)
    frame.loc[(frame["seed"] == 1) & (frame["task"] == 2), "value"] = 1.0
    assert unlearning.still_open(frame) == clopper_pearson(1, 2)
    frame.loc[(frame["seed"] == 1) & (frame["x"] == -8), "value"] = math.nan
    assert unlearning.still_open(frame) == clopper_pearson(0, 2)
    with pytest.raises(DataError, match="alpha = -1"):
        unlearning.still_open(frame[frame["alpha"] > -1])


def test_losses_of_negation_are_the_worst_of_their_alphas():
    frame = pairs(
        lambda t, a, x, s: (10 * t + a) if x == -1 else {1: 99.0, 2: 1.0}[t] if x > -1 else -x + a + 10 * t,
        lambdas=[-8.0, -3.0, -2.0, -1.0, -0.5, 0.0],
        alphas=(-1.0, -0.5, 0.0, 0.3, 0.6),
    )
    assert unlearning.at_full(frame, 1, "not above 0", "max").value == pytest.approx(10)
    assert unlearning.at_full(frame, 2, "not above 0", "min").value == pytest.approx(19)
    assert unlearning.at_full(frame, 1, "above 0", "min").value == pytest.approx(10.3)
    assert unlearning.least_below(frame, "0").value == pytest.approx(20)
    assert unlearning.least_below(frame, "below 0").value == pytest.approx(19)
    # 10 + |lambda| at alpha = 0, but 99 at -0.5.
    assert unlearning.leak(frame, w0=0.0).value == pytest.approx(198)
    with pytest.raises(DataError, match="irrelevant"):
        unlearning.leak(frame[frame["alpha"] != 0], w0=0.0)
    frame.loc[(frame["x"] == -8) & (frame["seed"] == 1), "value"] = math.nan
    assert all(e.objections for e in (unlearning.least_below(frame, "0"), unlearning.leak(frame, w0=0.0)))


def test_accuracy_is_at_chance_at_the_full_coefficient():
    value = {(-1.0, 0.0): 0.45, (-1.0, 0.3): 0.9, (-2.0, 0.0): 0.1}
    rows = [
        pairs(lambda t, a, x, s, tau=tau: value[x, a] + tau, lambdas=(x,), alphas=(a,), tau=tau, metric="accuracy")
        for x, a in value
        for tau in (0.0, 0.4)
    ]
    assert unlearning.chance(pd.concat(rows), tau=0.0).value == pytest.approx(0.45)
    assert unlearning.chance(pd.concat(rows), tau=0.4).value == pytest.approx(0.85)


def test_sums_over_the_plane_are_of_its_own_direction():
    one = outside_rows(lambda first, second: first)
    other = outside_rows(lambda first, second: -1.0, gamma=out_of_domain.UNIT_GAMMA)
    frame = pd.concat([one, other, one.assign(w0=4.0, value=5.0), one.assign(tau=0.4, value=6.0)])
    rows = out_of_domain.plane(frame, "hinge")
    assert len(rows) == len(one) and rows["leading"].to_numpy() == pytest.approx(rows["value"].to_numpy())
    by_hand = rows["x"] * 0.49 + rows["lambda_2"] * 0.25
    assert rows["attending"].to_numpy() == pytest.approx(by_hand.to_numpy())
    assert (out_of_domain.plane(frame, "hinge", name="-published")["value"] == -1).all()
    assert (out_of_domain.plane(frame, "hinge", w0=4.0)["value"] == 5).all()
    assert out_of_domain.inside_loss(frame, name="-published").value == -1
    with pytest.raises(DataError, match="both sums"):
        out_of_domain.inside_loss(one[one["x"] < 0], name="")


def test_a_direction_of_ones_own_is_the_only_one():
    """Constants that a user has changed; the frame has rows of other measures, too."""
    frame = outside_rows(lambda first, second: max(0.0, 1.1 - first, -second), gamma=(0.7, 0.5))
    others = pd.DataFrame({"metric": "fine_tuned_hinge", "seed": [0, 1], "x": 150, "w0": 0.0, "tau": 0.0, "value": 0.0})
    assert out_of_domain.inside_loss(pd.concat([frame, others]), name="").value == pytest.approx(0, abs=1e-9)
    with pytest.raises(DataError, match="second direction"):
        out_of_domain.inside_loss(pd.concat([frame, others]), name="-published")


def test_the_second_sum_is_looked_at_from_its_lower_end_up_to_its_upper():
    frame = outside_rows(lambda first, second: second)
    seconds = frame[frame["value"].notna() & (frame["x"] * 0.7 - frame["lambda_2"] * 0.5 >= 1.1)]["value"]
    lo, hi = sorted(set(seconds.round(9)))[3], sorted(set(seconds.round(9)))[9]
    largest = out_of_domain.second_alone(frame, w0=0.0, lo=lo - 1e-9, hi=hi - 1e-9).value
    assert lo <= largest == pytest.approx(max(seconds[seconds < hi - 1e-9]))
    frame.loc[(frame["seed"] == 0) & (frame["value"] == largest), "value"] = math.nan
    assert out_of_domain.second_alone(frame, w0=0.0, lo=lo, hi=hi).objections


def test_a_pass_below_0_or_from_the_start_is_no_pass_along_gamma():
    at = {"gamma_1": 0.7, "gamma_2": -0.5, "w0": 0.0, "tau": 0.0, "metric": "ray_hinge"}
    s = [-0.2, -0.1, 0.0, 0.5, 1.0, 1.5]
    curves = {0: [0.0, 0.5, 1.0, 0.5, 0.0, 0.0], 1: [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]}
    rows = [{**at, "seed": k, "x": x, "value": v} for k, ys in curves.items() for x, v in zip(s, ys, strict=True)]
    frame = pd.DataFrame(rows)
    found = out_of_domain.reached(frame, "ray_hinge", 0.01)
    assert 0.5 < found.value - 0.25 < 1.0 and found.objections == ()
    assert out_of_domain.reached(frame.assign(value=0.0), "ray_hinge", 0.01).objections
    noisy = frame.assign(tau=0.4, value=9.0)
    assert out_of_domain.reached(pd.concat([frame, noisy]), "ray_hinge", 0.01) == found
    assert out_of_domain.reached(pd.concat([frame, noisy]), "ray_hinge", 0.01, tau=0.4).objections


def test_ranks_are_those_asked_for():
    grid = [(s, J, k, matrix) for s in (0, 1) for J in (5, 20, 80) for k in (1, 2) for matrix in ("W", "V")]
    frame = pd.DataFrame(grid, columns=["seed", "J", "x", "matrix"]).assign(metric="relative")
    frame = frame.assign(value=frame["J"] + frame["x"] / 10 + (frame["matrix"] == "V") / 100 + frame["seed"] / 500)
    assert low_rank.of_rank(frame, "relative", matrix="V", rank=2).value == pytest.approx(20.211)
    assert low_rank.of_rank(frame, "relative", matrix="W", rank=1, J=5).value == pytest.approx(5.101)
    own = frame[frame["matrix"] == "W"]
    cosines = own[own["x"] == 1].assign(metric="second_on_irrelevant")
    assert low_rank.second(cosines).value == pytest.approx(20.101)
    rows = frame.assign(metric="residual").astype({"value": float})
    rows.loc[(rows["matrix"] == "W") & (rows["x"] == 1) & (rows["J"] == 5) & (rows["seed"] == 0), "value"] = math.nan
    assert low_rank.over_bound(rows).objections


def test_rows_are_those_of_the_widest_network_and_the_registered_share():
    grid = [(s, m, x, o) for s in (0, 1) for m in (100, 1024) for x in (0.1, 0.2) for o in ("smallest", "random")]
    frame = pd.DataFrame(grid, columns=["seed", "m", "x", "order"]).assign(metric="edit_hinge", J=1)
    frame = frame.assign(value=frame["m"] + frame["x"] + (frame["order"] == "random") / 100 + frame["seed"] / 500)
    shares = frame[(frame["order"] == "random") & (frame["x"] == 0.1)].assign(metric="small_share", x=0)
    assert sparsity.share(shares, "small_share").value == pytest.approx(1024.111)
    with pytest.raises(DataError, match="J = 20"):
        sparsity.share(shares, "small_share", J=20)
    lost = shares.assign(metric="large_norm").astype({"value": float})
    # About 100 * 10 and 1024 * 32 times the bound.
    assert sparsity.large_rows(lost).value == pytest.approx(10 * 100.111)
    lost.loc[(lost["m"] == 100) & (lost["seed"] == 1), "value"] = math.nan
    assert sparsity.large_rows(lost).objections


def edits(beyond):
    """Losses of edits with less of a task vector: those with the whole one and what is beyond them.

    beyond(edit, x, J, order) is 0 for the whole; the whole has a loss of 0.3, and task 2 is forgotten down to 1.2.
    """
    ends = {"adding": 0.3, "keeping": 0.3, "forgetting": 1.2, "reaching": 0.3}
    return pd.DataFrame(
        [
            {"metric": "edit_hinge", "seed": s, "J": J, "m": 1024, "alpha": 0.0, "order": order, "edit": edit, "x": x}
            | {"value": end + beyond(edit, x, J, order) + s / 100}
            for s in (0, 1)
            for J in (1, 5, 20)
            for order in ("smallest", "random")
            for edit, end in ends.items()
            for x in (0.0, 0.1, 0.2, 1.0, 2.0, 23.0)
        ]
    )


def test_what_less_of_a_task_vector_costs_is_counted_from_the_whole_one():
    by_rank = edits(lambda edit, x, J, order: 0.0 if x == 23 else len(edit) + x + J / 10)
    for edit in ("adding", "keeping", "reaching"):
        assert low_rank.cost(by_rank, edit, rank=2, J=5).value == pytest.approx(len(edit) + 2.5)
        assert low_rank.cost(by_rank, edit, rank=1).value == pytest.approx(len(edit) + 3)
    assert low_rank.forgotten(by_rank, rank=1).value == pytest.approx(1.2 + 10 + 3 + 0.005)
    by_share = edits(lambda edit, x, J, order: len(edit) + J / 10 + (order == "random") if x == 0.2 else 0.0)
    for order, more in (("smallest", 0), ("random", 1)):
        assert sparsity.cost(by_share, "keeping", order=order, J=20).value == pytest.approx(9 + more)
        assert sparsity.cost(by_share, "adding", order=order).value == pytest.approx(6.1 + more)
    assert sparsity.forgotten(by_share).value == pytest.approx(1.2 + 10.1 + 0.005)
    for asked in (partial(low_rank.cost, rank=1), sparsity.cost):
        with pytest.raises(DataError, match="alpha = 0"):
            asked(by_share.assign(alpha=0.5), "adding")
    by_rank.loc[(by_rank["seed"] == 1) & (by_rank["x"] == 23), "value"] = math.nan
    assert low_rank.cost(by_rank, "adding", rank=1).objections


def test_the_gain_is_what_the_plain_estimate_is_worse_by_with_noise():
    at = [{"tasks": 2, "w0": 0.0, "tau": tau, "share": share} for tau in (0.0, 0.4) for share in (0.5, 0.8)]
    off = {"similarity": 0.05, "correlation": -0.2}
    rows = [
        {**where, "seed": s, "x": x, "metric": metric, "value": x + error * abs(x) * (1 if where == at[2] else 9)}
        for where in at
        for s in (0, 1)
        for x in (-0.6, 0.0, 0.6)
        for metric, error in off.items()
    ]
    frame = pd.DataFrame(rows)
    assert correlation.gain(frame).value == pytest.approx(0.6 * 0.15)
    far = correlation.largest_error(frame, "similarity", tau=0.4, share=0.8).value
    assert far == pytest.approx(0.6 * 0.45)
    frame.loc[(frame["seed"] == 1) & (frame["x"] == 0), "value"] = math.nan
    assert correlation.gain(frame).objections and correlation.largest_error(frame, "similarity").objections
    with pytest.raises(DataError, match="both estimates"):
        correlation.gain(frame[~((frame["metric"] == "similarity") & (frame["seed"] == 1))])


def test_one_changed_coefficient_leaves_two_directions_that_are_told_apart():
    frames = [outside_rows(lambda first, second: 0.0, gamma=(0.5, gamma_2)) for gamma_2 in (-0.626, -0.5)]
    found = [out_of_domain._direction(pd.concat(frames), name)["gamma_2"] for name in out_of_domain.GAMMAS]
    assert found == [-0.5, -0.626]
