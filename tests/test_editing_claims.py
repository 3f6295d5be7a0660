"""Every claim on the one-layer network of the task-vector paper, from its grid to its verdicts and its figure."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from brief import briefly

from lemmata import editing, registry
from lemmata.editing.claims import correlation, low_rank, multi_task, out_of_domain, sparsity, unlearning
from lemmata.editing.experiments import of_trained
from lemmata.editing.theory import expected_correlation
from lemmata.lab.errors import DataError
from lemmata.lab.rule import Verdict
from lemmata.lab.stats import Estimate
from lemmata.show.draw import figure

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
    result = checked(store, name)
    assert len(result.verdicts) == len(CLAIMS[name].predictions)
    for judged in result.verdicts:
        assert judged.verdict is not Verdict.NOT_RUN and judged.estimate is not None, judged.reason
    panels = result.figure.panels
    assert len(panels) >= 2 and all(panel.marks for panel in panels)
    assert result.figure.caption.endswith(".")
    figure(result)


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
        ("editing.sparsity", {"m": 32}),
        ("editing.sparsity", {"readout": "per-position", "m": 16}),
        ("editing.correlation", {"share": 0.3}),
        ("editing.correlation", {"alpha": 0.5}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(f"{k}={v}" for k, v in value.items()),
)
def test_changed_constants_end_in_verdicts_with_reasons(name, changes, store):
    result = checked(store, name, **changes)
    for judged in result.verdicts:
        assert not judged.registered
        assert judged.estimate is not None or (judged.verdict is Verdict.UNDECIDED and "expected" in judged.reason)
    try:
        figure(result)
    except DataError as error:  # nothing that the figure shows is left
        assert error.fix


@pytest.mark.parametrize("changes", [{"lr": 1e30}, {"lr": 0.0}], ids=["diverged", "untrained"])
@pytest.mark.parametrize("name", CLAIMS)
def test_networks_that_did_not_learn_confirm_nothing(name, changes, store):
    result = checked(store, name, **changes)
    for judged in result.verdicts:
        assert judged.verdict is not Verdict.CONFIRMED, judged.id


def test_an_estimate_is_open_where_a_fine_tuning_failed():
    rows = {"metric": "fine_tuned", "seed": [0, 1, 2], "x": 0, "value": [0.0, 0.01, 0.05]}
    (asked,) = of_trained(replace(CLAIMS["editing.low-rank"].predictions[0], estimate=lambda frame: ALL_WELL))
    assert asked.estimate(pd.DataFrame(rows)) == ALL_WELL
    for bad in (0.06, math.nan):
        found = asked.estimate(pd.DataFrame({**rows, "value": [0.0, 0.0, bad]}))
        assert found.objections == ("1 of 3 fine-tunings have a loss above 0.05 on their own task",)


# The statistics, on rows whose answer is known.


def pairs(loss, *, lambdas, alphas, w0=0.0, tau=0.0, metric="hinge", seeds=(0, 1)):
    """Rows of edits with a given value: loss(task, alpha, lambda, seed)."""
    return pd.DataFrame(
        [
            {"metric": metric, "seed": s, "alpha": a, "w0": w0, "tau": tau, "part": "both", "task": t, "x": x}
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
    assert unlearning.still_open(frame).value == 8
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
    # The first sum is 0.7 alone and 1.9 with the pair.
    assert out_of_domain.pair_gains(frame).value == pytest.approx(0.4)
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
    at = {"seed": [0, 1] * 2, "m": [64, 64, 256, 256], "metric": "large_norm", "x": 0}
    rows = pd.DataFrame({**at, "value": [0.5, 0.5, 0.25, 0.25]})
    assert sparsity.large_rows(rows).value == pytest.approx(4)
    more = pd.concat([rows, rows.assign(m=rows["m"] * 16, value=rows["value"] / 4)])
    assert sparsity.norm_exponent(more).value == pytest.approx(-0.5)


def test_distances_of_estimates_from_what_they_should_be():
    at = {"w0": 0.0, "tau": 0.0, "share": 0.5, "metric": "similarity"}
    rows = [{**at, "seed": s, "x": x, "value": x + 0.1 * abs(x)} for s in (0, 1) for x in (-0.5, 0.0, 0.8)]
    assert correlation.largest_error(pd.DataFrame(rows), "similarity").value == pytest.approx(0.08)
    exact = [row | {"metric": "correlation", "value": expected_correlation(row["x"])} for row in rows]
    frame = pd.DataFrame(exact)
    assert correlation.largest_error(frame, "correlation", truth=expected_correlation).value == pytest.approx(0)
    assert correlation.largest_error(frame, "correlation").value == pytest.approx(expected_correlation(-0.5) * -1 - 0.5)
