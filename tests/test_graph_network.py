"""The graph network against its textbook form, its draws, and what a member may depend on."""

import numpy as np
import pytest
import textbook_graph
import torch

from lemmata.graph.data import measured_margins, planted, structure, winning_margin
from lemmata.graph.network import NETWORKS, Nodes, OneLayer, attention, forward
from lemmata.graph.probes import held_out, mass, outputs
from lemmata.lab.ensemble import fit
from lemmata.lab.errors import ConstantError
from lemmata.lab.losses import hinges

SMALL = OneLayer(
    N=60, tested=20, labelled=12, M=5, Z=3, S=4, B=4, m=6, steps=6, first=2, lr=0.5, mult=3.0, mult_b=4.0, xi=0.4
)
networks = pytest.mark.parametrize("network", NETWORKS)
own = pytest.mark.parametrize("own", [False, True])


def in_float64(nodes):
    return Nodes(nodes.pattern_EB, nodes.count_EBZM.double(), nodes.label_EB.double())


def doubled(params):
    return {name: p.double() for name, p in params.items()}


@networks
@own
def test_outputs_are_the_textbooks(network, own):
    net = SMALL.replace({"network": network, "own": own}).train([3, 8])
    nodes = in_float64(held_out(net))
    output_EB = forward(doubled(net.params), nodes)
    for e in range(2):
        weights = {name: p[e].double() for name, p in net.params.items()}
        for b, (x, keys, _) in enumerate(textbook_graph.written_out(nodes, e)):
            expected = float(textbook_graph.output(weights, x, keys))
            assert float(output_EB[e, b]) == pytest.approx(expected, abs=1e-12)


@networks
@own
def test_training_is_the_textbooks(network, own):
    """In float64 and from draws of the job itself, over both phases."""
    config = SMALL.replace({"network": network, "own": own})
    job = OneLayer.job([config, config], [3, 8], "cpu")
    batches = [in_float64(job.draws(step)) for step in range(config.steps)]
    params = doubled(job.params())
    start = {name: p.clone() for name, p in params.items()}
    rates = [phase.rates for phase in config.phases() for _ in range(phase.steps)]
    for batch, rate in zip(batches, rates, strict=True):
        leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
        grads = torch.autograd.grad(hinges(OneLayer.gap(leaves, batch)).sum(), list(leaves.values()))
        moved = zip(leaves.items(), grads, strict=True)
        params = {n: (p - config.lr * rate.get(n, 1.0) * g).detach() for (n, p), g in moved}
    for e in range(2):
        written = [textbook_graph.written_out(batch, e) for batch in batches]
        expected = textbook_graph.trained({n: p[e] for n, p in start.items()}, config, written)
        for name, p in expected.items():
            assert torch.allclose(params[name][e], p, atol=1e-12), name
        moved = {name for name, p in expected.items() if not torch.equal(p, start[name][e])}
        assert moved == set(textbook_graph.TRAINED[network])


@networks
def test_the_ensemble_trains_like_the_formula(network):
    """The engine itself, in float32."""
    config = SMALL.replace({"network": network})
    net = config.train([3])
    job = OneLayer.job([config], [3], "cpu")
    written = [textbook_graph.written_out(in_float64(job.draws(step)), 0) for step in range(config.steps)]
    expected = textbook_graph.trained({n: p[0].double() for n, p in job.params().items()}, config, written)
    for name, p in expected.items():
        assert torch.allclose(net.params[name][0].double(), p, atol=1e-5), name


def test_attention_mass_is_the_textbooks():
    net = SMALL.replace({"gamma_d": 0.8}).train([3])
    nodes = in_float64(held_out(net))
    weights = {name: p[0].double() for name, p in net.params.items()}
    found = {"right": 0.0, "wrong": 0.0, "core": 0.0}
    written = textbook_graph.written_out(nodes, 0)
    for x, keys, label in written:
        for share, (z, key) in zip(textbook_graph.attention(weights, x, keys).tolist(), keys, strict=True):
            if z + 1 == net.configs[0].core:
                own, k = int(label < 0), int(key.argmax())
                found["core"] += share
                found["right"] += share * (k == own)
                found["wrong"] += share * (k == 1 - own)
    for name, value in mass(net, held_out(net)).items():
        assert float(value) == pytest.approx(found[name] / len(written), abs=1e-6)


def test_members_do_not_depend_on_their_company():
    a, b = SMALL, SMALL.replace({"gamma_d": 0.9, "labelled": 30, "core": 1})
    alone = [config.train([seed]).params for config, seed in ((a, 0), (b, 5))]
    together = fit([a, b], [0, 5]).params
    for e in range(2):
        for name, p in alone[e].items():
            assert torch.equal(p[0], together[name][e]), name


def test_networks_under_one_seed_have_the_same_nodes_and_other_weights():
    encoded, uniform = (SMALL.replace({"network": network}) for network in ("encoded", "uniform"))
    for one, other in zip(encoded.training_nodes(4), uniform.training_nodes(4), strict=True):
        assert torch.equal(one, other)
    weights = encoded.weights(4), uniform.weights(4)
    assert torch.equal(weights[0]["W_O"], weights[1]["W_O"]) and torch.equal(weights[0]["W_V"], weights[1]["W_V"])
    assert weights[0]["W_Q"].abs().sum() > 0 and not weights[1]["W_Q"].any()


def test_more_labels_are_the_same_and_some_more_and_never_those_that_are_tested():
    few, many = (SMALL.replace({"labelled": n}) for n in (10, 30))
    for one, other in zip(few.training_nodes(4), many.training_nodes(4), strict=True):
        assert torch.equal(one, other[:, : one.shape[1]]) and other.shape[1] == 30
    order_N = many.graph(4).order_N
    assert len(set(order_N)) == len(order_N) >= 50
    tested = many.held_out(4)
    assert torch.equal(tested.pattern_EB[0], torch.from_numpy(many.graph(4).pattern_N[order_N[-20:]]))


def test_wrong_labels_are_as_many_as_asked_for_and_in_training_only():
    plain = SMALL.replace({"N": 2000, "tested": 500, "labelled": 1400})
    wrong = plain.replace({"flipped": 0.2})
    turned = plain.training_nodes(1).label_EB != wrong.training_nodes(1).label_EB
    assert 0.15 < float(turned.float().mean()) < 0.25
    assert torch.equal(plain.held_out(1).label_EB, wrong.held_out(1).label_EB)


# The generator is what its constants say


@pytest.mark.parametrize("core, margin", [(1, 0.8), (1, 0.5), (2, 0.64), (2, 0.36)])
@pytest.mark.parametrize("gamma_d, eps_S", [(1.0, 0.0), (0.4, 0.2)])
def test_the_margin_is_the_promised_one_and_largest_at_the_core(core, margin, gamma_d, eps_S):
    means = []
    for seed in range(4):
        edges = structure(2000, 8.0, core, margin, 0.5, 3, 4, seed)
        graph = planted(edges, M=10, gamma_d=gamma_d, eps_S=eps_S, violated=0.0, own=False, seed=seed)
        means.append(np.nanmean(measured_margins(edges, graph, Z=3), 0))
    mean_Z = np.mean(means, 0)
    # Four graphs of 2000 nodes: a standard error of about 0.01.
    assert mean_Z[core - 1] == pytest.approx(winning_margin(margin, gamma_d, eps_S), abs=0.035)
    assert mean_Z.argmax() == core - 1
    if core == 2:
        assert mean_Z[0] < 0


def test_shares_of_patterns_labels_and_violations_are_the_asked_ones():
    edges = structure(5000, 5.0, 1, 0.8, 0.7, 2, 4, 0)
    graph = planted(edges, M=10, gamma_d=0.4, eps_S=0.25, violated=0.1, own=False, seed=0)
    assert (edges.label_N > 0).mean() == 0.7
    assert np.mean(graph.label_N != edges.label_N) == pytest.approx(0.1, abs=0.02)
    discriminative_N = graph.pattern_N < 2
    assert discriminative_N.mean() == pytest.approx(0.4, abs=0.03)
    assert graph.pattern_N.max() == 9 and len(set(graph.pattern_N)) == 10
    confused_N = (graph.pattern_N == 0) != (edges.label_N > 0)
    assert confused_N[discriminative_N].mean() == pytest.approx(0.25, abs=0.04)


def test_margins_count_all_nodes_at_a_distance():
    """Against distances from scipy and a loop over nodes."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import shortest_path

    edges = structure(80, 3.0, 2, 0.64, 0.5, 3, 2, 1)
    graph = planted(edges, M=6, gamma_d=0.5, eps_S=0.1, violated=0.1, own=False, seed=1)
    adjacency = csr_matrix((np.ones(len(edges.indices)), edges.indices, edges.indptr), shape=(80, 80))
    distance_NN = shortest_path(adjacency, unweighted=True)
    found_NZ = measured_margins(edges, graph, Z=3)
    for n in range(80):
        for z in range(1, 4):
            at = np.flatnonzero(distance_NN[n] == z)
            own = 0 if graph.label_N[n] > 0 else 1
            votes = (graph.pattern_N[at] == own).sum() - (graph.pattern_N[at] == 1 - own).sum()
            expected = votes / len(at) if len(at) else np.nan
            assert found_NZ[n, z - 1] == pytest.approx(expected, nan_ok=True)


def test_sampled_nodes_are_at_their_distance_and_their_counts_are_theirs():
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import shortest_path

    edges = structure(80, 3.0, 1, 0.8, 0.5, 3, 2, 1)
    adjacency = csr_matrix((np.ones(len(edges.indices)), edges.indices, edges.indptr), shape=(80, 80))
    distance_NN = shortest_path(adjacency, unweighted=True)
    graph = planted(edges, M=6, gamma_d=0.5, eps_S=0.0, violated=0.0, own=True, seed=1)
    for n in range(80):
        for z in range(1, 4):
            nodes = [k for k in edges.node_NZS[n, z - 1] if k >= 0]
            assert len(set(nodes)) == len(nodes) == min(2, int((distance_NN[n] == z).sum()))
            assert all(distance_NN[n, k] == z for k in nodes)
            counts = np.bincount(graph.pattern_N[nodes], minlength=6) if nodes else np.zeros(6)
            assert (graph.count_NZM[n, z] == counts).all()
        assert graph.count_NZM[n, 0].argmax() == graph.pattern_N[n] and graph.count_NZM[n, 0].sum() == 1
    assert set(graph.order_N) == set(np.flatnonzero(np.diff(edges.indptr)))


def test_attention_is_a_distribution_where_a_distance_is_empty():
    net = SMALL.replace({"degree": 1.0, "labelled": 8, "tested": 10}).train([0])
    nodes = held_out(net)
    assert (nodes.count_EBZM.sum(3) == 0).any()
    attn_EBZM = attention(net.params, nodes)
    assert torch.allclose(attn_EBZM.sum((2, 3)), torch.ones(1, 10))
    assert not attn_EBZM[nodes.count_EBZM == 0].any()
    assert torch.isfinite(outputs(net, nodes)).all()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"labelled": 50}, "labelled and tested nodes among about 57 of 60"),
        ({"Z": 1, "core": 2}, "a core distance of at most Z = 1"),
        ({"core": 3}, "in [1, 2]"),
        ({"eps_S": 0.6}, "in [0, 0.5]"),
        ({"gamma_d": 1.5}, "in [0, 1]"),
        ({"margin": float("nan")}, "in [0, 1]"),
        ({"network": "gcn"}, "one of encoded, plain, uniform"),
    ],
)
def test_constants_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ConstantError, match=words.replace("[", r"\[").replace("]", r"\]")):
        SMALL.replace(changes)
