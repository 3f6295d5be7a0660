"""The engine for Slurm: the batch script that is submitted, the arrays, and runs without a scheduler.

`slurm` is a cluster of five small programs on the PATH: its sbatch keeps the script and runs the tasks of the array one
after the other, with the environment that Slurm gives them. Submitit's local executor stands in for it as well.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toy

from lemmata.lab import slurm_engine
from lemmata.lab.errors import DeviceError, EngineError, InputError
from lemmata.lab.grid import Cell
from lemmata.lab.slurm_engine import Slurm
from lemmata.lab.store import Store
from lemmata.lab.sweep import plan, sweep
from lemmata.lab.work import WorkersKilled

submitit: Any = pytest.importorskip("submitit", reason='needs submitit: pip install "lemmata[slurm]"')

TESTS = Path(__file__).parent

# Runs the script of each task in the background of nothing: sbatch of these tests returns when all are done.
SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path

here = Path({folder!r})
script = Path(sys.argv[1]).read_text()
number = 100 + len(list(here.glob("*.sh")))
(here / f"{{number}}.sh").write_text(script)
array = re.search(r"--array=0-(\\d+)%", script)
tasks = range(int(array[1]) + 1) if array else [None]
if (here / "fails").exists():
    sys.exit("sbatch: error: invalid partition specified")
# Tasks wait for what submitit moves into place once it knows the number of the job.
work = "; ".join(
    " ".join(
        [f"SLURM_JOB_ID={{number + (task or 0)}}", "SLURM_NTASKS=1", "SLURM_JOB_NUM_NODES=1", "SLURM_NODEID=0"]
        + ["SLURM_PROCID=0", "SLURM_LOCALID=0", "SLURM_JOB_NODELIST=node"]
        + ([] if task is None else [f"SLURM_ARRAY_JOB_ID={{number}}", f"SLURM_ARRAY_TASK_ID={{task}}"])
        + ["bash", str(here / f"{{number}}.sh")]
    )
    for task in tasks
)
if not (here / "idle").exists():
    subprocess.Popen(work, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
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
state = "FAILED" if (here / "idle").exists() else "RUNNING"
print("JobID|State|NodeList")
for script in sorted(here.glob("*.sh")):
    for line in [script.stem, *(f"{{script.stem}}_{{i}}" for i in range(20))]:
        print(f"{{line}}|{{state}}|node")
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
    chunks = plan(cells, store, engine="slurm", workers=2).chunks
    report = sweep(cells, store, engine="slurm", workers=2, slurm={"partition": "short"})
    assert report.trained == {cell.id for cell in cells}
    same_as_trained_here(store, cells, tmp_path)
    asked = flags((slurm / "100.sh").read_text())
    assert asked["array"] == f"0-{len(chunks) - 1}%2" and len(chunks) >= 4
    assert not folders_of_jobs(store) and not list(store.path.glob(".*"))
    assert not list(store.path.rglob("*.pkl"))
