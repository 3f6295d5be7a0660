"""`lemmata neighbours`: what it measures, what it says, what it writes and what it refuses; and batches for PyG."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from small_graphs import arrays, save_graph

from lemmata.graph.theory import margins
from lemmata.lab.grid import Cell, measure
from lemmata.lab.hop_measures import HopAccuracy, HopAttention
from lemmata.lab.hops import class_counts, groups, one_hot
from lemmata.lab.stats import Estimate, mean_t
from lemmata.tools.graph_files import read_graph
from lemmata.tools.neighbours import LIGHT, Learned, advised, arms_of, learn, network, study
from lemmata.tools.votes import DEALS, _dealt, votes

FAST = ["--seeds", "2", "--steps", "60"]


@pytest.fixture
def graph(shell, monkeypatch):
    """The command line beside a small graph, with a cache of its own."""
    monkeypatch.setenv("LEMMATA_CACHE", str(shell.folder / "cache"))
    save_graph(shell.folder / "a.npz")
    save_graph(shell.folder / "a.pt")
    return shell


def test_margins_are_those_of_the_whole_groups(graph):
    own = read_graph("a.npz")
    found = study(own, max_hops=3)
    for z, distance in enumerate(found.distances, 1):
        count, size = [], []
        for _, of in groups(own.indptr, own.indices, max_hops=3):
            count.append(class_counts(of[z - 1], one_hot(own.label_N, 2)))
            size.append(of[z - 1].size_B)
        margin_N = margins(np.concatenate(count)[:, None], np.concatenate(size)[:, None], own.label_N)[:, 0]
        expected = mean_t(margin_N[np.isfinite(margin_N)])
        assert (distance.margin.value, distance.margin.lo) == pytest.approx((expected.value, expected.lo))
        assert distance.obeying == pytest.approx((margin_N > 0).mean())
        assert distance.reached == pytest.approx(np.isfinite(margin_N).mean())
    assert found.core == 1 and found.obeying == found.distances[0].obeying
    assert all(d.carries for d in found.distances) and abs(found.distances[0].chance - 0.5) < 0.1


def test_advice_is_where_the_label_is(graph):
    save_graph(graph.folder / "h.npz", **arrays(homophilous=False))
    for name, core in (("a.npz", 1), ("h.npz", 2)):
        record = graph.run("neighbours", "--graph", name, "--max-hops", 2, "--advise", "--seeds", 3, "--json").json
        assert record["core"]["distance"] == core and core in record["advice"]["hops"]
        for each in record["distances"]:
            advised = each["carries"] and each["weight"]["value"] >= LIGHT
            assert (each["distance"] in record["advice"]["hops"]) == advised
            assert each["carries"] == (each["over_chance"]["lo"] > 0)
    assert not record["distances"][0]["carries"], "distance 1 votes against the label"
    assert record["core"]["holds"] is False and record["core"]["obeying"] < 1


def test_chance_is_what_whole_deals_of_the_labels_show(graph):
    own = read_graph("a.npz")
    found = votes(own, max_hops=3, told=lambda done, total: None)
    assert found.dealt_margin_RZ.shape == (DEALS, 3)
    searched = [of for _, of in groups(own.indptr, own.indices, max_hops=3)]
    size_NZ = np.concatenate([np.stack([of.size_B for of in found], 1) for found in searched])
    for r in (1, DEALS):
        label_N = _dealt(own.label_N)[r]
        assert (np.bincount(label_N) == np.bincount(own.label_N)).all() and (label_N != own.label_N).any()
        count_NZK = np.concatenate(
            [np.stack([class_counts(of, one_hot(label_N, 2)) for of in found], 1) for found in searched]
        )
        expected_Z = np.nanmean(margins(count_NZK, size_NZ, label_N), 0)
        assert found.dealt_margin_RZ[r - 1] == pytest.approx(expected_Z)
        own_NZ = np.take_along_axis(count_NZK, label_N[:, None, None], 2)[..., 0] / np.where(size_NZ, size_NZ, np.nan)
        assert found.dealt_same_RZ[r - 1] == pytest.approx(np.nanmean(own_NZ, 0))
    studied = study(own, max_hops=3)
    for z, distance in enumerate(studied.distances):
        dealt_R = found.dealt_margin_RZ[:, z]
        half = student.ppf(1 - 0.025 / 3, DEALS - 1) * dealt_R.std(ddof=1) * (1 + 1 / DEALS) ** 0.5
        excess = distance.margin.value - dealt_R.mean()
        assert (distance.excess.value, distance.excess.lo) == pytest.approx((excess, excess - half))
        assert distance.chance == pytest.approx(found.dealt_same_RZ[:, z].mean())


def test_labels_dealt_at_random_carry_nothing_and_nothing_is_advised(graph):
    carried = 0
    for seed in range(20):
        parts = arrays(seed=seed)
        parts["labels"] = np.random.default_rng(seed).permutation(parts["labels"])
        save_graph(graph.folder / "r.npz", **parts)
        carried += any(d.carries for d in study(read_graph("r.npz"), max_hops=4).distances)
    # One graph in forty by the rule, of one side of a 95 % interval for all distances together.
    assert carried <= 3
    call = ["neighbours", "--graph", "r.npz", "--max-hops", 2, *FAST, "--compare", "-o", "s.json"]
    ran = graph.run(*call)
    assert "advice    none" in ran.out and "label     no distance carries" in ran.out and "compare   " not in ran.out
    assert "nothing is compared, and nothing written" in ran.err and not (graph.folder / "s.json").exists()
    record = graph.run(*call, "--json").json
    assert record["advice"]["hops"] == [] and record["comparison"] is None


def test_nodes_without_a_label_are_counted_and_do_not_vote(graph):
    label_N = np.where(np.arange(240) % 3 == 0, -1, arrays()["labels"])
    save_graph(graph.folder / "u.npz", labels=label_N)
    own = read_graph("u.npz")
    found = votes(own, max_hops=2, told=lambda done, total: None)
    known_L = np.flatnonzero(label_N >= 0)
    searched = [of for _, of in groups(own.indptr, own.indices, max_hops=2)]
    for z in range(2):
        node_NX = [
            of[z].node_X[of[z].start_B1[b] : of[z].start_B1[b + 1]] for of in searched for b in range(len(of[z].size_B))
        ]
        for place, n in enumerate(known_L):
            there_X = label_N[node_NX[n]]
            same, other = (there_X == label_N[n]).sum(), (there_X == 1 - label_N[n]).sum()
            assert found.size_LZ[place, z] == len(there_X)
            expected = (same - other) / len(there_X) if len(there_X) else np.nan
            assert found.margin_LZ[place, z] == pytest.approx(expected, nan_ok=True)
    assert ((_dealt(label_N) == -1) == (label_N == -1)).all()


def test_other_labels_on_the_same_edges_are_counted_anew(graph):
    save_graph(graph.folder / "b.npz", labels=np.arange(240) // 120)
    first, second = (study(read_graph(name), max_hops=1) for name in ("a.npz", "b.npz"))
    assert first.distances[0].margin != second.distances[0].margin


def test_a_distance_that_one_labelled_node_reaches_is_left_out(graph):
    parts = {"edges": np.array([[0, 1, 2], [1, 2, 3]]), "features": np.eye(4), "labels": np.array([0, 1, 0, -1])}
    np.savez(graph.folder / "path.npz", **parts)
    assert [d.reached for d in study(read_graph("path.npz"), max_hops=3).distances] == [1.0, 1.0]


def test_the_vote_that_the_theorem_wants_is_said_to_hold_where_it_does(graph):
    pair_P2 = np.array([(a, b) for a in range(12) for b in range(a)])
    inside_P2 = pair_P2[pair_P2[:, 0] % 2 == pair_P2[:, 1] % 2]
    np.savez(graph.folder / "two.npz", edges=inside_P2.T, features=np.random.rand(12, 2), labels=np.arange(12) % 2)
    assert "its condition holds" in graph.run("neighbours", "--graph", "two.npz", "--max-hops", 1, *FAST).out
    save_graph(graph.folder / "h.npz", **arrays(homophilous=False))
    studied = study(read_graph("h.npz"), max_hops=2)
    assert studied.core == 2 and studied.obeying == studied.distances[1].obeying != studied.distances[0].obeying
    assert "its condition does not hold" in graph.run("neighbours", "--graph", "h.npz", "--max-hops", 2, *FAST).out


def test_features_are_brought_to_one_scale_as_they_are(graph):
    save_graph(graph.folder / "words.npz", features=np.abs(arrays()["features"]))
    for name, expected in (("words.npz", ("rows", 3.0)), ("a.npz", ("columns", 1.0))):
        config = network(study(read_graph(name), max_hops=1), size=4, labelled=0.6, steps=1)
        assert (config.scaling, config.scale) == expected


def test_a_call_measures_what_the_constants_say(graph):
    call = ["--max-hops", 2, "--size", 3, "--labelled", 0.5, "--steps", 20, "--seeds", 2, "--compare", "--json"]
    record = graph.run("neighbours", "--graph", "a.npz", *call).json
    assert record["graph"]["name"] == "a"
    config = network(study(read_graph("a.npz"), max_hops=2), size=3, labelled=0.5, steps=20)
    accuracy = {name: [accuracy_of(arm, s) for s in (0, 1)] for name, arm in arms_of(config, [1, 2]).items()}
    assert record["advice"]["hops"] == [1, 2]
    assert record["accuracy"]["value"] == pytest.approx(np.mean([accuracy_of(config, s) for s in (0, 1)]))
    first_S = next(iter(accuracy.values()))
    for arm, (name, found_S) in zip(record["comparison"], accuracy.items(), strict=True):
        assert arm["sampling"] == name and arm["accuracy"]["value"] == pytest.approx(np.mean(found_S))
        if arm["behind"]:
            assert arm["behind"]["value"] == pytest.approx(np.mean(np.subtract(first_S, found_S)))


def accuracy_of(config, seed):
    ((result,), _) = measure([Cell(config, seed, (HopAccuracy(),))])
    return next(row.value for row in result.rows if row.metric == "accuracy")


def test_what_is_light_is_not_advised_and_where_others_end_does_not_matter(graph):
    studied = study(read_graph("a.npz"), max_hops=3)
    ends = {z: Estimate(w, 0, 1, 3) for z, w in enumerate((1.0, LIGHT, LIGHT - 0.01), 1)}
    learned = Learned(bias=ends, weight=ends, accuracy=ends[1], seconds=1.0)
    assert all(d.carries for d in studied.distances) and advised(studied, learned) == (1, 2)
    config = network(studied, size=2, labelled=0.5, steps=20)
    learned = learn(config, 2)
    fits = [dict_of(config, seed) for seed in (0, 1)]
    for z in config.hops:
        bias_S = [fit["bias", z] for fit in fits]
        weight_S = [np.exp(fit["bias", z] - max(fit["bias", y] for y in config.hops)) for fit in fits]
        assert learned.bias[z].value == pytest.approx(np.mean(bias_S))
        assert learned.weight[z].value == pytest.approx(np.mean(weight_S))


def dict_of(config, seed):
    ((result,), _) = measure([Cell(config, seed, (HopAttention(),))])
    return {(row.metric, row.x): row.value for row in result.rows}


def test_a_call_for_reading_and_the_setting_it_writes(graph):
    call = ["neighbours", "--graph", "a.pt", "--max-hops", 2, *FAST, "-o", "s.json"]
    out = graph.run(*call).out
    for said in ("graph     a: 240 nodes", "label     distances 1, 2 carry", "core      distance 1", "advice    "):
        assert said in out
    written = json.loads((graph.folder / "s.json").read_text())
    assert written["graph"] == "a" and written["size"] == 4
    assert "pass --force" in graph.refuse(*call)
    graph.run(*call, "--force")


def test_other_ways_to_sample_have_the_same_seeds_and_budget(graph):
    config = network(study(read_graph("a.npz"), max_hops=4), size=3, labelled=0.5, steps=60)
    arms = list(arms_of(config, [1, 3]).values())
    assert [arm.hops for arm in arms] == [(1, 3), (1, 2, 3), (1, 2, 3, 4), ()]
    assert (arms[0].T, arms[1].sampling, arms[1].T, arms[2].S) == (6, "ball", 6, 16)
    assert {(arm.steps, arm.labelled, arm.graph) for arm in arms} == {(60, 0.5, config.graph)}
    record = graph.run("neighbours", "--graph", "a.npz", "--max-hops", 2, *FAST, "--compare", "--json").json
    first, *others = record["comparison"]
    assert first["behind"] is None and len(others) == 3
    for other in others:
        gap = first["accuracy"]["value"] - other["accuracy"]["value"]
        assert other["behind"]["value"] == pytest.approx(gap) and other["seconds"] > 0


def test_repairs_are_said(graph):
    ran = graph.run("neighbours", "--graph", "a.npz", "--max-hops", 1, *FAST)
    assert "self-loop" in ran.err or "repeated edges" in ran.err


def damaged(graph):
    label = arrays()["labels"]
    save_graph(graph.folder / "nan.npz", features=np.full((240, 2), np.nan))
    save_graph(graph.folder / "short.npz", labels=label[:9])
    save_graph(graph.folder / "far.npz", edges=np.array([[0], [240]]))
    save_graph(graph.folder / "gap.npz", labels=np.where(label == 1, 2, label))
    np.savez(graph.folder / "lacking.npz", edges=np.zeros((2, 1), int))
    np.savez(graph.folder / "objects.npz", edges=np.array([{}], object), features=label, labels=label)
    (graph.folder / "text.npz").write_text("no graph")
    (graph.folder / "text.pt").write_text("no graph")
    torch.save({"edge_index": print}, graph.folder / "code.pt")
    torch.save([1, 2], graph.folder / "list.pt")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nan.npz"], "finite features"),
        (["short.npz"], "labels (240,)"),
        (["far.npz"], "edges between nodes 0 to 239"),
        (["gap.npz"], "a labelled node of every class"),
        (["lacking.npz"], "without features"),
        (["objects.npz"], "an .npz file of plain arrays"),
        (["text.npz"], "an .npz file of plain arrays"),
        (["text.pt"], "a .pt file of tensors and nothing else"),
        (["code.pt"], "a .pt file of tensors and nothing else"),
        (["list.pt"], "a dictionary of tensors"),
        (["none.npz"], "which does not exist"),
        (["PubMid"], "one of PubMed, Cora"),
        (["a.npz", "--max-hops", 0], "at least 1 for --max-hops"),
        (["a.npz", "--labelled", 1], "between 0 and 1"),
        (["a.npz", "--seeds", 1], "at least 2 for --seeds"),
        (["a.npz", "-o", "x.txt"], "ends in .json"),
    ],
    ids=lambda value: value[0] + "".join(map(str, value[1:])) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused(graph, args, said):
    damaged(graph)
    before = graph.files()
    assert said in graph.refuse("neighbours", "--graph", *args)
    assert graph.files() == before, "nothing is written"


# Batches


def test_batches_are_nodes_at_their_distances():
    geometric: Any = pytest.importorskip("torch_geometric.data")
    from lemmata.tools.neighbours import Sampler

    parts = arrays()
    data: Any = geometric.Data(
        x=torch.from_numpy(parts["features"]),
        edge_index=torch.from_numpy(parts["edges"]),
        y=torch.from_numpy(parts["labels"]),
    )
    mask = torch.arange(240) < 50
    sampler = Sampler(data, hops=[3, 1], size=2, batch_size=20, nodes=mask, seed=1)
    own = read_graph_of(parts)
    distance = {}
    for source_B, found in groups(own.indptr, own.indices, max_hops=3):
        for b, source in enumerate(source_B):
            for z, group in enumerate(found, 1):
                for node in group.node_X[group.start_B1[b] : group.start_B1[b + 1]]:
                    distance[int(source), int(node)] = z
    seen, first = [], []
    batch: Any
    for batch in sampler:
        seeds = batch.n_id[: batch.batch_size].tolist()
        seen += seeds
        first.append(batch.n_id.tolist())
        assert torch.equal(batch.x, data.x[batch.n_id]) and torch.equal(batch.y, data.y[batch.n_id])
        assert len(set(batch.n_id.tolist())) == len(batch.n_id)
        per_seed = {}
        for (node, seed), hop in zip(batch.edge_index.T.tolist(), batch.edge_attr.flatten().tolist(), strict=True):
            assert seed < batch.batch_size
            assert distance[int(batch.n_id[seed]), int(batch.n_id[node])] == hop
            per_seed.setdefault((seed, hop), []).append(node)
        assert {hop for _, hop in per_seed} <= {1, 3} and all(len(set(v)) == len(v) <= 2 for v in per_seed.values())
    assert len(sampler) == len(first) == 3 and sorted(seen) == list(range(50))
    assert [batch.n_id.tolist() for batch in sampler] != first, "another pass samples anew"
    again = Sampler(data, hops=[3, 1], size=2, batch_size=20, nodes=mask, seed=1)
    assert [batch.n_id.tolist() for batch in again] == first
    for wrong in ({"hops": []}, {"hops": [0]}, {"size": 0}, {"batch_size": 0}, {"nodes": [240]}, {"nodes": mask[:9]}):
        with pytest.raises(Exception, match="expected") as error:
            Sampler(data, **{"hops": [1], "size": 1, **wrong})
        assert type(error.value).__name__ == "InputError"


def read_graph_of(parts):
    from lemmata.lab.graphs import graph_of

    return graph_of(parts["edges"], parts["features"], parts["labels"], name="x")
