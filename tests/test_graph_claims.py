"""Every claim on the planted graphs, from its grid to its verdicts and its figure."""

import math

import numpy as np
import pandas as pd
import pytest
from brief import assert_judged_and_drawn, assert_judged_with_reasons, briefly

from lemmata import graph, registry
from lemmata.graph.claims import confusion, core, distances, encoding, robustness, samples
from lemmata.graph.experiments import LEARNED
from lemmata.lab.errors import DataError
from lemmata.lab.rule import Verdict

CLAIMS = {
    claim.id: claim for claim in graph.PAPER.claims if all(e.base.kind == "graph.one-layer" for e in claim.experiments)
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("claims") / "store"


def checked(store, name, **changes):
    # Training steps are compared where they are counted, and phases where one of them is as long as a brief training.
    most = {"graph.samples": 4000, "graph.core": 120, "graph.encoding": 60}.get(name)
    with briefly(most) if most else briefly():
        return registry.claim(name).check("quick", changes=changes, store=store, workers=1)


def test_five_claims_are_of_the_one_layer_network():
    assert len(CLAIMS) == 5


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_judged_and_drawn(name, store):
    assert_judged_and_drawn(checked(store, name))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("graph.core", {"core": 1}),
        ("graph.core", {"network": "plain"}),
        ("graph.core", {"own": True}),
        ("graph.core", {"Z": 2}),
        ("graph.core", {"first": 0}),
        ("graph.encoding", {"network": "encoded"}),
        ("graph.encoding", {"labelled": 50}),
        ("graph.encoding", {"core": 2}),
        ("graph.confusion", {"eps_S": 0.1}),
        ("graph.confusion", {"labelled": 100}),
        ("graph.confusion", {"network": "uniform"}),
        ("graph.robustness", {"violated": 0.1}),
        ("graph.robustness", {"plus": 0.8}),
        ("graph.robustness", {"network": "uniform"}),
        ("graph.samples", {"gamma_d": 0.3}),
        ("graph.samples", {"labelled": 50}),
        ("graph.core", {"Z": 1, "core": 1}),
        ("graph.core", {"mult_b": 0.0}),
        ("graph.core", {"network": "uniform"}),
        ("graph.core", {"violated": 0.1}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(f"{k}={v}" for k, v in value.items()),
)
def test_changed_constants_end_in_verdicts_with_reasons(name, changes, store):
    assert_judged_with_reasons(checked(store, name, **changes))


# The generator's own predictions ask nothing of a network.
OF_THE_GRAPH = {"graph.core/margin-homophilous", "graph.core/margin-heterophilous"}


@pytest.mark.parametrize("changes", [{"lr": 1e30}, {"lr": 0.0}], ids=["diverged", "untrained"])
@pytest.mark.parametrize("name", CLAIMS)
def test_networks_that_did_not_learn_decide_nothing(name, changes, store):
    for judged in checked(store, name, **changes).verdicts:
        if judged.id not in OF_THE_GRAPH:
            assert judged.verdict is Verdict.UNDECIDED, judged.id


# The statistics, on rows whose answer is known.


def rows(metric, values, **columns):
    return [{"metric": metric, "seed": s, "value": v, **columns} for s, v in enumerate(values)]


def biased(*tables, core_distance=2):
    """Rows of biases, a table (Z,) a seed."""
    return pd.DataFrame(
        [
            {"metric": "bias", "seed": s, "x": z, "value": b, "core": core_distance}
            for s, b_Z in enumerate(tables)
            for z, b in enumerate(b_Z, 1)
        ]
    )


def test_peaks_and_leads_are_those_of_the_core():
    frame = biased([0.1, 1.0, -0.2], [0.5, 0.4, -0.9], [-1.0, 2.0, 0.5])
    assert core.peaks(frame, core=2).value == pytest.approx(2 / 3)
    assert core.lead(frame, core=2).value == pytest.approx(np.mean([0.9, -0.1, 1.5]))
    lost = biased([0.1, math.nan, -0.2], [0.5, 0.8, -0.9])
    assert core.peaks(lost, core=2).value == 0.5
    assert core.peaks(biased([0.4, 0.4], [0.0, 0.1]), core=2).value == 0.5, "a tie is no lead"
    for unmoved in (biased([0.0, 0.0], [0.0, 0.0]), biased([0.0], [0.0])):
        with pytest.raises(DataError):
            core.peaks(unmoved, core=2)


def test_purity_is_of_the_attention_on_discriminative_nodes():
    frame = pd.DataFrame(
        [
            *rows("mass_right", [0.1, 0.1], x=0, core=1, network="encoded"),
            *rows("mass_wrong", [0.1, 0.1], x=0, core=1, network="encoded"),
            *rows("mass_right", [0.6, 0.3], x=400, core=1, network="encoded"),
            *rows("mass_wrong", [0.2, 0.3], x=400, core=1, network="encoded"),
        ]
    )
    assert core.purity(frame, core=1).value == pytest.approx(np.mean([0.25, 0.0]))
    assert core.right(frame, core=1).value == pytest.approx(0.45)
    assert core.gained(frame, core=1).value == pytest.approx(0.35)


def test_gaps_between_networks_are_paired_by_seed_and_number_of_labels(monkeypatch):
    frame = pd.DataFrame(
        [
            row
            for network, shift in (("encoded", 0.2), ("plain", 0.0))
            for labelled, level in ((25, 0.5), (100, 0.7))
            for row in rows(
                "accuracy",
                [level + shift * labelled / 100, level + 0.1 + shift * labelled / 100],
                network=network,
                labelled=labelled,
                core=1,
            )
        ]
    )
    monkeypatch.setattr(encoding, "SIZES", (25, 100))
    few = encoding.ahead(frame, better="encoded", worse="plain", core=1, which="fewest")
    mean = encoding.ahead(frame, better="encoded", worse="plain", core=1, which="mean")
    assert few.value == pytest.approx(0.05) and mean.value == pytest.approx(0.125)
    with pytest.raises(DataError, match="both networks at 25, 100"):
        encoding.ahead(
            frame[(frame["network"] == "encoded") | (frame["labelled"] == 25)],
            better="encoded",
            worse="plain",
            core=1,
            which="mean",
        )


def learned_from(needed, **columns):
    """Rows of networks that are wrong in 0.5 of the nodes below needed(gamma_d, seed) labels and nowhere from there."""
    sizes = [round(4 * 1.2**i) for i in range(40)]
    return pd.DataFrame(
        [
            {"metric": "error", "seed": s, "gamma_d": g, "labelled": n, "value": float(needed(g, s) > n) / 2, **columns}
            for g in (0.2, 0.3, 0.5)
            for s in (0, 1, 2)
            for n in sizes
        ]
    )


def test_exponents_are_of_their_network_and_graph():
    encoded = learned_from(lambda g, s: (8 + s) * (g / 0.5) ** -1.0, network="encoded", core=1)
    uniform = learned_from(lambda g, s: (8 + s) * (g / 0.5) ** -2.0, network="uniform", core=1)
    frame = pd.concat([encoded, uniform])
    assert samples.exponent(frame, network="encoded", core=1).value == pytest.approx(-1, abs=0.15)
    assert samples.exponent(frame, network="uniform", core=1).value == pytest.approx(-2, abs=0.15)
    assert samples.ratio_exponent(frame).value == pytest.approx(-1, abs=0.25)


def test_what_turned_nodes_cost_is_beyond_their_own_answers():
    plain = {"core": 1, "network": "encoded", "flipped": 0.0, "plus": 0.5}
    frame = pd.DataFrame(
        [*rows("accuracy", [0.9, 0.8], violated=0.0, **plain), *rows("accuracy", [0.8, 0.7], violated=0.1, **plain)]
    )
    assert robustness.beyond(frame, core=1).value == pytest.approx(np.mean([0.82 - 0.8, 0.74 - 0.7]))


def test_what_unequal_classes_cost_is_beyond_what_they_cost_the_vote():
    plain = {"core": 1, "network": "encoded", "flipped": 0.0, "violated": 0.0}
    frame = pd.DataFrame(
        [
            *rows("balanced", [0.9, 0.8], plus=0.5, x=0, **plain),
            *rows("balanced", [0.7, 0.7], plus=0.9, x=0, **plain),
            *rows("balanced_obeying", [1.0, 0.9], plus=0.5, x=1, **plain),
            *rows("balanced_obeying", [0.95, 0.9], plus=0.9, x=1, **plain),
            *rows("balanced_obeying", [0.5, 0.1], plus=0.9, x=2, **plain),
        ]
    )
    assert robustness.unbalanced(frame, core=1).value == pytest.approx(np.mean([0.2 - 0.05, 0.1 - 0.0]))


def test_premises_in_robustness_look_at_what_is_compared():
    base = {"core": 1, "network": "encoded", "flipped": 0.0, "plus": 0.5, "violated": 0.0}
    conditions = {"": {}, "violated": {"violated": 0.1}, "flipped": {"flipped": 0.2}, "imbalance": {"plus": 0.9}}
    for bad, constants in conditions.items():
        frame = pd.concat(
            pd.DataFrame(
                [
                    row
                    for metric, x in (("accuracy", 0), ("balanced", 0), ("unlearned", 0), ("balanced_obeying", 1))
                    for row in rows(
                        metric,
                        [0.9, 0.95] if metric == "unlearned" and c is constants else [0.1, 0.2],
                        x=x,
                        **{**base, **c},
                    )
                ]
            )
            for c in conditions.values()
        )
        for p in CLAIMS["graph.robustness"].predictions:
            name, _, where = p.id.partition("-")
            if where == "homophilous" and name in conditions:
                assert bool(p.estimate(frame).objections) == (bad in ("", name)), (bad, name)


def test_what_confusion_costs_is_compared_between_networks():
    frame = pd.DataFrame(
        [
            *rows("accuracy", [0.9, 0.9], network="encoded", eps_S=0.0, labelled=confusion.AT),
            *rows("accuracy", [0.8, 0.7], network="encoded", eps_S=0.3, labelled=confusion.AT),
            *rows("accuracy", [0.9, 0.9], network="uniform", eps_S=0.0, labelled=confusion.AT),
            *rows("accuracy", [0.85, 0.8], network="uniform", eps_S=0.3, labelled=confusion.AT),
        ]
    )
    assert confusion.costs(frame, network="encoded").value == pytest.approx(0.15)
    assert confusion.spared(frame).value == pytest.approx(-0.075)


def test_premises_are_of_the_networks_of_the_prediction():
    learned = [{"metric": "unlearned", "seed": s, "core": 1, "x": 0, "value": 0.1} for s in range(3)]
    other = [{"metric": "unlearned", "seed": s, "core": 2, "x": 0, "value": LEARNED + 0.1} for s in range(3)]
    biases = [biased([1.0, 0.0], [1.0, 0.0], [1.0, 0.1], core_distance=c) for c in (1, 2)]
    frame = pd.concat([*biases, pd.DataFrame([*learned, *other])])
    by_id = {p.id: p for p in CLAIMS["graph.core"].predictions}
    assert not by_id["lead-homophilous"].estimate(frame).objections
    assert by_id["lead-heterophilous"].estimate(frame).objections == (
        "3 of 3 networks have a loss above 0.75 of a constant answer's on their labelled nodes",
    )


def real_rows(graph_name, biases_SZ, *, reached=(1.0, 0.9, 0.2), learned=0.3):
    """Rows of networks with all distances, as `graph.distances` reads them."""
    at = {"graph": graph_name, "own": True, "first": 1, "last": 12}
    return [
        {"metric": metric, "seed": s, "x": z, "value": value, **at}
        for s, b_Z in enumerate(biases_SZ)
        for z, (b, share) in enumerate(zip(b_Z, reached, strict=True), 1)
        for metric, value in (("bias", b), ("reached", share), ("learned", learned))
    ]


def test_biases_of_real_graphs_are_compared_where_half_of_the_nodes_reach():
    actor, pubmed = [[0.1, 0.3, 9.0], [0.2, 0.3, 9.0]], [[2.0, 0.0, -9.0], [1.0, 0.2, -9.0]]
    frame = pd.DataFrame([*real_rows("Actor", actor), *real_rows("PubMed", pubmed)])
    z_Z, b_SZ = distances.biases(frame, "Actor", own=True)
    assert z_Z.tolist() == [1, 2] and b_SZ.tolist() == [[0.1, 0.3], [0.2, 0.3]]
    assert distances.flatter(frame, own=True).value == pytest.approx(np.mean([0.2 - 0.5, 0.1 - 0.2]))


@pytest.mark.parametrize("unlearned", ["Actor", "PubMed"])
def test_a_flat_bias_is_open_where_either_network_has_not_learned(unlearned):
    (flat,) = (p for p in distances.CLAIM.predictions if p.id == "flat-bias-actor-own")
    parts = {name: real_rows(name, [[0.1, 0.3, 0.0], [0.2, 0.3, 0.0]]) for name in ("Actor", "PubMed")}
    assert not flat.estimate(pd.DataFrame([*parts["Actor"], *parts["PubMed"]])).objections
    parts[unlearned] = real_rows(unlearned, [[0.1, 0.3, 0.0], [0.2, 0.3, 0.0]], learned=0.01)
    assert flat.estimate(pd.DataFrame([*parts["Actor"], *parts["PubMed"]])).objections
