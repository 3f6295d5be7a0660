"""The engine for a Ray cluster, on three nodes of one CPU each that all run on this machine."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toy
from command_line import Shell
from ray_nodes import HEAD, NODE

from lemmata.lab import ray_engine
from lemmata.lab.chunks import Chunk
from lemmata.lab.errors import DeviceError, EngineError, InputError, StoreError
from lemmata.lab.grid import Cell
from lemmata.lab.ray_engine import Ray
from lemmata.lab.store import Store
from lemmata.lab.sweep import plan, sweep
from lemmata.lab.work import WorkersKilled, orders, train_away

ray: Any = pytest.importorskip("ray", reason='needs Ray: pip install "lemmata[ray]"', exc_type=ImportError)

# One process of the suite has the cluster.
pytestmark = pytest.mark.xdist_group("ray")

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Three nodes. What they call `store` in their working folder is not what this process calls so."""
    from ray.cluster_utils import Cluster

    elsewhere = tmp_path_factory.mktemp("nodes")
    (elsewhere / "store").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS / "plugins")]))
        started = Cluster(initialize_head=True, head_node_args=HEAD)
        for _ in range(2):
            started.add_node(**NODE)
        started.wait_for_nodes()
        yield started
        started.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def numbers(store: Store, cells: list[Cell]) -> pd.DataFrame:
    """Everything but the time it took."""
    return store.read(cells).drop(columns="seconds")


def same_as_trained_here(store: Store, cells: list[Cell], tmp_path: Path) -> None:
    here = Store(tmp_path / "here")
    sweep(cells, here, workers=1)
    pd.testing.assert_frame_equal(numbers(store, cells), numbers(here, cells), check_exact=True)


def shards(store: Store) -> int:
    return len(list(store.path.rglob("*.parquet")))


def test_a_cluster_gives_the_rows_of_the_local_run_cell_by_cell(cluster: Any, store: Store, tmp_path: Path) -> None:
    cells = toy.cells(24)
    planned = plan(cells, store, engine="ray", address=cluster.address)
    assert (planned.engine, planned.workers) == ("ray", 3) and planned.chunks >= 6
    report = sweep(cells, store, engine="ray", address=cluster.address)
    assert report.trained == {cell.id for cell in cells}
    same_as_trained_here(store, cells, tmp_path)
    assert [run["threads"] for run in store.provenance(toy.Toy())] == [1] * planned.chunks
    assert not ray.is_initialized() and not list(store.path.glob(".*"))


def test_a_node_that_is_killed_costs_only_the_chunk_in_flight(cluster: Any, store: Store, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.mkdir()
    cells = toy.cells(48, steps=2000, measures=[toy.Weights(), toy.Diary(folder=str(diary))])
    chunks = toy.chunks(cells, 3)
    removed: list[Any] = []

    def remove_a_busy_node_once(done: int, total: int, left: float | None, note: str = "") -> None:
        # No chunk begins while this looks: where none is in flight any more, it is looked at the next time.
        if done and not removed:
            begun, stored = {path.read_text(): path for path in diary.iterdir()}, store.holds(cells)
            training = [path.name for text, path in begun.items() if not stored & ids_of(text, cells)]
            raylets = {f"{pid_of_raylet(node)}-": node for node in cluster.worker_nodes}
            for node in [raylets[pid] for pid in raylets if any(name.startswith(pid) for name in training)][:1]:
                cluster.remove_node(node, allow_graceful=False)
                removed.append(node)

    try:
        report = sweep(cells, store, engine="ray", address=cluster.address, workers=3, progress=remove_a_busy_node_once)
    finally:
        cluster.add_node(**NODE)
        cluster.wait_for_nodes()
    assert report.trained == {cell.id for cell in cells}
    begun = Counter(path.read_text() for path in diary.iterdir())
    assert len(begun) == len(chunks) == shards(store)
    # The chunk may have been stored at the very moment that its node was killed.
    assert removed and sum(begun.values()) - len(chunks) <= 1, "a node of one CPU has one chunk in flight"
    same_as_trained_here(store, cells, tmp_path)


def ids_of(text: str, cells: list[Cell]) -> set[str]:
    """The cells of an entry in the diary."""
    members = set(text.split())
    return {cell.id for cell in cells if f"{dataclasses.asdict(cell.config)['slope']}/{cell.seed}" in members}


def pid_of_raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


@contextmanager
def a_driver(store: Store, address: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, in a group of its own, that sweeps 48 cells and has stored some of them."""
    call = f"import toy; toy.main({str(store.path)!r}, 0, 48, 400, 3, {address!r})"
    with subprocess.Popen(
        [sys.executable, "-c", call],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=TESTS,
        start_new_session=True,
    ) as driver:
        assert driver.stdin and driver.stdout and driver.stdout.readline() == "ready\n"
        driver.stdin.write("\n")
        driver.stdin.flush()
        while driver.stdout.readline().startswith("0 "):
            pass
        try:
            yield driver
        finally:
            driver.kill()


def test_a_driver_that_is_killed_and_started_again_continues(cluster: Any, store: Store, tmp_path: Path) -> None:
    cells = toy.cells(48, steps=400)
    with a_driver(store, cluster.address) as driver:
        driver.kill()
    settle(store)
    stored = store.holds(cells)
    assert 0 < len(stored) < 48
    report = sweep(cells, store, engine="ray", address=cluster.address)
    assert report.trained == {cell.id for cell in cells} - stored
    same_as_trained_here(store, cells, tmp_path)


def test_ctrl_c_in_a_terminal_stops_the_ray_that_was_started_here_in_good_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with a_driver(store, "local") as driver:
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        assert driver.wait(timeout=30) == -signal.SIGINT
        deadline = time.monotonic() + 20
        while group_lives(driver.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not group_lives(driver.pid)
    assert store.ids() and not list(store.path.glob(".*"))


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def settle(store: Store) -> None:
    """Until the cluster has ended the tasks of a driver that is gone, or they themselves."""
    before = -1
    while before != (now := shards(store)):
        before = now
        time.sleep(1.5)


@pytest.mark.skipif(not os.path.exists("/proc/self/cwd"), reason="needs a path that each process reads its own way")
def test_where_workers_see_another_folder_the_shards_come_back(
    cluster: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = toy.cells(12)
    monkeypatch.chdir(tmp_path)
    seen = Store("/proc/self/cwd/store")
    report = sweep(cells, seen, engine="ray", address=cluster.address, workers=3)
    assert report.trained == store.holds(cells) == {cell.id for cell in cells}
    there = where_workers_are(cluster) / "store"
    assert there.is_dir() and there != store.path and not list(there.rglob("*"))
    same_as_trained_here(store, cells, tmp_path)


def where_workers_are(cluster: Any) -> Path:
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        return ray.get(ray.remote(lambda: Path.cwd()).remote())
    finally:
        ray.shutdown()


def test_a_connection_of_ones_own_is_used_and_left_open(cluster: Any, store: Store) -> None:
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        assert len(sweep(toy.cells(4), store, engine="ray", workers=2).trained) == 4
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_to_close_the_engine_is_to_stop_what_is_in_flight(cluster: Any, store: Store, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.mkdir()
    cells = toy.cells(48, steps=400, measures=[toy.Weights(), toy.Diary(folder=str(diary))])
    chunks = toy.chunks(cells, 3)
    with store.reserve(cells):
        done = Ray(cluster.address)(chunks, store.path, workers=3)
        assert next(done) in chunks
        done.close()
        settle(store)
    assert 0 < shards(store) <= len(list(diary.iterdir())) < len(chunks)


def test_a_worker_that_always_dies_is_said_after_the_others_are_stored(
    cluster: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = tmp_path / "fuse"
    fuse.touch()
    monkeypatch.setattr(ray_engine, "RETRIES", 1)
    good, bad = (
        Chunk(tuple(toy.cells(4, measures=[m]))) for m in (toy.Weights(), toy.Bomb(fuse=str(fuse), lasting=True))
    )
    finished = []
    with pytest.raises(WorkersKilled) as caught:
        finished += Ray(cluster.address)([bad, good], store.path, workers=1)
    assert "ray status" in caught.value.fix and store.ids() == {cell.id for cell in good.cells}


def test_what_fails_in_a_worker_fails_here(cluster: Any, store: Store, tmp_path: Path) -> None:
    cells = toy.cells(4, measures=[toy.Diary(folder=str(tmp_path / "none"))])
    with pytest.raises(FileNotFoundError):
        sweep(cells, store, engine="ray", address=cluster.address, workers=2)


def test_a_node_that_lacks_the_package_of_a_claim_is_said(
    cluster: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "only_here.py").write_text((TESTS / "toy.py").read_text())
    cells = import_module("only_here").cells(4)
    with pytest.raises(EngineError, match="No module named 'only_here'\nfix      install Lemmata, and the package"):
        sweep(cells, store, engine="ray", address=cluster.address, workers=2)


def test_a_gpu_is_asked_of_the_cluster_and_not_of_this_machine(cluster: Any, store: Store) -> None:
    with pytest.raises(DeviceError, match="got      0 GPUs"):
        sweep(toy.cells(1), store, engine="ray", address=cluster.address, device="cuda")
    with pytest.raises(DeviceError, match="leave the number out"):
        plan(toy.cells(1), store, engine="ray", address=cluster.address, device="cuda:1")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no.such.host.invalid:6379", "ray://127.0.0.1:10001", "nonsense"])
def test_an_address_that_does_not_answer_is_said(store: Store, address: str) -> None:
    with pytest.raises(EngineError, match=f"a Ray cluster that answers\ngot      {address}: "):
        plan(toy.cells(1), store, engine="ray", address=address)


def test_the_command_line_trains_on_a_cluster(cluster: Any, shell: Shell) -> None:
    floor = ["check", "quadratic.floor", "--quick", "--json"]
    there = ["--engine", "ray", "--address", cluster.address, "--store", "there"]
    assert shell.run("plan", *floor[1:], *there).json["workers"] == 3
    verdicts = [shell.run(*floor, *where).json["verdicts"] for where in (there, ["--workers", 1])]
    for one, other in zip(*verdicts, strict=True):
        assert one["cells_trained"] == 15 and one | {"seconds": 0} == other | {"seconds": 0}


# The unit of work, without a cluster


def test_code_of_another_version_is_refused(store: Store) -> None:
    with orders(store.path, device="cpu") as order:
        mine = order(Chunk(tuple(toy.cells(2))))
    with pytest.raises(EngineError, match="install the same Lemmata"):
        train_away(dataclasses.replace(mine, versions=("lemmata 9.9.9", *mine.versions[1:])))


def test_a_shard_comes_back_where_the_store_is_seen_but_cannot_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.path.mkdir()

    def refuse(*_: object) -> None:
        raise StoreError("a store that can be written", "read-only", "another")

    with orders(store.path, device="cpu") as order:
        mine = order(Chunk(tuple(toy.cells(2))))
        with monkeypatch.context() as patch:
            patch.setattr(Store, "put", refuse)
            data = train_away(mine)
        assert data and not shards(store)
        store.put(data)
        assert train_away(mine) is None
    assert store.ids() == {cell.id for cell in mine.chunk.cells} and not list(store.path.glob(".*"))


def test_a_missing_package_is_named_with_its_extra(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'pip install "lemmata\[ray\]"'):
        plan(toy.cells(1), store, engine="ray")
