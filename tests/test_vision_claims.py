"""Every claim on the synthetic vision network, from its grid to its verdicts and its figure."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from brief import assert_judged_and_drawn, assert_judged_with_reasons, briefly

from lemmata import registry, vision
from lemmata.lab.errors import DataError
from lemmata.lab.rule import Verdict
from lemmata.lab.stats import Estimate
from lemmata.vision.claims import attention, iterations, noise, samples, sparsify
from lemmata.vision.experiments import TAUS, of_learned

CLAIMS = {
    claim.id: claim
    for claim in vision.PAPER.claims
    if all(e.base.kind == "vision.one-layer" for e in claim.experiments)
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("claims") / "store"


# Claims that compare numbers of training steps, which have to stay different.
BY_STEPS = {"vision.iterations", "vision.attention"}


def checked(store, name, **changes):
    with briefly(4000) if name in BY_STEPS else briefly():
        return registry.claim(name).check("quick", changes=changes, store=store, workers=1)


def test_five_claims_are_of_the_one_layer_network():
    assert len(CLAIMS) == 5


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_judged_and_drawn(name, store):
    assert_judged_and_drawn(checked(store, name))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vision.samples", {"alpha_s": 0.3}),
        ("vision.samples", {"N": 50}),
        ("vision.samples", {"attention": "uniform"}),
        ("vision.samples", {"M": 8}),
        ("vision.iterations", {"alpha_s": 0.4}),
        ("vision.iterations", {"attention": "trained"}),
        ("vision.iterations", {"lr": 0.1}),
        ("vision.attention", {"ratio": 0.2}),
        ("vision.attention", {"mult": 5.0}),
        ("vision.attention", {"M": 8}),
        ("vision.noise", {"tau": 0.2}),
        ("vision.noise", {"sigma": 0.1}),
        ("vision.noise", {"N": 45}),
        ("vision.sparsify", {"policy": "random"}),
        ("vision.sparsify", {"removed": 5}),
        ("vision.sparsify", {"tau_noisy": 0.2}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(f"{k}={v}" for k, v in value.items()),
)
def test_changed_constants_end_in_verdicts_with_reasons(name, changes, store):
    assert_judged_with_reasons(checked(store, name, **changes))


@pytest.mark.parametrize(
    "changes",
    [{"lr": 1e30}, {"lr": 0.0}, {"steps": 0}, {"xi": 0.0}],
    ids=["diverged", "untrained", "not a step", "dead"],
)
@pytest.mark.parametrize("name", CLAIMS)
def test_networks_that_did_not_learn_decide_nothing(name, changes, store):
    for judged in checked(store, name, **changes).verdicts:
        assert judged.verdict is Verdict.UNDECIDED, judged.id


def test_an_estimate_is_open_where_training_samples_were_not_learned():
    well = Estimate(1.0, 0.9, 1.1, n=3)
    (asked,) = of_learned(replace(CLAIMS["vision.samples"].predictions[0], estimate=lambda frame: well))
    rows = {"metric": "train_hinge", "seed": [0, 1, 2], "value": [0.0, 1e-4, 1e-3]}
    assert asked.estimate(pd.DataFrame(rows)) == well
    for bad in (2e-3, math.nan):
        found = asked.estimate(pd.DataFrame({**rows, "value": [0.0, 0.0, bad]}))
        assert found.objections == ("1 of 3 networks have a loss above 0.001 on their training samples",)


# The statistics, on rows whose answer is known.

SIZES = [round(4 * 1.2**i) for i in range(40)]


def learned_from(needed, *, kinds=("trained", "uniform"), alphas=(0.1, 0.2, 0.4), seeds=(0, 1, 2)):
    """Rows of networks that generalise from needed(kind, alpha, seed) samples on."""
    return pd.DataFrame(
        [
            {"metric": "hinge", "seed": s, "attention": kind, "alpha_s": alpha, "N": N}
            | {"value": 0.0 if needed(kind, alpha, s) <= N else 0.5}
            for kind in kinds
            for alpha in alphas
            for s in seeds
            for N in SIZES
        ]
    )


def test_exponents_of_needed_samples_and_of_their_ratio():
    powers = {"trained": -1.0, "uniform": -2.0}
    frame = learned_from(lambda kind, alpha, s: (8 + s) * (alpha / 0.4) ** powers[kind])
    for kind, power in powers.items():
        found = samples.exponent(frame, attention=kind, loss=0.02)
        assert found.value == pytest.approx(power, abs=0.1)
    assert samples.ratio_exponent(frame, loss=0.02).value == pytest.approx(-1, abs=0.15)
    success = samples.success(frame, "trained")
    assert success.index.tolist() == sorted(set(SIZES))
    assert success.to_numpy()[[0, -1]].tolist() == [[0, 0, 0], [1, 1, 1]]


def enough(needed, attention):
    return samples.beyond(learned_from(needed), attention=attention, loss=0.02)


def test_what_is_enough_is_measured_from_the_largest_share_to_both_ends_of_what_is_known():
    as_promised = enough(lambda kind, alpha, s: 8.5 * (alpha / 0.4) ** -2.0, "trained")
    assert as_promised.lo < 1 < as_promised.hi and 1.2**-2 < as_promised.value < 1.2**2
    less = enough(lambda kind, alpha, s: 8.5, "trained")
    assert less.hi < 1
    assert enough(lambda kind, alpha, s: 8.5 * (alpha / 0.4) ** -3.0, "trained").lo > 1.3
    assert enough(lambda kind, alpha, s: 8.5 * (alpha / 0.4) ** -3.0, "uniform").hi < 1
    with pytest.raises(DataError, match="several"):
        one = learned_from(lambda kind, alpha, s: 8.5)
        samples.beyond(one[one["alpha_s"] == 0.2], attention="trained", loss=0.02)


def test_what_is_enough_is_open_where_the_sizes_do_not_tell():
    never, always = 1e9, 1
    assert enough(lambda kind, alpha, s: never if alpha == 0.4 else 50, "trained").objections
    assert enough(lambda kind, alpha, s: always if alpha == 0.4 else 50, "trained").objections
    assert enough(lambda kind, alpha, s: never if alpha == 0.1 else 8.5, "trained").objections
    assert not enough(lambda kind, alpha, s: always if alpha == 0.1 else 8.5, "trained").objections


def passed(steps, **columns):
    """Rows of a first passage within 2 steps before steps(condition)."""
    return [
        {"metric": f"steps_{end}", "seed": s, **columns, "value": steps + s - (2 if end == "lo" else 0)}
        for s in (0, 1, 2)
        for end in ("lo", "hi")
    ]


def test_exponents_of_steps_are_of_their_own_sweeps():
    rows = []
    for alpha in (0.1, 0.2, 0.275, 0.4):
        rows += passed(40 / alpha, attention="trained", alpha_s=alpha, lr=0.1)
        rows += passed(100 / alpha**0.5, attention="uniform", alpha_s=alpha, lr=0.1)
    for lr in (0.05, 0.2):
        rows += passed(40 / 0.275 * (0.1 / lr) ** 2, attention="trained", alpha_s=0.275, lr=lr)
    frame = pd.DataFrame(rows)
    assert iterations.shares(frame, attention="trained").value == pytest.approx(-1, abs=0.03)
    assert iterations.shares(frame, attention="uniform").value == pytest.approx(-0.5, abs=0.03)
    assert iterations.rates(frame).value == pytest.approx(-2, abs=0.05)
    # Where it is least: at alpha_* = 0.1, 316 steps over 400.
    assert iterations.faster(frame).value == pytest.approx(316 / 400, abs=0.01)
    with pytest.raises(DataError, match="both kinds"):
        iterations.faster(frame[~((frame["attention"] == "uniform") & (frame["alpha_s"] == 0.1))])


def test_attention_is_read_off_its_last_step_and_its_own_condition():
    at = [
        {"metric": metric, "seed": s, "ratio": ratio, "mult": mult, "x": x}
        | {"value": (0.5 if metric == "mass" else 7.0) + x / 250 + ratio + (mult == 1.0) / 100 + s / 1000}
        for metric in ("mass", "hinge_then")
        for s in (0, 1)
        for ratio in (0.0, 0.11)
        for mult in (1.0, 30.0)
        for x in (0, 30, 100)
    ]
    frame = pd.DataFrame(at)
    assert attention.last(frame, "mass", ratio=0.11).value == pytest.approx(0.9 + 0.11 + 0.0005)
    assert attention.last(frame, "mass", ratio=0.0, mult=1.0).value == pytest.approx(0.9 + 0.01 + 0.0005)
    falling = [
        {"metric": "mass", "seed": s, "ratio": 0.0, "mult": 30.0, "x": x, "value": 1 - (1 + s / 10) * x**-1.5}
        for s in (0, 1, 2)
        for x in (10, 20, 40, 60, 100)
    ]
    assert attention.rate(pd.DataFrame(falling)).value == pytest.approx(-1.5)


def test_ends_of_attention_and_loss_are_the_worst_or_the_best_of_their_conditions():
    rows = [
        {"metric": metric, "seed": s, "alpha_s": alpha, "ratio": ratio, "x": x}
        | {"value": (1 / (1 + ratio) - alpha / 10 if metric == "mass" else alpha + ratio) + (x == 0)}
        for metric in ("mass", "hinge_then")
        for s in (0, 1)
        for alpha in (0.3, 0.5)
        for ratio in (0.0, 0.05, 0.1, 0.15, 0.2, 0.35)
        for x in (0, 300)
    ]
    frame = pd.DataFrame(rows)
    assert attention.off_ceiling(frame).value == pytest.approx(0.05)
    assert attention.worst_loss(frame, ratios=(0.0, 0.15)).value == pytest.approx(0.65)
    assert attention.least_loss(frame, ratio=0.35).value == pytest.approx(0.65)
    frame.loc[(frame["seed"] == 1) & (frame["ratio"] == 0.15), "value"] = math.nan
    assert attention.off_ceiling(frame).objections and attention.worst_loss(frame, ratios=(0.15,)).objections
    with pytest.raises(DataError, match="2 pairs"):
        attention.least_loss(frame[frame["alpha_s"] == 0.3], ratio=0.35)


def noisy(root):
    """Rows of networks that need 1 / root(tau)^2 samples."""
    return pd.DataFrame(
        [
            {"metric": "hinge", "seed": s, "tau": tau, "sigma": 0.0, "N": N}
            | {"value": 0.05 if root(tau) ** -2 <= N else 0.5}
            for s in (0, 1, 2)
            for tau in TAUS
            for N in SIZES
        ]
    )


def test_a_line_in_the_noise_does_not_bend_and_a_curve_does():
    assert noise.bend(noisy(lambda tau: 0.5 - tau)).value == pytest.approx(0, abs=0.05)
    # The middle is at 0.1, and the mean of the ends at 0.2.
    bent = noise.bend(noisy(lambda tau: {0.2: 0.35, 0.3: 0.1, 0.4: 0.05}[tau]))
    assert bent.value == pytest.approx((0.1 - 0.2) / 0.3, abs=0.04)
    assert noise.bend(noisy(lambda tau: 0.5 - tau if tau < 0.4 else 1e-9)).objections
    with pytest.raises(DataError, match="1 of them"):
        noise.bend(noisy(lambda tau: 0.5 - tau).query("tau == 0.3"))


def test_costs_of_noise_and_of_a_poor_start_are_at_one_size():
    value = {(0.0, 0.0): 0.1, (0.4, 0.0): 0.5, (0.2, 0.0): 0.2, (0.25, 0.0): 0.2, (0.0, 0.8): 0.45}
    frame = pd.DataFrame(
        [
            {
                "metric": "hinge",
                "seed": s,
                "tau": tau,
                "sigma": sigma,
                "N": N,
                "value": loss + s / 100,
            }
            for (tau, sigma), loss in value.items()
            for s in (0, 1)
            for N in (noise.FEW if tau in (0.0, 0.25) else noise.AT,)
        ]
    )
    assert noise.costs(frame).value == pytest.approx(0.3)
    assert noise.sigma_costs(frame, sigma=0.8).value == pytest.approx(0.35)
    assert noise.as_tau(frame).value == pytest.approx(np.mean([0.45 / 0.2, 0.46 / 0.21]))


def test_what_is_saved_by_removing_tokens():
    lost = {"random": 0.3, "irrelevant": 0.05, "noisy": 0.1}
    frame = pd.DataFrame(
        [
            {"metric": "hinge", "seed": s, "policy": policy, "removed": removed}
            | {"value": {0: 0.2, 10: 9.0, 20: loss}[removed] + s / 100}
            for policy, loss in lost.items()
            for s in (0, 1)
            for removed in (0, 10, 20)
        ]
    )
    for policy, loss in lost.items():
        assert sparsify.saved(frame, policy=policy).value == pytest.approx(0.2 - loss)
    assert sparsify.better(frame, policy="noisy", than="random").value == pytest.approx(0.2)
