"""The stress test itself runs, for a moment, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from torture import ENGINES, PACKAGES
from torture_machine import descendants, nobody_left

# Its cluster and that of the engine's tests take turns.
pytestmark = pytest.mark.xdist_group("ray")


def test_nothing_is_lost_in_a_moment_of_torture():
    script = Path(__file__).parent / "torture.py"
    done = subprocess.run(
        [sys.executable, script, "--minutes", "0.2", "--seed", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rounds"] >= 1 and found["stores filled"] >= 1
    for engine in ENGINES:
        if find_spec(PACKAGES.get(engine, "lemmata")):
            assert found["sweeps"][engine] >= 1 and found["cells stored"][engine] >= 1
        else:
            assert f"no sweep has the engine {engine}" in done.stderr
    assert found.get("room run out") or "to mount a small one is not permitted" in done.stderr


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_whose_parent_is_gone_is_ended_too():
    orphan = "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=-3).pid)"
    with nobody_left():
        process = int(subprocess.check_output([sys.executable, "-c", orphan]))
        assert process in descendants(os.getpid())
    assert process not in descendants(os.getpid())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_torture_that_is_ended_leaves_no_process(number: int):
    script = Path(__file__).parent / "torture.py"
    quiet = subprocess.DEVNULL
    # Ray's sockets are in it, whose paths may not be as long as those of pytest's own.
    with tempfile.TemporaryDirectory() as folder, nobody_left():
        torture = subprocess.Popen(
            [sys.executable, script],
            env={**os.environ, "TMPDIR": folder},
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not list(Path(folder).glob("*/driver-1.log")):
            assert torture.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        if number == signal.SIGKILL and Path(f"/proc/{torture.pid}/comm").read_text() != "unshare\n":
            pytest.skip("namespaces are not permitted here, and a killed process can end no other one")
        started = descendants(torture.pid)
        assert started
        os.killpg(torture.pid, number)
        torture.wait(30)
        time.sleep(0.5)
        assert not [process for process in started if process in descendants(os.getpid())]
        # What is killed outright leaves its files, and nothing else.
        assert number == signal.SIGKILL or not os.listdir(folder)
