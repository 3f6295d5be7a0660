"""Search by distance against scipy, what is drawn, what is kept on disk, and the network on it against its formula."""

import numpy as np
import pytest
import textbook_hops
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path
from scipy.stats import chisquare

from lemmata.lab import graphs
from lemmata.lab.around import around, counts
from lemmata.lab.errors import ConstantError, InputError
from lemmata.lab.graph_sets import open_graph
from lemmata.lab.hop_data import split
from lemmata.lab.hop_measures import HopAccuracy, HopAttention
from lemmata.lab.hop_transformer import HopTransformer, forward, hidden, seen_by
from lemmata.lab.hops import Groups, draw, draw_ball, groups
from lemmata.lab.needs import missing


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEMMATA_CACHE", str(tmp_path / "cache"))


def random_graph(nodes=90, edges=110, seed=0):
    """Sparse enough to have several parts and lonely nodes."""
    rng = np.random.default_rng(seed)
    label_N = rng.integers(0, 3, nodes)
    label_N[:3] = range(3)
    feature_NC = rng.normal(size=(nodes, 5))
    return graphs.graph_of(rng.integers(0, nodes, (2, edges)), feature_NC, label_N, name=f"random {seed}")


def distances(graph):
    ones = np.ones(len(graph.indices))
    row = np.repeat(np.arange(graph.nodes), np.diff(graph.indptr))
    return shortest_path(coo_matrix((ones, (row, graph.indices)), shape=(graph.nodes,) * 2), unweighted=True)


@pytest.mark.parametrize("batch", [1, 63, 64, 65, 256])
def test_groups_are_the_nodes_at_their_distance(batch):
    graph = random_graph()
    distance_NN = distances(graph)
    assert np.isinf(distance_NN).any() and (np.diff(graph.indptr) == 0).any()
    seen = []
    for source_B, found in groups(graph.indptr, graph.indices, max_hops=6, batch=batch):
        seen += source_B.tolist()
        for z, group in enumerate(found, 1):
            for b, source in enumerate(source_B):
                own = group.node_X[group.start_B1[b] : group.start_B1[b + 1]]
                assert own.tolist() == np.flatnonzero(distance_NN[source] == z).tolist()
    assert seen == list(range(graph.nodes))


def test_a_draw_is_uniform_without_replacement_and_its_prefix_is_too():
    group = Groups(np.arange(7), np.array([0, 7]))
    rng = np.random.default_rng(0)
    drawn = np.concatenate([draw(group, 3, rng) for _ in range(4000)])
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    assert chisquare(np.bincount(drawn.ravel(), minlength=7)).pvalue > 1e-3
    assert chisquare(np.bincount(drawn[:, 0], minlength=7)).pvalue > 1e-3
    few = draw(Groups(np.array([4, 5]), np.array([0, 2])), 3, rng)
    assert sorted(few[0].tolist()) == [-1, 4, 5]


def test_a_draw_from_the_ball_is_uniform_over_all_distances():
    near, far = Groups(np.array([5]), np.array([0, 1])), Groups(np.arange(10, 14), np.array([0, 4]))
    rng = np.random.default_rng(0)
    found = [draw_ball([near, far], 2, rng) for _ in range(4000)]
    nodes, hops = (np.concatenate(part) for part in zip(*found, strict=True))
    assert ((nodes == 5) == (hops == 0)).all()
    assert chisquare([(nodes == n).sum() for n in (5, 10, 11, 12, 13)]).pvalue > 1e-3


def test_counts_and_sizes_are_those_of_a_loop():
    graph = random_graph()
    distance_NN, found, near = distances(graph), counts(graph, max_hops=3), around(graph, max_hops=3, S=2)
    for n in range(graph.nodes):
        for z in range(1, 4):
            there = np.flatnonzero(distance_NN[n] == z)
            assert near.size_NZ[n, z - 1] == len(there)
            assert found[n, z - 1].tolist() == np.bincount(graph.label_N[there], minlength=3).tolist()
            drawn = [k for k in near.sampled_NZS[n, z - 1] if k >= 0]
            assert len(set(drawn)) == len(drawn) == min(2, len(there)) and set(drawn) <= set(there)


def test_what_was_searched_is_read_again_and_a_damaged_file_is_searched_again(monkeypatch, tmp_path):
    from lemmata.lab import around as module

    graph, searched = random_graph(), []

    def spy(*args, **others):
        searched.append(1)
        return groups(*args, **others)

    monkeypatch.setattr(module, "groups", spy)
    first = around(graph, max_hops=3, S=2)
    again = around(graph, max_hops=3, S=2)
    assert len(searched) == 1 and np.array_equal(first.sampled_NZS, again.sampled_NZS)
    around(graph, max_hops=3, S=3)
    assert len(searched) == 2
    for file in (tmp_path / "cache").rglob("*.npz"):
        file.write_bytes(file.read_bytes()[:-50])
    mended = around(graph, max_hops=3, S=2)
    assert len(searched) == 3 and np.array_equal(first.sampled_NZS, mended.sampled_NZS)


# The network

KINDS = [
    {},
    {"attention": "plain"},
    {"attention": "uniform"},
    {"own": False},
    {"first": 2, "last": 2},
    {"only": "1,3"},
    {"last": 0},
    {"sampling": "ball"},
]


def config_of(**changes):
    graph = graphs.keep(random_graph())
    return HopTransformer(graph=graph, last=3, S=2, steps=3, B=16, D=6, labelled=0.5, scaling="columns").replace(
        changes
    )


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_outputs_and_attention_are_those_of_the_formula(changes):
    config = config_of(**changes)
    net = config.train([3, 4])
    feature = torch.from_numpy(np.asarray(random_graph().feature_NC, np.float64))
    feature = (feature - feature.mean(0)) / feature.sub(feature.mean(0)).square().mean(0).sqrt() * config.scale
    for e, seed in enumerate((3, 4)):
        params = {name: p[e].double() for name, p in net.params.items()}
        if "bias" in params:
            params["bias"] = params["bias"] + torch.arange(len(params["bias"]))
        node, key, hop = seen_by(config, seed, np.arange(40))
        one = {name: p[None] for name, p in params.items()}
        found, attn = forward(one, hidden(one, feature), node, key, hop)
        for n in range(40):
            keys = [(k, z) for k, z in zip(key[0, n].tolist(), hop[0, n].tolist(), strict=True) if k >= 0]
            own = config.own or not config.hops
            expected, weights = textbook_hops.output(params, feature, n, keys, own=own)
            assert torch.allclose(found[0, n], expected, atol=1e-6)
            assert torch.allclose(attn[0, n][key[0, n] >= 0], weights, atol=1e-6)


def test_splits_are_nested_disjoint_and_the_seeds_own():
    config = config_of()
    parts = {share: split(config.graph, share, 3) for share in (0.2, 0.6)}
    for part in parts.values():
        nodes = np.concatenate(part)
        assert len(set(nodes.tolist())) == len(nodes) == 90
    assert set(parts[0.2].train) < set(parts[0.6].train)
    assert set(split(config.graph, 0.6, 4).test) != set(parts[0.6].test)


def test_measures_are_of_the_best_step_and_of_distances_that_are_there():
    from lemmata.lab.grid import Cell, measure

    config = config_of(steps=40, lr=0.05)
    (alone,), _ = measure([Cell(config, 3, (HopAccuracy(every=5), HopAttention()))])
    both, _ = measure([Cell(config, s, (HopAccuracy(every=5), HopAttention())) for s in (3, 5)])
    values = {(row.metric, row.x): row.value for row in alone.rows}
    assert {m for m, _ in values} == {"accuracy", "validation", "best_step", "learned", "bias", "mass"}
    assert sum(v for (m, _), v in values.items() if m == "bias") == pytest.approx(0, abs=1e-5)
    assert sum(v for (m, _), v in values.items() if m == "mass") == pytest.approx(1, abs=1e-5)
    assert [r.value for r in both[0].rows] == pytest.approx([r.value for r in alone.rows], abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"first": 3, "last": 2}, "first up to last"),
        ({"last": 0, "own": False}, "distances, or the node itself"),
        ({"only": "1,9"}, "distances with commas"),
        ({"only": "1,2", "sampling": "ball"}, "only with sampling distance"),
    ],
)
def test_distances_that_cannot_be_are_refused(changes, said):
    with pytest.raises(ConstantError, match=said):
        config_of(**changes)


# Graphs


def test_repairs_are_told():
    found = graphs.graph_of([[0, 0, 1, 1, 0], [0, 1, 0, 2, 1]], np.eye(4), [0, 1, 0, -1], name="x")
    assert found.edges == 2 and len(found.repairs) == 4
    assert "self-loop" in found.repairs[0] and "repeated" in found.repairs[1] and "no edge" in found.repairs[3]


EDGES, X, Y = [[0, 1], [1, 2]], np.eye(3), [0, 1, 0]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (([[0], [3]], X, Y), "edges between nodes 0 to 2"),
        (([[0], [-1]], X, Y), "edges between nodes"),
        (([[0.5], [1]], X, Y), "edges (2, M)"),
        ((np.zeros((2, 0), int), X, Y), "at least one edge"),
        (([[1], [1]], X, Y), "at least one edge between two nodes"),
        ((EDGES, np.full((3, 2), np.nan), Y), "finite features"),
        ((EDGES, X, [0, 1]), "labels (3,)"),
        ((EDGES, X, [0, 2, 0]), "a labelled node of every class"),
        ((EDGES, X, [0, 0, 0]), "two classes or more"),
        ((EDGES, X, [-2, 0, 1]), "labels from 0 on"),
        ((EDGES, X[:0], Y), "features (N, C)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_graphs_that_cannot_be_are_refused(parts, said):
    with pytest.raises(InputError) as error:
        graphs.graph_of(*parts, name="x")
    assert said in error.value.expected and error.value.fix


LACKING = missing(["extra:torch_geometric", "data:planetoid", "data:actor", "data:cifar10"])


@pytest.mark.skipif(bool(LACKING), reason="; ".join(LACKING))
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "classes"),
    [("Cora", 2708, 5278, 7), ("PubMed", 19717, 44324, 3), ("Actor", 7600, 26659, 5), ("superpixels", None, None, 10)],
)
def test_named_graphs_are_read(name, nodes, edges, classes):
    graph = open_graph(name)
    assert graph.classes == classes
    if nodes:
        assert (graph.nodes, graph.edges) == (nodes, edges)
    else:
        assert graph.nodes > 500 and np.isfinite(distances(graph)).all()


@pytest.mark.parametrize("name", ["PubMed", "Actor", "PascalVOC-SP"])
def test_missing_files_are_not_looked_for_on_the_network(name, tmp_path, monkeypatch):
    pytest.importorskip("torch_geometric")
    import socket

    from lemmata.lab.errors import DataError
    from lemmata.lab.graph_sets import FOLDERS

    def connect(*args):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path))
    (tmp_path / FOLDERS[name] / "raw").mkdir(parents=True)
    with pytest.raises(DataError, match="the raw files of") as error:
        open_graph(name)
    assert "FileNotFoundError" in error.value.got
