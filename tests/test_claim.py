"""A claim from its statement to its verdicts: what is trained, what is said of it, and what is not said."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import toy

from lemmata.lab.check import check, judge
from lemmata.lab.claim import Claim, Options, Paper, Prediction, provided
from lemmata.lab.errors import ConstantError, DataError, InputError, RegistryError
from lemmata.lab.figure import Curve, Figure, Panel, Reference, curves, power_law, threshold
from lemmata.lab.frames import by_seed, extreme_by_seed, grid_by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.rule import Verdict, at_least, at_most, within
from lemmata.lab.stats import Estimate, error_rate_t, mean_t
from lemmata.lab.store import Store

FIT = Experiment(
    name="fit",
    base=toy.Toy(steps=60),
    measures=(toy.Weights(),),
    points=ByProfile(*[product(slope=[1.0, 2.0])] * 3),
    seeds=ByProfile(quick=3, default=4, full=5),
    settings={"slow": {"lr": 0.001}, "stuck": {"lr": 0.0, "start": 9.0}},
    setting_seeds=ByProfile(quick=0, default=3, full=5),
)
OTHER = replace(FIT, name="other", base=toy.Toy(steps=3, law="sign"), settings={})


def learned(frame):
    """The last weight over the slope, both slopes together."""
    last = frame[(frame["of"] == "w") & (frame["x"] == frame["steps"])]
    return mean_t((last["value"] / last["slope"]).groupby(last["seed"]).mean().to_numpy())


def never(frame):
    raise DataError("two lengths to compare", "one", "leave the length alone")


def doubtful(frame):
    return Estimate(1.0, 0.99, 1.01, 4, ("the line bends",))


def nameless(frame):
    return Estimate.without_number(4, ("4 of 4 seeds without a finite value",), "")


TRUE = within(1.0, 0.2)


def prediction(id, estimate=learned, rule=TRUE, of=FIT):
    return Prediction(
        id=id,
        statement=f"It is {id}.",
        kind="holds",
        source="Theorem 0",
        of=of,
        statistic="weight over slope",
        predicted="1",
        estimate=estimate,
        rule=rule,
    )


def figure(frames):
    marks = curves(frames["fit"], "weight", by="slope", where={"of": "w"})
    return Figure(panels=(Panel(title="weights", x="step", y="w", marks=tuple(marks)),), caption="Weights.")


def claim(*predictions, **changes):
    made = Claim(
        id="toy.fit",
        title="Lines are learned",
        statement="A line is learned.",
        source="Theorem 0",
        predictions=predictions or (prediction("learned"),),
        figure=figure,
        cites=("toy1900",),
    )
    return replace(made, **changes)


@pytest.fixture
def options(tmp_path):
    return Options(profile="default", store=tmp_path / "store", workers=1)


def judged(options, *predictions):
    (result,) = check([claim(*predictions)], options)
    return result.verdicts


# Verdicts


def test_a_verdict_compares_the_estimate_with_the_rule(options):
    region = within(1.0, 0.2), within(2.0, 0.2), at_least(0.9), within(1.0, 1e-9)
    names = ("confirmed", "refuted", "also", "undecided")
    found = judged(options, *(prediction(name, rule=rule) for name, rule in zip(names, region, strict=True)))
    assert [v.verdict for v in found] == [Verdict.CONFIRMED, Verdict.REFUTED, Verdict.CONFIRMED, Verdict.UNDECIDED]
    assert len({v.estimate for v in found}) == 1 and {v.estimate.n for v in found if v.estimate} == {4}
    assert [v.id for v in found] == [f"toy.fit/{name}" for name in names]
    assert all(v.registered and v.reason == "" for v in found)
    assert all((v.seeds, v.cells, v.cells_trained) == (4, 8, 8) and v.seconds > 0 for v in found)


def test_without_its_premise_a_prediction_is_open(options):
    """What objects is added to what did already, and the number stays."""
    asked = prediction("asked"), prediction("doubted", doubtful)
    with_premise, without = judged(options, *provided(lambda frame: (), *asked)), judged(options, *asked)
    assert [(v.verdict, v.estimate) for v in with_premise] == [(v.verdict, v.estimate) for v in without]
    for verdict in judged(options, *provided(lambda frame: [f"{len(frame) > 9} premise"], *asked)):
        assert verdict.verdict is Verdict.UNDECIDED and "True premise" in verdict.reason
        assert verdict.estimate is not None
        assert ("the line bends" in verdict.reason) == (verdict.prediction.id == "doubted")


def test_what_cannot_be_estimated_is_undecided_and_says_why(options):
    none, doubt, no_number = judged(
        options, prediction("none", never), prediction("doubt", doubtful), prediction("nan", nameless)
    )
    assert none.verdict is Verdict.UNDECIDED and none.estimate is None
    assert none.reason == "expected two lengths to compare, got one" and none.spread == ()
    assert doubt.verdict is Verdict.UNDECIDED and doubt.reason == "the line bends"
    assert doubt.estimate is not None and doubt.estimate.value == 1.0
    assert no_number.verdict is Verdict.UNDECIDED and "without a finite value" in no_number.reason


def test_an_error_of_the_claims_own_is_not_hidden(options):
    def wrong(frame):
        return mean_t(frame["no_such_column"])

    with pytest.raises(KeyError):
        judged(options, prediction("wrong", wrong))


def test_the_spread_is_over_the_other_settings(options):
    (found,) = judged(options)
    assert [(s.setting, s.verdict) for s in found.spread] == [("slow", Verdict.REFUTED), ("stuck", Verdict.REFUTED)]
    assert all(s.estimate.n == 3 for s in found.spread)
    # The cells of the verdict are those of the registered setting alone.
    assert found.cells == 8
    assert len(Store(options.store).ids()) == 8 + 6 + 6


def test_a_quick_check_has_no_spread_and_the_same_rule(options):
    (quick,) = judged(replace(options, profile="quick"))
    assert quick.spread == () and (quick.seeds, quick.cells) == (3, 6)
    (later,) = judged(options)
    assert later.cells_trained == 2 and str(later.prediction.rule) == str(quick.prediction.rule)


def test_a_second_check_trains_nothing_and_says_the_same(options):
    (first,) = check([claim()], options)
    (again,) = check([claim()], options)
    assert [v.cells_trained for v in again.verdicts] == [0]
    assert (
        again.verdicts[0].estimate == first.verdicts[0].estimate
        and again.verdicts[0].spread == first.verdicts[0].spread
    )
    pd.testing.assert_frame_equal(again.frames["fit"], first.frames["fit"], check_exact=True)


def test_a_verdict_does_not_depend_on_the_other_claims(options, tmp_path):
    other = claim(prediction("other", of=OTHER, rule=at_most(9.0)), id="toy.other")
    together = check([other, claim(), claim(id="toy.third")], options)
    (alone,) = check([claim()], replace(options, store=tmp_path / "alone"))
    assert together[1].verdicts[0].estimate == alone.verdicts[0].estimate
    assert together[1].verdicts[0].spread == alone.verdicts[0].spread
    # Claims that read one experiment share its cells.
    assert len(Store(options.store).ids()) == len(Store(tmp_path / "alone").ids()) + 8


def test_a_claims_experiments_are_each_trained_once_whatever_reads_them(options):
    both = claim(prediction("one"), prediction("two", rule=at_least(0.0)), prediction("three", of=OTHER))
    assert [e.name for e in both.experiments] == ["fit", "other"]
    (result,) = check([both], options)
    assert set(result.frames) == {"fit", "other"} and [v.cells for v in result.verdicts] == [8, 8, 8]
    with pytest.raises(RegistryError, match="two"):
        claim(prediction("one"), prediction("two", of=replace(OTHER, name="fit")))


# Other constants


def test_changed_constants_are_judged_and_labelled(options):
    (changed,) = judged(replace(options, changes={"lr": 0.001}))
    assert not changed.registered and changed.verdict is Verdict.REFUTED and changed.spread == ()
    assert changed.to_json()["registered"] is False
    (registered,) = judged(options)
    assert registered.registered and registered.verdict is Verdict.CONFIRMED


def test_a_change_goes_to_the_experiments_that_have_it(options):
    two = claim(prediction("one"), prediction("two", of=OTHER))
    cells = two.cells(replace(options, changes={"law": "sign"}))
    assert set(cells) == {("fit", None), ("other", None)}
    assert {cell.config.axes("data")["law"] for part in cells.values() for cell in part} == {"sign"}


def test_an_unknown_constant_is_refused_with_the_nearest(options):
    with pytest.raises(ConstantError, match="did you mean slope"):
        check([claim()], replace(options, changes={"slop": 1.0}))
    with pytest.raises(ConstantError, match="a number for slope"):
        check([claim()], replace(options, changes={"slope": "steep"}))
    assert not options.store.exists()


@pytest.mark.parametrize("seeds", [0, -1, 1000])
def test_seeds_out_of_range_are_refused_before_anything_is_written(options, seeds):
    with pytest.raises(InputError, match="from 1 to 999"):
        check([claim()], replace(options, seeds=seeds))
    assert not options.store.exists()


def test_seeds_can_be_asked_for(options):
    (found,) = judged(replace(options, seeds=6))
    assert (found.seeds, found.cells) == (6, 12) and found.registered
    assert found.estimate is not None and found.estimate.n == 6
    # A setting has no more than its own.
    assert {s.estimate.n for s in found.spread} == {3}


def test_one_seed_is_undecided(options):
    (found,) = judged(replace(options, seeds=1))
    assert found.verdict is Verdict.UNDECIDED and found.reason == "one seed has no interval"


# Not run


def test_judging_trains_nothing(options):
    result = judge(claim(), options, Store(options.store))
    (found,) = result.verdicts
    assert found.verdict is Verdict.NOT_RUN and "8 of 8 cells are not in the store" in found.reason
    assert found.estimate is None and (found.seeds, found.cells, found.seconds) == (0, 0, 0.0)
    assert result.frames == {} and not options.store.exists()
    check([claim()], replace(options, profile="quick"))
    (part,) = judge(claim(), options, Store(options.store)).verdicts
    assert part.verdict is Verdict.NOT_RUN and "2 of 8 cells" in part.reason


def test_judging_reports_the_settings_that_are_stored(options):
    check([claim()], replace(options, changes={"lr": 0.001}, seeds=3))
    check([claim()], replace(options, profile="quick", seeds=4))
    (found,) = judge(claim(), options, Store(options.store)).verdicts
    assert found.verdict is Verdict.CONFIRMED and [s.setting for s in found.spread] == ["slow"]


@pytest.mark.parametrize("needs", [("extra:no_such_package",), ("data:no-such-folder",)])
def test_a_claim_that_lacks_something_is_not_run_and_the_others_are(options, needs, monkeypatch):
    monkeypatch.delenv("LEMMATA_DATA", raising=False)
    lacking, complete = check([claim(id="toy.needy", needs=needs), claim()], options)
    (found,) = lacking.verdicts
    assert found.verdict is Verdict.NOT_RUN and needs[0].partition(":")[2] in found.reason
    assert complete.verdicts[0].verdict is Verdict.CONFIRMED


def test_data_that_are_there_are_no_reason(options, monkeypatch, tmp_path):
    (tmp_path / "digits").mkdir()
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path))
    (result,) = check([claim(needs=("data:digits", "extra:numpy"))], options)
    assert result.verdicts[0].verdict is Verdict.CONFIRMED


# Claims as data


def test_a_claim_that_could_not_be_judged_is_refused():
    with pytest.raises(RegistryError, match="a prediction with a rule"):
        claim(predictions=())
    with pytest.raises(RegistryError, match=r"a rule for prediction toy\.fit/bare"):
        claim(replace(prediction("bare"), rule=None))
    with pytest.raises(RegistryError, match="different ids"):
        claim(prediction("twin"), prediction("twin"))


def test_a_claim_belongs_to_the_paper_before_the_dot():
    paper = Paper(id="toy", title="", authors="", venue="", arxiv="", bibliography={"toy1900": ""}, claims=(claim(),))
    assert {c.paper for c in paper.claims} == {"toy"}


def test_a_claim_checks_itself(tmp_path):
    result = claim().check("quick", seeds=3, changes={"steps": 90}, store=tmp_path / "own", workers=1)
    assert [v.verdict for v in result.verdicts] == [Verdict.CONFIRMED]
    assert (result.options.profile, result.options.seeds, result.options.changes) == ("quick", 3, {"steps": 90})
    assert (result.frames["fit"]["steps"] == 90).all()


def test_a_verdict_as_json_has_no_infinity(options):
    open_ended = Estimate(0.5, -math.inf, math.inf, 1)
    (found, other) = judged(options, prediction("open", lambda frame: open_ended), prediction("none", never))
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["estimate"] == 0.5 and record["interval"] == [None, None]
    assert (record["id"], record["claim"], record["paper"]) == ("toy.fit/open", "toy.fit", "toy")
    assert record["verdict"] == "UNDECIDED" and record["kind"] == "holds" and record["registered"] is True
    assert [s["setting"] for s in record["spread"]] == ["slow", "stuck"]
    assert other.to_json()["estimate"] is None and other.to_json()["interval"] == [None, None]
    nan = judged(options, prediction("nan", nameless))[0].to_json()
    assert nan["estimate"] is None and json.dumps(nan, allow_nan=False)


def test_a_result_has_its_table_and_its_figure(options):
    (result,) = check([claim()], options)
    rows = result.table.to_pandas()
    assert set(rows["metric"]) == {"weight"} and set(rows["slope"]) == {1.0, 2.0} and set(rows["n"]) == {4}
    one, two = result.figure.panels[0].marks
    assert isinstance(one, Curve) and isinstance(two, Curve)
    assert (one.label, two.label, one.n) == ("1.0", "2.0", 4) and one.x == (0.0, 60.0)


# Reading rows, and figures of them

ROWS = pd.DataFrame(
    [
        {"metric": "error", "seed": seed, "alpha": alpha, "x": x, "value": alpha * x + seed}
        for seed in (1, 0)
        for alpha in (0.5, 1.0)
        for x in (2, 4, 8)
    ]
)


def test_rows_are_picked_by_their_columns():
    assert len(pick(ROWS, "error")) == 12 and len(pick(ROWS, "error", {"x": (2, 8), "alpha": 0.5})) == 4
    for metric, where in (("hinge", None), ("error", {"x": 3}), ("error", {"S_1": 1.0}), ("error", {"x": ()})):
        with pytest.raises(DataError, match=metric):
            pick(ROWS, metric, where)


def test_an_extreme_is_each_seeds_own_and_none_where_a_number_is_missing():
    rows = pd.DataFrame({"seed": [1, 0, 1, 0], "value": [3.0, 1.0, 2.0, 5.0]}, index=[7, 7, 8, 9])
    assert extreme_by_seed(rows, "max").tolist() == [5.0, 3.0]
    assert extreme_by_seed(rows, "min").tolist() == [1.0, 2.0]
    rows.iloc[0, 1] = math.nan
    for found, of_0 in ((extreme_by_seed(rows, "max"), 5.0), (extreme_by_seed(rows, "min"), 1.0)):
        assert found[0] == of_0 and math.isnan(found[1])


def test_numbers_come_by_seed_in_the_order_of_the_seeds():
    assert by_seed(ROWS, "error", {"x": (2, 4), "alpha": 1.0}).tolist() == [3.0, 4.0]
    x_P, value_SP = grid_by_seed(ROWS, "error", "x", {"alpha": 0.5})
    assert x_P.tolist() == [2, 4, 8] and value_SP.tolist() == [[1.0, 2.0, 4.0], [2.0, 3.0, 5.0]]
    missing = ROWS.assign(value=ROWS["value"].where(ROWS["x"] != 4))
    assert math.isnan(grid_by_seed(missing, "error", "x")[1][0, 1])


def test_a_curve_is_the_mean_over_seeds_with_its_interval():
    half, one = curves(ROWS, "error", by="alpha", label="alpha = {}", first_group=3)
    assert (half.label, one.label, half.group, one.group, half.n) == ("alpha = 0.5", "alpha = 1.0", 3, 4, 2)
    assert half.x == (2.0, 4.0, 8.0) and half.mean == (1.5, 2.5, 4.5)
    expected = mean_t([1.0, 2.0])
    assert (half.lo[0], half.hi[0]) == (expected.lo, expected.hi)
    (by_alpha,) = curves(ROWS, "error", x="alpha", label="all")
    assert by_alpha.x == (0.5, 1.0) and by_alpha.mean == pytest.approx((7 / 3 + 0.5, 14 / 3 + 0.5))
    # However many rows a seed has, it is one in the interval.
    assert by_alpha.hi[0] == pytest.approx(mean_t([7 / 3, 10 / 3]).hi)
    with pytest.raises(DataError):
        curves(ROWS, "error", where={"x": 3})


def test_lines_that_were_not_measured():
    curve = Curve("", (1.0, 4.0, 16.0), (4.0, math.inf, 1.0), (0.0,) * 3, (9.0,) * 3, 5)
    line = power_law("-1/2", curve, -0.5, "prediction")
    assert line.y == pytest.approx((4.0, 2.0, 1.0)) and line.x == curve.x
    nothing = replace(curve, mean=(0.0, math.nan, math.inf))
    assert power_law("", nothing, 1.0, "oracle") == Reference("", (), (), "oracle")
    assert threshold("eps", y=0.0).y == (0.0, 0.0) and threshold("x", x=2.0).x == (2.0, 2.0)


def test_an_error_rate_of_zero_is_confirmed_only_as_far_as_the_prompts_go(options):
    few, many = (error_rate_t([0.0] * 5, prompts) for prompts in (20, 4096))
    assert at_most(0.01).judge(few) is Verdict.UNDECIDED and at_most(0.01).judge(many) is Verdict.CONFIRMED


def test_a_check_from_python_trains_where_it_is_told_to(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr("lemmata.lab.check.check", lambda claims, options: asked.update(options=options) or [None])
    where = {"device": "cuda", "compile": True, "engine": "slurm", "slurm": {"minutes": 5}, "workers": 3}
    claim().check("quick", store=tmp_path, **where)
    assert {name: getattr(asked["options"], name) for name in where} == where
    claim().check(store=tmp_path, engine="ray", address="auto")
    assert (asked["options"].engine, asked["options"].address) == ("ray", "auto")
