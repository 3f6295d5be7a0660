"""The usual script trains the same network as Lemmata, and the benchmark tells the truth about both."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lemmata.bench import OPERATIONS, _measured, run, team, usual_script, worker
from lemmata.bench.team import Team, Turn
from lemmata.icl.network import forward
from lemmata.lab.ensemble import fit
from lemmata.lab.errors import EngineError, InputError

KEYS = {"rate", "naive_rate", "ratio", "ratio_lo", "ratio_hi", "share_of_peak", "sgemm_gflops", "rss_mb"}
V = usual_script.D_X
D, H = V + 1, V + usual_script.D_Y


@pytest.fixture
def basis():
    """What the coordinates of Lemmata's columns are in the usual script's: rotated patterns, and q among the labels."""
    torch.manual_seed(0)
    basis_DH = torch.zeros(D, H)
    basis_DH[:V, :V] = torch.linalg.qr(torch.randn(V, V)).Q
    basis_DH[V, V:] = F.normalize(torch.randn(H - V), dim=0)
    return basis_DH


def as_module(params, basis_DH):
    """The usual script's network with the weights of the first member; W_Q and W_K have rows beyond D, which are 0."""
    network = usual_script.Network()
    with torch.no_grad():
        for name in ("W_Q", "W_K", "W_V"):
            getattr(network, name).copy_(F.pad(params[name][0] @ basis_DH, (0, 0, 0, H - params[name].shape[1])))
        network.W_O.copy_(params["W_O"][0])
    return network


def multiplied_out(prompts, basis_DH):
    return (prompts.columns(V) @ basis_DH)[0]


def test_the_usual_network_computes_the_same(basis):
    job = worker.WORKLOAD.job([worker.WORKLOAD], [0], "cpu")
    params, prompts = job.params(), job.draws(0)
    for name in ("W_Q", "W_K", "W_V", "W_O"):
        params[name] = params[name] + 0.3 * torch.randn_like(params[name])
    expected_B = forward(params, prompts)[0]
    output_B = as_module(params, basis)(multiplied_out(prompts, basis))
    torch.testing.assert_close(output_B, expected_B, rtol=1e-5, atol=1e-5)
    assert expected_B.std() > 0.3
    assert torch.equal(as_module(params, basis).a, params["a"][0])


def test_the_usual_steps_train_the_same(basis):
    config = replace(worker.WORKLOAD, steps=20, lr=2.0)
    job = config.job([config], [0], "cpu")
    network = as_module(job.params(), basis)
    optimizer = torch.optim.SGD(network.parameters(), lr=config.lr)
    for step in range(config.steps):
        prompts = job.draws(step)
        loss = torch.relu(1 - prompts.target_EB[0] * network(multiplied_out(prompts, basis))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained = fit([config], [0]).params
    expected = as_module(trained, basis)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, getattr(expected, name), rtol=1e-5, atol=1e-5)
    assert (trained["W_V"] - job.params()["W_V"]).abs().max() > 0.01


def test_the_usual_script_learns():
    losses = usual_script.training(seed=0)
    first, *_, last = (next(losses).item() for _ in range(150))
    assert first == pytest.approx(1, abs=0.01)
    assert last < 0.05


def test_the_usual_prompts_are_those_of_the_paper():
    torch.manual_seed(0)
    prompts, labels = usual_script.draw_prompts(4000)
    x, y = prompts[..., :V], prompts[..., V:]
    assert prompts.shape == (4000, usual_script.LENGTH + 1, H)
    assert not y[:, -1].any()
    # An example carries the query's pattern where their inner product is large; then it has the query's label.
    product = (x[:, :-1] @ x[:, -1:].transpose(1, 2)).squeeze(-1) / usual_script.BETA**2
    same = product > 0.5
    assert same.float().mean() == pytest.approx(usual_script.ALPHA / 2, abs=0.01)
    q = (labels[:, None, None] * y[:, :-1])[same].mean(0)
    assert q.norm() == pytest.approx(1, abs=1e-5)
    assert (y[:, :-1] @ q).abs().min() == pytest.approx(1, abs=1e-5)
    assert (y[:, :-1] @ q).mean() == pytest.approx(0, abs=0.05)
    assert labels.mean() == pytest.approx(0, abs=0.05)


def test_a_run_measures_both_sides():
    seen = []

    def progress(done, total, seconds_left, note=""):
        seen.append((done, total, seconds_left))

    found = run(2, steps=4, workers=1, progress=progress)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["workloads"].keys() == {"one-layer"}
    measured = found["workloads"]["one-layer"]
    assert measured.keys() == KEYS
    assert 0 < measured["ratio_lo"] <= measured["ratio"] <= measured["ratio_hi"]
    assert measured["share_of_peak"] == pytest.approx(measured["rate"] * OPERATIONS / measured["sgemm_gflops"] / 1e9)
    assert 50 < measured["rss_mb"] < 600
    assert found["machine"].keys() == {"cpu", "workers", "torch"}
    assert [(done, total) for done, total, _ in seen] == [(1, 2), (2, 2)]
    assert seen[0][2] > seen[1][2] == 0


def test_the_ratio_is_taken_within_each_round():
    ours = [Turn(rate, 100.0 + rate) for rate in (10.0, 40.0, 30.0)]
    usual = [Turn(rate, 0.0) for rate in (1.0, 5.0, 2.0)]
    sgemm = [Turn(rate, 0.0) for rate in (1.0, 2.0, 3.0)]
    assert _measured(ours, usual, sgemm) == {
        "rate": 30,
        "naive_rate": 2,
        "ratio": 10,
        "ratio_lo": 8,
        "ratio_hi": 15,
        "share_of_peak": pytest.approx(30 * 20.2e6 / 2e9),
        "sgemm_gflops": 2,
        "rss_mb": 140,
    }


def test_the_workers_share_the_members(monkeypatch):
    trained = []
    monkeypatch.setattr(
        worker.OneLayer, "train", lambda self, seeds, compile: trained.append((self.steps, list(seeds)))
    )
    works = [worker.one_layer(i, 3, 7, compile=False) for i in range(3)]
    assert [work() for _ in range(3) for work in works] == [worker.OneLayer.together * 7] * 9
    warm_up, turns = trained[:3], trained[3:]
    assert {steps for steps, _ in warm_up} == {worker.WARM_UP}
    assert {steps for steps, _ in turns} == {7}
    seeds = [seed for _, chunk in trained for seed in chunk]
    assert seeds[: worker.MEMBERS] == list(range(worker.MEMBERS))
    assert len(seeds) > worker.MEMBERS


@pytest.mark.parametrize("asked", [{"rounds": 0}, {"steps": 0}, {"workers": 0}])
def test_less_than_one_of_anything_is_refused(asked):
    with pytest.raises(InputError, match=f"a number of {next(iter(asked))} of at least 1"):
        run(**asked)


def test_a_worker_that_dies_is_an_error_and_leaves_no_other_behind(monkeypatch):
    script = "import sys; print('{}', flush=True); sys.argv[-1] == '0' and sys.exit(3); sys.stdin.read()"
    monkeypatch.setattr(team, "WORKER", [sys.executable, "-c", script])
    with Team("usual", 2, 1) as workers:
        workers.wait_until_ready()
        processes = workers._processes
        processes[0].wait()
        with pytest.raises(EngineError, match="ended with status 3"):
            workers.turn()
        assert processes[1].poll() is None
    assert processes[1].returncode is not None


def test_the_script_runs_on_its_own():
    command = [sys.executable, "-m", "lemmata.bench.usual_script", "--models", "2", "--steps", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "after 3 steps, mean over 2 models" in done.stdout
    assert done.stderr == ""
