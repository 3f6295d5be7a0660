"""The stress test itself runs, for a moment."""

import json
import subprocess
import sys
from pathlib import Path


def test_nothing_is_lost_in_a_moment_of_torture():
    script = Path(__file__).parent / "torture.py"
    done = subprocess.run(
        [sys.executable, script, "--minutes", "0.2", "--seed", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rounds"] >= 1 and found["stores filled"] >= 1 and found["sweep started"] >= 1
