"""The rules, and how often they are wrong: measured here, and written in docs/statistics.md."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom

from lemmata.lab import rates
from lemmata.lab.errors import InputError
from lemmata.lab.rule import Rule, Verdict, above, at_least, at_most, below, between, within
from lemmata.lab.stats import Estimate
from lemmata.lab.truths import TRUTHS

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"

# Runs simulated here, by what one costs; the page has 4000 of each.
SIMULATIONS = {"exponent": 400, "bootstrap_t": 150, "censored_exponent": 150, "censored_mean": 200}
CHEAP = 2000


# --- the rule ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "lo", "hi", "verdict"),
    [
        (within(-1.0, 0.5), -1.25, -0.75, Verdict.CONFIRMED),
        (within(-1.0, 0.5), -1.5, -0.5, Verdict.CONFIRMED),
        (within(-1.0, 0.5), -1.6, -0.75, Verdict.UNDECIDED),
        (within(-1.0, 0.5), -2.0, 0.0, Verdict.UNDECIDED),
        (within(-1.0, 0.5), -0.5, 0.0, Verdict.UNDECIDED),
        (within(-1.0, 0.5), -0.4, 0.0, Verdict.REFUTED),
        (within(-1.0, 0.5), -3.0, -1.6, Verdict.REFUTED),
        (at_most(0.01), 0.0, 0.01, Verdict.CONFIRMED),
        (at_most(0.01), -math.inf, math.inf, Verdict.UNDECIDED),
        (at_most(0.01), 0.02, math.inf, Verdict.REFUTED),
        (at_least(0.9), 0.9, 1.0, Verdict.CONFIRMED),
        (at_least(0.9), 0.2, 0.8, Verdict.REFUTED),
        (at_least(0.0), 0.0, 0.0, Verdict.CONFIRMED),
        (above(0.0), 0.1, 0.2, Verdict.CONFIRMED),
        (above(0.0), 0.0, 0.2, Verdict.UNDECIDED),
        (above(0.0), 0.0, 0.0, Verdict.REFUTED),
        (below(0.0), -0.2, -0.1, Verdict.CONFIRMED),
        (below(0.0), -0.2, 0.0, Verdict.UNDECIDED),
        (below(0.0), 0.0, 0.2, Verdict.REFUTED),
        (between(1.0, 2.0), 1.0, 1.0, Verdict.CONFIRMED),
        (between(1.0, 2.0), math.nan, math.nan, Verdict.UNDECIDED),
    ],
)
def test_a_verdict_compares_the_interval_with_the_region(rule, lo, hi, verdict):
    assert rule.judge(Estimate((lo + hi) / 2, lo, hi, n=10)) is verdict


@pytest.mark.parametrize(("lo", "hi"), [(-1.1, -0.9), (5.0, 6.0)])
def test_an_objection_forbids_either_verdict(lo, hi):
    estimate = Estimate(lo, lo, hi, n=10, objections=("the line bends",))
    assert within(-1.0, 0.5).judge(estimate) is Verdict.UNDECIDED


@given(st.tuples(*[st.floats(-10, 10)] * 6))
def test_more_seeds_never_turn_a_verdict_round(ends):
    region, wide = sorted(ends[:2]), sorted(ends[2:4])
    narrow = sorted(min(max(end, wide[0]), wide[1]) for end in ends[4:])
    assume(wide != narrow)
    rule = between(*region)
    before = rule.judge(Estimate(0.0, *wide, n=5))
    after = rule.judge(Estimate(0.0, *narrow, n=20))
    assert before in (Verdict.UNDECIDED, after)


@pytest.mark.parametrize(
    "make",
    [
        lambda: between(2.0, 1.0),
        lambda: within(0.0, -0.1),
        lambda: within(math.nan, 0.1),
        lambda: within(0.0, math.inf),
        lambda: at_most(math.inf),
        lambda: at_least(math.inf),
        lambda: at_most(math.nan),
        lambda: Rule(-math.inf, math.inf),
    ],
)
def test_a_rule_can_be_met_and_missed(make):
    with pytest.raises(InputError, match="met and missed"):
        make()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (within(-2 / 3, 0.12), "inside [-0.7867, -0.5467], REFUTED if disjoint, else UNDECIDED"),
        (at_most(0.01), "ends at or below 0.01, REFUTED if it begins above, else UNDECIDED"),
        (at_least(12), "begins at or above 12, REFUTED if it ends below, else UNDECIDED"),
        (above(0.01), "begins above 0.01, REFUTED if it ends at or below, else UNDECIDED"),
        (below(0), "ends below 0, REFUTED if it begins at or above, else UNDECIDED"),
    ],
)
def test_a_rule_reads_as_a_sentence(rule, words):
    assert str(rule).startswith("CONFIRMED if the 95 % interval ")
    assert str(rule).endswith(words)


def test_verdicts_are_spelt_as_they_are_printed():
    assert [str(v) for v in Verdict] == ["CONFIRMED", "REFUTED", "UNDECIDED", "NOT RUN"]


# --- how often it is wrong ---------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    """The rates of every truth, simulated anew: other runs than those of the page."""
    return {
        truth.name: rates.measured_rates([truth], SIMULATIONS.get(truth.interval, CHEAP), entropy=1) for truth in TRUTHS
    }


VALID = [pytest.param(truth, id=f"{truth.interval}: {truth.name}") for truth in TRUTHS if truth.valid]


@pytest.mark.parametrize("truth", VALID)
def test_a_95_percent_interval_covers_at_least_93(truth, measured):
    rows = measured[truth.name]
    assert np.average([r.covers for r in rows], weights=[r.sound for r in rows]) >= 0.93
    for r in rows:  # with 5 seeds, too: no further below 93 % than one simulation in a thousand
        assert round(r.covers * r.sound) >= binom.ppf(0.001, r.sound, 0.93)


@pytest.mark.parametrize("truth", VALID)
def test_at_the_edge_of_refutation_at_most_5_percent_are_confirmed(truth, measured):
    rows = measured[truth.name]
    assert np.mean([r.confirmed_at_edge for r in rows]) <= 0.05
    for r in rows:
        assert round(r.confirmed_at_edge * r.simulations) <= binom.ppf(0.999, r.simulations, 0.05)


@pytest.mark.parametrize("truth", VALID)
def test_a_true_prediction_is_hardly_ever_refuted_and_more_seeds_confirm_it(truth, measured):
    rows = measured[truth.name]
    assert all(r.refuted <= 0.01 for r in rows)
    confirmed = [r.confirmed for r in rows]
    assert confirmed[-1] > 0.4
    assert confirmed[-1] >= confirmed[0] - 0.02


def test_the_advice_against_an_interval_is_deserved(measured):
    advised_against = [truth.name for truth in TRUTHS if not truth.valid]
    assert advised_against
    for name in advised_against:
        assert measured[name][0].covers < 0.93
        assert measured[name][0].confirmed_at_edge > 0.05


# --- the page ----------------------------------------------------------------


def table(name):
    """The rows of a table of the page, as {head: cell}."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    lines = PAGE.read_text(encoding="utf-8").split(begin)[1].split(end)[0].strip().splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


def number(cell):
    """A percentage and its Monte-Carlo error, as shares."""
    value, error = cell.split("±")
    return float(value) / 100, float(error) / 100


def agree(cell, share, simulations):
    """Whether a rate on the page and one measured here differ by no more than chance allows."""
    documented, error = number(cell)
    here = math.sqrt((documented * (1 - documented) + 0.5 / simulations) / simulations)
    return abs(documented - share) <= 4.5 * math.hypot(error, here)


def test_the_page_holds_what_is_measured(measured):
    rows = table("intervals")
    fresh = [r for rows in measured.values() for r in rows]
    assert len(rows) == len(fresh)
    for row, r in zip(rows, fresh, strict=True):
        name = r.truth.name if r.truth.valid else f"{r.truth.name} (not valid)"
        assert (row["truth"], row["interval"], row["seeds"]) == (name, f"`{r.truth.interval}`", str(r.seeds))
        assert agree(row["covers"], r.covers, r.sound), row
        assert agree(row["CONFIRMED at the edge"], r.confirmed_at_edge, r.simulations), row
        assert agree(row["true: CONFIRMED"], r.confirmed, r.simulations), row
        assert agree(row["true: UNDECIDED"], r.undecided, r.simulations), row


def test_the_page_promises_what_design_asks():
    valid = [row for row in table("intervals") if "not valid" not in row["truth"]]
    assert all(number(row["covers"])[0] >= 0.93 for row in valid)
    assert all(number(row["CONFIRMED at the edge"])[0] <= 0.05 for row in valid)
    assert max(number(row["covers"])[1] for row in valid) < 0.007


def test_the_page_knows_how_often_a_bend_is_seen():
    rows, fresh = table("bends"), rates.measured_bends(100, entropy=1)
    for row, b in zip(rows, fresh, strict=True):
        assert (row["interval"], row["change of slope"], row["seeds"]) == (
            f"`{b.interval}`",
            f"{b.bend:g}",
            str(b.seeds),
        )
        assert agree(row["objects"], b.objects, b.simulations), row
    straight = [number(row["objects"])[0] for row in rows if row["change of slope"] == "0"]
    assert max(straight) < 0.06


def test_the_page_has_the_exact_rates_of_shares():
    assert table("shares") == rates.TABLES["shares"](0)


def test_clopper_pearson_keeps_at_every_bound_what_wilson_keeps_on_average():
    wilson, exact = (rates.measured_shares()[i : i + 3] for i in (0, 3))
    assert all(s.covers_at_least >= 0.95 and s.confirmed_at_any_edge <= 0.025 + 1e-9 for s in exact)
    assert all(s.covers_on_average >= 0.95 for s in wilson)
    assert all(s.confirmed_at_edge <= 0.05 for s in wilson if s.seeds >= 10)


def test_the_command_rewrites_the_tables_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    rates.main([str(page), "--simulations", "2"])
    once = page.read_text(encoding="utf-8")
    rates.main([str(page), "--simulations", "2"])
    assert page.read_text(encoding="utf-8") == once

    def prose(text):
        return [line for line in text.splitlines() if not line.startswith("|")]

    assert prose(once) == prose(PAGE.read_text(encoding="utf-8"))
    assert once != PAGE.read_text(encoding="utf-8")


def test_the_command_leaves_a_page_without_markers_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no tables", encoding="utf-8")
    with pytest.raises(InputError, match="marks"):
        rates.main([str(page), "--simulations", "2"])
    assert page.read_text(encoding="utf-8") == "no tables"
