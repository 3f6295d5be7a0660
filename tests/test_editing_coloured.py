"""Networks on coloured digits against their textbook form, their draws, and what is measured of their edits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from brief import assert_judged_and_drawn, assert_judged_with_reasons, briefly
from textbook_coloured import channels, textbook, trained
from torch.utils.flop_counter import FlopCounterMode

from lemmata.editing import coloured, digits, vectors
from lemmata.editing.claims import coloured_digits, coloured_mnist, coloured_ood
from lemmata.editing.coloured import TASKS, Coloured, nets
from lemmata.editing.coloured_choices import added, at_pair, behind, of_fine_tuned, over_seeds, reached, unlearned
from lemmata.editing.coloured_mlp import Mlp
from lemmata.editing.coloured_probes import PAIRS, PARTS, FineTuned, TableA, TableB, edit_scores
from lemmata.editing.coloured_vit import Vit
from lemmata.editing.digits import Batch, images, split
from lemmata.editing.published import REGION, REGION_GAMMA, REGION_MOST, region
from lemmata.editing.published_tables import TABLE_A
from lemmata.lab.ensemble import Params, Snapshot, fit
from lemmata.lab.errors import ConstantError
from lemmata.lab.grid import Cell, measure
from lemmata.lab.needs import missing
from lemmata.lab.rule import Verdict
from lemmata.lab.stats import Estimate
from lemmata.show.draw import figure

SMALL = {"mlp": Mlp(steps=4, pre_ratio=1.5, B=16, width=16), "vit": Vit(steps=4, pre_ratio=1.5, B=16, width=16)}
both = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL.keys())


def double(batch: Batch) -> Batch:
    """The same batch in float64."""
    return replace(batch, pixel_ETBI=batch.pixel_ETBI.double(), red_ETB=batch.red_ETB.double())


def shaken(config: Coloured, G: int) -> Params:
    """Weights of G networks far from their start, float64."""
    rng = torch.Generator().manual_seed(0)
    first = [config.initial(seed) for seed in range(G)]
    stacked = {name: torch.stack([weights[name] for weights in first]) for name in first[0]}
    return {n: p.double() + 0.2 * torch.randn(p.shape, generator=rng, dtype=torch.float64) for n, p in stacked.items()}


# The networks and their training


@both
def test_outputs_are_the_textbooks(config: Coloured) -> None:
    weights, found = shaken(config, 3), images("digits")
    pixel_GBI = found.pixel_NI[:15].view(3, 5, 64).double()
    red_GB = torch.tensor([[1, 0, 0, 1, 1], [0, 0, 0, 0, 1], [1, 1, 0, 1, 0]]).double()
    output_GBO = config.outputs(weights, pixel_GBI, red_GB)
    assert output_GBO.shape == (3, 5, 11)
    for g in range(3):
        network = textbook(config, {name: p[g] for name, p in weights.items()})
        expected_BO = network(channels(pixel_GBI[g], red_GB[g]))
        assert (output_GBO[g] - expected_BO).abs().max() < 1e-9


@pytest.mark.parametrize("pretraining", ["digits", "parity", "colour", "none"])
@both
def test_both_phases_are_the_textbooks(config: Coloured, pretraining: str, monkeypatch) -> None:
    config = config.replace({"pretraining": pretraining})
    own, drawn = vectors.start, digits.draw
    monkeypatch.setattr(vectors, "start", lambda weights, T: {n: p.double() for n, p in own(weights, T).items()})
    monkeypatch.setattr(coloured, "draw", lambda *args, **kwargs: [double(b) for b in drawn(*args, **kwargs)])
    lr = float(torch.tensor(config.lr))
    rule = partial(torch.optim.SGD, lr=lr) if config.kind.endswith("mlp") else partial(torch.optim.Adam, lr=lr)
    seeds = [3, 4]
    after = fit([config, config], seeds).params
    for e, seed in enumerate(seeds):
        first = {name: p.double() for name, p in config.initial(seed).items()}
        job = config.job([config], [seed], "cpu")
        before, tuned = trained(config, first, job.draws, rule)
        for name, expected in before.named().items():
            assert (vectors.base(after)[name][e] - expected).abs().max() < 1e-9, name
        for t, network in enumerate(tuned):
            for name, expected in network.named().items():
                assert (vectors.fine_tuned(after)[name][e, t] - expected).abs().max() < 1e-9, (name, t)


@both
def test_each_phase_moves_its_own_part(config: Coloured) -> None:
    end = config.total
    seen: dict[int, Params] = {}

    def watch(snapshot: Snapshot) -> list[bool]:
        seen[snapshot.step] = {name: p.clone() for name, p in snapshot.params.items()}
        return [snapshot.step >= end]

    fit([config], [0], watch=watch, watch_steps={config.pre_steps})
    first, between, last = (seen[step] for step in (0, config.pre_steps, end))
    for name in first:
        moved = (not torch.equal(first[name], between[name]), not torch.equal(between[name], last[name]))
        assert moved == ((True, False) if name.startswith("base.") else (False, True)), name


@both
def test_members_are_the_same_to_the_bit_in_any_company(config: Coloured) -> None:
    changes = [{}, {"lr": config.lr / 2}, {"cue_first": 0.2}, {"cue_outside": -1.0}, {}, {}]
    configs = [config.replace(change) for change in changes]
    together = fit(configs, range(6)).params
    for size in (1, 2, 4):
        parts = [fit(configs[i : i + size], range(6)[i : i + size]).params for i in range(0, 6, size)]
        for name, p in together.items():
            assert torch.equal(torch.cat([part[name] for part in parts]), p), (size, name)


@both
def test_training_teaches_each_task_its_own_labels(config: Coloured) -> None:
    longer = config.replace({"steps": 60, "pre_ratio": 4.0})
    (result,), _ = measure([Cell(longer, 0, (FineTuned(),))])
    own = [row for row in result.rows if row.metric == "fine_tuned"]
    accuracy = {(row.at["task"], row.at["part"]): row.value for row in own}
    assert set(accuracy) == {(task, part) for task in TASKS for part in PARTS}
    assert accuracy["first", "test"] > 0.9 and accuracy["contradictory", "test"] > 0.9


@pytest.mark.parametrize("wrong", [{"dataset": "letters"}, {"pretraining": "books"}, {"cue_first": 1.1}])
@both
def test_impossible_constants_are_refused(config: Coloured, wrong: dict) -> None:
    with pytest.raises(ConstantError):
        config.replace(wrong)


def test_heads_that_do_not_share_the_width_are_refused() -> None:
    with pytest.raises(ConstantError, match="n_head = 3"):
        Vit(n_head=3)


@both
def test_work_is_the_products_of_the_textbook(config: Coloured) -> None:
    weights = {name: p.double() for name, p in config.initial(0).items()}
    with FlopCounterMode(display=False) as counter:
        textbook(config, weights)(channels(images("digits").pixel_NI[:1].double(), torch.ones(1)))
    per_sample, steps = counter.get_total_flops(), config.pre_steps + len(TASKS) * config.steps
    # The vision transformer leaves out what nobody reads of its last layer.
    assert (1.0 if isinstance(config, Mlp) else 0.5) * per_sample <= config.operations() <= per_sample * 1.001
    assert config.work() == pytest.approx(3 * config.operations() * config.B * steps)


# Draws


def same(one: Batch, other: Batch) -> bool:
    return one.asks == other.asks and all(
        torch.equal(getattr(one, part), getattr(other, part)) for part in ("pixel_ETBI", "red_ETB", "digit_ETB")
    )


@both
def test_draws_are_a_function_of_data_seed_and_step(config: Coloured) -> None:
    longer = config.replace({"steps": 14})  # 21 steps of pre-training: phases do not end with a block
    steps = [0, 20, 21, 34, 8, 21]
    job = type(longer).job([longer], [7], "cpu")
    drawn = [job.draws(step) for step in steps]
    again = type(longer).job([longer], [7], "cpu")
    assert all(same(again.draws(step), batch) for step, batch in zip(reversed(steps), reversed(drawn), strict=True))
    assert [batch.asks for batch in drawn[:4]] == ["digits", "digits", "parity", "parity"]
    assert [batch.pixel_ETBI.shape[1] for batch in drawn[:4]] == [1, 1, 5, 5]
    assert not torch.equal(drawn[0].digit_ETB, drawn[1].digit_ETB)
    # Colours of the pre-training do not depend on the images, which differ from seed to seed anyway.
    assert not torch.equal(longer.job([longer], [8], "cpu").draws(0).red_ETB, drawn[0].red_ETB)
    network = longer.replace({"lr": 0.5, "width": 32})
    assert same(type(longer).job([network], [7], "cpu").draws(30), job.draws(30))
    for changed, seed in ((longer, 8), (longer.replace({"cue_first": 0.8}), 7)):
        assert not same(type(longer).job([changed], [seed], "cpu").draws(30), job.draws(30))


@both
def test_fine_tuning_sees_the_same_whatever_came_first(config: Coloured) -> None:
    job = type(config).job([config], [0], "cpu")
    for change in ({"pretraining": "none"}, {"pretraining": "colour"}, {"pre_ratio": 3.0}):
        other = config.replace(change)
        later = type(other).job([other], [0], "cpu").draws(other.pre_steps + 2)
        assert same(later, job.draws(config.pre_steps + 2))


def test_training_sees_training_images_only() -> None:
    config = SMALL["mlp"].replace({"steps": 40})
    job, allowed = Mlp.job([config], [5], "cpu"), images("digits").pixel_NI[split("digits", 5).training]
    seen = torch.cat([job.draws(step).pixel_ETBI.flatten(0, 2) for step in range(config.total)]).unique(dim=0)
    known = {tuple(row) for row in allowed.tolist()}
    assert len(seen) > 500 and all(tuple(row) in known for row in seen.tolist())


# What is measured


def random_member(config: Coloured) -> Params:
    rng = torch.Generator().manual_seed(1)
    params = config.weights(0)
    return {
        n: p + (0.3 * torch.randn(p.shape, generator=rng) if n.startswith("delta.") else 0) for n, p in params.items()
    }


@both
def test_scores_are_the_mean_over_all_colourings(config: Coloured) -> None:
    config, params = config.replace({"cue_first": 0.6}), random_member(config)
    edits = torch.tensor([[1, 0, -0.5, 0, 0], [0, 0, 0, 0, 1.0], [0.3, 2, 0, 1, 0], [0] * 5, [1, 1, 1, 1, 1]])
    scores = edit_scores(config, params, 2, edits)
    found, where = images("digits"), split("digits", 2)
    for l, coefficient_T in enumerate(edits):
        delta = vectors.deltas(params)
        edited = {n: p + (coefficient_T @ delta[n].flatten(1)).view(p.shape) for n, p in vectors.base(params).items()}
        network = textbook(config, edited)
        for part in PARTS:
            right_T, loss_T = np.zeros(5), np.zeros(5)
            at = getattr(where, part)
            sign_N = np.where(found.digit_N[at].numpy() % 2 == 0, 1, -1)
            for red in (True, False):
                output_N = network(channels(found.pixel_NI[at], torch.full((len(at),), float(red))))[:, 10]
                margin_N = sign_N * output_N.detach().double().numpy()
                for t, cue in enumerate(config.cues):
                    odds_N = 0.5 + 0.5 * cue * sign_N * (1 if red else -1)
                    right_T[t] += (odds_N * (margin_N > 0)).mean()
                    loss_T[t] += (odds_N * np.log1p(np.exp(-margin_N))).mean()
            assert scores[part].accuracy_LT[l].numpy() == pytest.approx(right_T, abs=1e-6)
            assert scores[part].loss_LT[l].numpy() == pytest.approx(loss_T, rel=1e-4)


@both
def test_similarity_is_the_agreement_of_answers_on_images_of_both_tasks(config: Coloured) -> None:
    params, found, where = random_member(config), images("digits"), split("digits", 2).test
    rows = FineTuned().rows("test", edit_scores(config, params, 2, torch.eye(5))["test"])
    alike = {row.at["pair"]: row.value for row in rows if row.metric == "similarity"}
    weights = vectors.fine_tuned({name: p[None] for name, p in params.items()})
    networks = [textbook(config, {name: p[0, t] for name, p in weights.items()}) for t in range(5)]
    sign_N = np.where(found.digit_N[where].numpy() % 2 == 0, 1, -1)
    for pair in PAIRS:
        expected, both_tasks = 0.0, (0, TASKS.index(pair))
        for red in (True, False):
            image_NCHW = channels(found.pixel_NI[where], torch.full((len(where),), float(red)))
            one_N, other_N = (networks[t](image_NCHW)[:, 10].detach().sign().numpy() for t in both_tasks)
            for t in both_tasks:
                odds_N = 0.5 + 0.5 * config.cues[t] * sign_N * (1 if red else -1)
                expected += (odds_N * one_N * other_N).mean() / 2
        assert alike[pair] == pytest.approx(expected, abs=1e-6)


def test_an_answer_that_is_not_a_number_has_no_accuracy() -> None:
    config, params = SMALL["mlp"], random_member(SMALL["mlp"])
    params["delta.b_out"][0, -1] = torch.nan
    scores = edit_scores(config, params, 0, torch.eye(5))["test"]
    assert scores.accuracy_LT[0].isnan().all() and scores.accuracy_LT[1:].isnan().all()
    finite = {name: torch.nan_to_num(p) for name, p in params.items()}
    assert edit_scores(config, finite, 0, torch.eye(5))["test"].accuracy_LT.isfinite().all()


@both
def test_rows_are_the_scores_of_their_edits(config: Coloured) -> None:
    measures = (FineTuned(), TableA(lambdas=(-1.0, 0.4)), TableB(lambdas_1=(0.0, 1.5), lambdas_2=(-0.5, 1.0)))
    cells = [Cell(config, seed, measures) for seed in (0, 1)]
    results, end = measure(cells)
    assert end.step == config.total
    for e, result in enumerate(results):
        assert len(result.rows) == 2 * (5 + 3 + 2 * 3 * 2 * 2 + 4)
        member = {name: p[e] for name, p in end.params.items()}

        def score(part: str, task: str, edit: dict[str, float], seed=e, member=member) -> float:
            edit_1T = torch.tensor([[edit.get(task, 0.0) for task in TASKS]])
            return float(edit_scores(config, member, seed, edit_1T)[part].accuracy_LT[0, TASKS.index(task)])

        rows = {(r.metric, r.x, *r.at.values()): r.value for r in result.rows}
        for part in PARTS:
            for task in TASKS:
                assert rows["fine_tuned", 0, task, part] == pytest.approx(score(part, task, {task: 1.0}))
            for pair in PAIRS:
                for name, task in (("T1", "first"), ("T2", pair)):
                    expected = score(part, task, {"first": 1.0, pair: 0.4})
                    assert rows["accuracy", 0.4, pair, name, part] == pytest.approx(expected)
            expected = score(part, "outside", {"irrelevant": 1.5, "contradictory": -0.5})
            assert rows["outside", 1.5, -0.5, part] == pytest.approx(expected)


# What is chosen


def table_a(T1: dict, T2: dict, *, first: float = 0.9, second: float = 0.9) -> pd.DataFrame:
    """Rows of one pair: accuracies by part and seed at lambda = -1, -0.4, 0, 0.4."""
    rows = []
    for name, table in (("T1", T1), ("T2", T2)):
        for (part, seed), values in table.items():
            for lam, value in zip((-1.0, -0.4, 0.0, 0.4), values, strict=True):
                rows.append({"metric": "accuracy", "x": lam, "pair": "aligned", "task": name, "part": part,
                             "seed": seed, "value": value})  # fmt: skip
    for part, seed in T1:
        for task, value in (("first", first), ("aligned", second)):
            rows.append({"metric": "fine_tuned", "x": 0, "task": task, "part": part, "seed": seed, "value": value})
    return pd.DataFrame(rows)


NAN = float("nan")
T1 = {
    ("validation", 0): (0.88, 0.89, 0.90, 0.85),
    ("test", 0): (0.81, 0.82, 0.83, 0.84),
    ("validation", 1): (0.89, 0.90, 0.90, 0.90),
    ("test", 1): (0.61, 0.62, 0.63, 0.64),
    ("validation", 2): (NAN,) * 4,
    ("test", 2): (NAN,) * 4,
}
T2 = {
    ("validation", 0): (0.10, 0.50, 0.60, 0.70),
    ("test", 0): (0.11, 0.12, 0.13, 0.14),
    ("validation", 1): (0.20, 0.80, 0.90, 0.90),
    ("test", 1): (0.21, 0.22, 0.23, 0.24),
    ("validation", 2): (NAN,) * 4,
    ("test", 2): (NAN,) * 4,
}


def test_an_edit_is_chosen_on_validation_images_and_scored_on_test_images() -> None:
    frame = table_a(T1, T2)
    adds, unlearns = added(frame, "aligned"), unlearned(frame, "aligned")
    assert adds.lambda_S[:2].tolist() == [0.4, 0.4]
    assert adds.T1_S[:2].tolist() == [0.84, 0.64] and adds.T2_S[:2].tolist() == [0.14, 0.24]
    # Seed 0 at lambda = -1 costs T1 more than is allowed; an addition never unlearns.
    assert unlearns.lambda_S[:2].tolist() == [-0.4, -1.0]
    assert unlearns.T2_S[:2].tolist() == [0.12, 0.21]
    # The task that loses more: T2 in seed 0, by 0.9 - 0.14.
    assert behind(frame, "aligned")[:2].tolist() == pytest.approx([0.76, 0.66])
    assert behind(table_a(T1, T2, first=0.9, second=0.1), "aligned")[:2].tolist() == pytest.approx([0.06, 0.26])


def test_a_seed_that_diverged_has_no_choice_and_forbids_a_verdict() -> None:
    frame = table_a(T1, T2)
    for chosen in (added(frame, "aligned"), unlearned(frame, "aligned")):
        assert all(np.isnan(values[2]) for values in chosen)
    assert np.isnan(behind(frame, "aligned")[2])
    assert over_seeds(behind(frame, "aligned"), 0.0).objections
    assert coloured_digits.left_of_second(frame, pair="aligned").objections


def test_t1_may_cost_exactly_what_is_kept() -> None:
    T1_exact = {("validation", 0): (0.885, 0.884, 0.9, 0.9), ("test", 0): (0.8,) * 4}
    T2_low = {("validation", 0): (0.5, 0.1, 0.9, 0.0), ("test", 0): (0.1, 0.2, 0.3, 0.4)}
    chosen = unlearned(table_a(T1_exact, T2_low), "aligned")
    assert chosen.lambda_S.tolist() == [-1.0] and chosen.T2_S.tolist() == [0.1]


def table_b(tables: dict) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"metric": "outside", "x": one, "lambda_2": two, "part": part, "seed": seed, "value": value}
            for (part, seed), values in tables.items()
            for (one, two), value in zip(((1.0, 0.0), (1.5, -0.5), (0.0, 1.0), (2.0, -0.5)), values, strict=True)
        ]
    )


def test_a_pair_is_chosen_on_validation_images_and_scored_on_test_images() -> None:
    frame = table_b(
        {
            ("validation", 0): (0.8, 0.95, 0.3, 0.95),
            ("test", 0): (0.7, 0.9, 0.1, 0.99),
            ("validation", 1): (0.9, 0.8, 0.4, 0.5),
            ("test", 1): (0.6, 0.5, 0.2, 0.4),
        }
    )
    best, worst = reached(frame), reached(frame, lowest=True)
    assert best.lambda_S2.tolist() == [[1.5, -0.5], [1.0, 0.0]] and best.accuracy_S.tolist() == [0.9, 0.6]
    assert worst.lambda_S2.tolist() == [[0.0, 1.0]] * 2 and worst.accuracy_S.tolist() == [0.1, 0.2]
    assert at_pair(frame, 1.0, 0.0).tolist() == [0.7, 0.6]
    lost = table_b({("validation", 0): (NAN,) * 4, ("test", 0): (NAN,) * 4})
    for low in (False, True):
        assert np.isnan(reached(lost, lowest=low).accuracy_S).all()


def test_seeds_that_agree_on_a_point_of_a_grid_leave_half_a_step() -> None:
    estimate = over_seeds(np.full(5, 0.6), 0.2)
    assert (estimate.lo, estimate.hi) == pytest.approx((0.5, 0.7))


# What was published


def test_the_published_table_agrees_with_itself() -> None:
    for best in TABLE_A.values():
        # Both gaps are to networks of about 0.95, the accuracy of fine-tuning.
        assert 0.93 < best.T1 + best.T1_behind < 0.97 and 0.93 < best.T2 + best.T2_behind < 0.97
        assert round(best.lam / 0.2) * 0.2 == pytest.approx(best.lam)


@pytest.mark.parametrize("most", [np.inf, REGION_MOST])
def test_the_published_region_is_where_its_inequalities_hold(most) -> None:
    x, y = (-2.0, 3.0), (-2.0, 2.0)
    edge_P2 = np.column_stack(region(REGION_GAMMA, REGION, x, y, most=most))
    sums_P2 = np.column_stack([edge_P2 @ REGION_GAMMA, edge_P2 @ np.square(REGION_GAMMA)]) - REGION
    assert sums_P2.min() > -1e-9 and edge_P2[:, 0].max() <= min(most, x[1])
    # Its corners: the tip where both sums are at their least, and those on the right edge.
    tip = edge_P2[edge_P2[:, 0].argmin()]
    assert tip == pytest.approx((0.33, 0.05), abs=0.1)
    right = sorted(edge_P2[np.isclose(edge_P2[:, 0], most), 1]) if most < np.inf else []
    if right:
        by_hand = [(REGION[1] - REGION_GAMMA[0] ** 2 * most) / REGION_GAMMA[1] ** 2,
                   (REGION[0] - REGION_GAMMA[0] * most) / REGION_GAMMA[1]]  # fmt: skip
        assert (right[0], right[-1]) == pytest.approx((max(y[0], by_hand[0]), min(y[1], by_hand[1])), abs=0.01)


def test_an_addition_has_a_coefficient_above_0() -> None:
    level = {("validation", 0): (0.9, 0.9, 0.9, 0.1), ("test", 0): (0.9, 0.9, 0.9, 0.1)}
    assert added(table_a(level, level), "aligned").lambda_S.tolist() == [0.4]


def test_an_estimate_is_open_where_a_fine_tuning_failed() -> None:
    well = Estimate(1.0, 0.9, 1.1, n=3)
    (asked,) = of_fine_tuned(replace(coloured_digits.CLAIM.predictions[0], estimate=lambda frame: well))
    rows = {"metric": "fine_tuned", "part": ["test", "test", "validation"], "value": [0.9, 0.75, 0.1]}
    assert asked.estimate(pd.DataFrame(rows)) == well
    for bad in (0.74, NAN):
        found = asked.estimate(pd.DataFrame({**rows, "value": [0.9, bad, 0.9]}))
        assert found.objections == ("1 of 2 fine-tunings have an accuracy below 0.75 on their own task",)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"lr": 1000.0}], ids=["untrained", "diverged"])
@pytest.mark.parametrize("name", ["editing.coloured-digits", "editing.coloured-ood"])
def test_networks_that_did_not_learn_confirm_nothing(name, changes, store) -> None:
    for judged in checked(store, name, **changes).verdicts:
        assert judged.verdict is not Verdict.CONFIRMED, judged.id


# The claims

CLAIMS = {claim.id: claim for claim in (coloured_digits.CLAIM, coloured_ood.CLAIM)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("coloured") / "store"


def checked(store, name, **changes):
    with briefly() as patch:
        patch.setitem(digits.SIZES, "digits", (1297, 20, 20))
        return CLAIMS[name].check("quick", changes=changes, store=store, workers=1)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_judged_and_drawn(name, store) -> None:
    assert_judged_and_drawn(checked(store, name))


@pytest.mark.parametrize("changes", [{"cue_first": 0.5}, {"pretraining": "none"}, {"lr": 1e30, "n_layer": 1}])
@pytest.mark.parametrize("name", CLAIMS)
def test_changed_constants_end_in_verdicts_with_reasons(name, changes, store) -> None:
    assert_judged_with_reasons(checked(store, name, **changes))


def test_mnist_is_not_run_without_its_files(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("LEMMATA_DATA", raising=False)
    assert missing(coloured_mnist.CLAIM.needs)
    result = coloured_mnist.CLAIM.check("quick", store=tmp_path / "store", workers=1)
    assert {judged.verdict for judged in result.verdicts} == {Verdict.NOT_RUN}


def test_mnist_is_judged_and_drawn_where_its_files_are(tmp_path) -> None:
    if missing(coloured_mnist.CLAIM.needs):
        pytest.skip("needs LEMMATA_DATA with mnist below it")
    with briefly() as patch:
        patch.setitem(digits.SIZES, "mnist", (500, 20, 20))
        result = coloured_mnist.CLAIM.check("quick", store=tmp_path / "store", workers=1)
    assert Verdict.NOT_RUN not in {judged.verdict for judged in result.verdicts}
    figure(result)


def test_networks_of_several_edits_lie_side_by_side() -> None:
    weights = nets({"W": torch.arange(24.0).view(2, 3, 4)})
    assert torch.equal(weights["W"][4], torch.arange(16.0, 20.0))
