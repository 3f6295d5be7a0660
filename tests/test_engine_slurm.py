"""The engine for Slurm: the batch script that is submitted, the arrays, and runs without a scheduler.

`slurm` is four small programs on the PATH: sbatch keeps the script and runs the tasks of the array one after the
other, with the environment that Slurm gives them. Submitit's local executor stands in for it as well.
"""

from __future__ import annotations

import errno
import re
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toy

from lemmata.lab import slurm_engine
from lemmata.lab.chunks import Chunk
from lemmata.lab.errors import DeviceError, EngineError, InputError, StoreError
from lemmata.lab.grid import Cell
from lemmata.lab.slurm_engine import Slurm
from lemmata.lab.store import Store
from lemmata.lab.sweep import plan, sweep
from lemmata.lab.work import WorkersKilled

submitit: Any = pytest.importorskip(
    "submitit", reason='needs submitit: pip install "lemmata[slurm]"', exc_type=ImportError
)

TESTS = Path(__file__).parent

# Keeps the script; then runs its tasks, or with a file `runs` in the folder only so many of them.
SBATCH = """#!{python}
import re, subprocess, sys
from pathlib import Path

here = Path({folder!r})
script = Path(sys.argv[1]).read_text()
number = 100 * (1 + len(list(here.glob("*.sh"))))
(here / f"{{number}}.sh").write_text(script)
array = re.search(r"--array=0-(\\d+)%", script)
tasks = range(int(array[1]) + 1) if array else [None]
if (here / "runs").exists():
    tasks = tasks[: int((here / "runs").read_text())]
lines = []
for task in tasks:
    slurm = dict(JOB_ID=number + (task or 0), NTASKS=1, JOB_NUM_NODES=1, NODEID=0, PROCID=0, LOCALID=0)
    if task is not None:
        slurm |= dict(ARRAY_JOB_ID=number, ARRAY_TASK_ID=task)
    variables = " ".join(f"SLURM_{{name}}={{value}}" for name, value in slurm.items())
    lines.append(f"{{variables}} bash {{here / str(number)}}.sh")
# In the background: a task waits for what submitit puts into place once it knows the number of the job.
silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
subprocess.Popen("; ".join(["true", *lines]), shell=True, start_new_session=True, **silent)
print(f"Submitted batch job {{number}}")
"""
SRUN = """#!{python}
import os, sys

args, command = sys.argv[1:], []
while args and args[0].startswith("--"):
    option = args.pop(0)
    if option in ("--output", "--error"):
        args.pop(0)
os.execvp(args[0], args)
"""
SACCT = """#!{python}
from pathlib import Path

here = Path({folder!r})
state = (here / "state").read_text() if (here / "state").exists() else "RUNNING"
print("JobID|State|NodeList")
for script in here.glob("*.sh"):
    for job in [script.stem, *(f"{{script.stem}}_{{i}}" for i in range(20))]:
        print(f"{{job}}|{{state}}|node")
"""
SCANCEL = """#!{python}
import sys
from pathlib import Path

with Path({folder!r}, "cancelled").open("a") as file:
    print(*sys.argv[1:], file=file)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the scripts arrive."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT), ("scancel", SCANCEL)):
        program = folder / name
        program.write_text(text.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setattr(slurm_engine, "POLL", 0.1)
    yield folder
    submitit.SlurmJob.watcher.clear()


def numbers(store: Store, cells: list[Cell]) -> pd.DataFrame:
    """Everything but the time it took."""
    return store.read(cells).drop(columns="seconds")


def same_as_trained_here(store: Store, cells: list[Cell], tmp_path: Path) -> None:
    here = Store(tmp_path / "here")
    sweep(cells, here, workers=1)
    pd.testing.assert_frame_equal(numbers(store, cells), numbers(here, cells), check_exact=True)


def flags(script: str) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))


def folders_of_jobs(store: Store) -> list[Path]:
    return list(store.path.parent.glob("store-slurm-*"))


def test_an_array_trains_what_the_local_run_trains(slurm: Path, store: Store, tmp_path: Path) -> None:
    cells = toy.cells(12)
    chunks = toy.chunks(cells, 2)
    settings = {"partition": "short", "account": "theory", "cpus": "2", "minutes": "20", "gb": "3"}
    report = sweep(cells, store, engine="slurm", workers=2, slurm=settings)
    assert report.trained == {cell.id for cell in cells} and len(chunks) >= 4
    same_as_trained_here(store, cells, tmp_path)
    assert [run["threads"] for run in store.provenance(toy.Toy())] == [1] * len(chunks)
    asked = flags((slurm / "100.sh").read_text())
    assert asked["array"] == f"0-{len(chunks) - 1}%2"
    assert (asked["partition"], asked["account"], asked["job-name"]) == ("short", "theory", "lemmata")
    assert (asked["cpus-per-task"], asked["time"], asked["mem"]) == ("2", "20", "3GB")
    assert "gpus-per-node" not in asked
    # What submitit pickles never lies in the store, and goes with the run.
    assert not folders_of_jobs(store) and not list(store.path.rglob("*.pkl")) and not list(store.path.glob(".*"))


def test_chunks_fill_arrays_of_a_size_that_slurm_takes_and_lost_jobs_are_said_at_the_end(
    slurm: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm / "runs").write_text("0")
    (slurm / "state").write_text("TIMEOUT")
    monkeypatch.setattr(slurm_engine, "ARRAY", 3)
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    chunks = [Chunk((cell,)) for cell in toy.cells(7)]
    with store.reserve(toy.cells(7)), pytest.raises(WorkersKilled) as caught:
        list(Slurm()(chunks, store.path, workers=2, device="cuda"))
    scripts = [(slurm / f"{number}.sh").read_text() for number in (100, 200, 300)]
    assert [flags(script).get("array") for script in scripts] == ["0-2%2", "0-2%2", None]
    assert {flags(script)["gpus-per-node"] for script in scripts} == {"1"}
    assert {flags(script)["cpus-per-task"] for script in scripts} == {"1"}
    assert "7 jobs without a result" in str(caught.value)
    (logs,) = folders_of_jobs(store)
    assert str(logs) in caught.value.fix and logs.stat().st_mode & 0o077 == 0
    assert not list(store.path.glob(".*"))


def test_jobs_that_leave_no_result_are_waited_for_together(
    slurm: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm / "runs").write_text("0")
    (slurm / "state").write_text("TIMEOUT")
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 2)
    chunks = [Chunk((cell,)) for cell in toy.cells(7)]
    began = time.monotonic()
    with store.reserve(toy.cells(7)), pytest.raises(WorkersKilled, match="7 jobs without a result"):
        list(Slurm()(chunks, store.path, workers=2, device="cpu"))
    assert time.monotonic() - began < 7, "each was waited for"


def test_no_room_for_the_jobs_files_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(submitit.AutoExecutor, "map_array", full)
    with pytest.raises(StoreError, match=r"room beside the store(.|\n)*No space left on device\nfix      make room"):
        sweep(toy.cells(2), store, engine=Slurm(cluster="local"), workers=1)
    assert not folders_of_jobs(store)


def test_jobs_that_never_leave_a_result_end_the_sweep(
    slurm: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm / "runs").write_text("0")
    (slurm / "state").write_text("OUT_OF_MEMORY")
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    with pytest.raises(EngineError, match=r"3 times in a row(.|\n)*--slurm minutes=N and gb=N"):
        sweep(toy.cells(4), store, engine="slurm", workers=2)
    assert len(list(slurm.glob("*.sh"))) == 3 and store.ids() == set()


def test_to_close_the_engine_is_to_cancel_the_jobs_in_flight(slurm: Path, store: Store) -> None:
    (slurm / "runs").write_text("1")
    cells = toy.cells(8)
    chunks = toy.chunks(cells, 2)
    with store.reserve(cells):
        done = Slurm()(chunks, store.path, workers=2, device="cpu")
        assert next(done) == chunks[0]
        done.close()
    cancelled = (slurm / "cancelled").read_text().split()
    assert cancelled == [f"100_{i}" for i in range(1, len(chunks))]
    assert store.ids() == {cell.id for cell in chunks[0].cells} and not folders_of_jobs(store)


@pytest.mark.parametrize("seen", [True, False], ids=["shared", "apart"])
def test_submitits_local_executor_trains_what_the_local_run_trains(
    seen: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setattr(slurm_engine, "POLL", 0.1)
    if not seen:  # no mark for the workers to see

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError

        monkeypatch.setattr(Path, "touch", refuse)
    cells = toy.cells(4)
    report = sweep(cells, store, engine=Slurm(cluster="local"), workers=2)
    assert report.trained == {cell.id for cell in cells}
    same_as_trained_here(store, cells, tmp_path)
    assert not folders_of_jobs(store)


def test_what_fails_in_a_job_fails_here(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    cells = toy.cells(2, measures=[toy.Diary(folder=str(tmp_path / "none"))])
    with pytest.raises(FileNotFoundError):
        sweep(cells, store, engine=Slurm(cluster="local"), workers=1)
    assert not folders_of_jobs(store)


def test_a_node_that_lacks_the_package_of_a_claim_is_said(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "only_here.py").write_text((TESTS / "toy.py").read_text())
    cells = import_module("only_here").cells(2)
    with pytest.raises(EngineError, match="No module named 'only_here'\nfix      install Lemmata, and the package"):
        sweep(cells, store, engine=Slurm(cluster="local"), workers=1)


def test_an_array_that_slurm_refuses_is_said(slurm: Path, store: Store) -> None:
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified' >&2\nexit 1\n")
    with pytest.raises(EngineError, match=r"invalid partition(.|\n)*look at --slurm"):
        sweep(toy.cells(8), store, engine="slurm", workers=2, slurm={"partition": "nowhere"})
    assert not folders_of_jobs(store)


def test_a_machine_without_slurm_is_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="login node"):
        sweep(toy.cells(2), store, engine="slurm")
    assert not folders_of_jobs(store)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"partitoin": "short"}, "did you mean partition?"),
        ({"minutes": "soon"}, "at least 1 for --slurm minutes"),
        ({"gb": "0"}, "at least 1 for --slurm gb"),
        ({"partition": "a\n#SBATCH --wrap=b"}, "one word for --slurm partition"),
        ({"account": ""}, "one word for --slurm account"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_written(
    store: Store, setting: dict[str, str], said: str
) -> None:
    for call in (plan, sweep):
        with pytest.raises(InputError, match=re.escape(said)):
            call(toy.cells(1), store, engine="slurm", slurm=setting)
    assert not store.path.exists()


def test_a_plan_names_the_engine_and_its_usual_number_of_jobs(store: Store) -> None:
    planned = plan(toy.cells(200), store, engine="slurm")
    assert (planned.engine, planned.workers) == ("slurm", slurm_engine.WORKERS)
    with pytest.raises(DeviceError, match="leave the number out"):
        plan(toy.cells(1), store, engine="slurm", device="cuda:1")


def test_a_missing_package_is_named_with_its_extra(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r'pip install "lemmata\[slurm\]"'):
        sweep(toy.cells(1), store, engine="slurm")
