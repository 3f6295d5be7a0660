"""One worker process a core, all of one kind: they work together when it is their turn and stand still in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, final

from lemmata.lab.errors import EngineError

__all__ = ["Team", "Turn"]

WORKER = [sys.executable, "-m", "lemmata.bench.worker"]
# Some libraries count their threads when they are loaded, so the environment has to say it.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}


@final
@dataclass(frozen=True)
class Turn:
    """What the workers did: work a second, all workers together, and the most memory that one ever held, in MB."""

    rate: float
    rss_mb: float


@final
class Team:
    """Worker processes of one kind; see `lemmata.bench.worker`, with which it talks in lines of JSON."""

    def __init__(self, kind: str, workers: int, steps: int) -> None:
        """Start the processes, which get ready while this goes on."""
        self._kind = kind
        command = [*WORKER, kind, str(workers), str(steps)]
        # A session of their own: Ctrl-C is for this process, which then ends them.
        self._processes = [
            subprocess.Popen(
                [*command, str(worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,
                text=True,
            )
            for worker in range(workers)
        ]

    def __enter__(self) -> Self:
        """The team itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the processes, whatever they are doing."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()

    def wait_until_ready(self) -> None:
        """Wait until every worker has warmed up.

        Raises:
            EngineError: a worker has ended by itself.
        """
        for process in self._processes:
            self._answer(process)

    def turn(self) -> Turn:
        """Let all workers do their work at once.

        Raises:
            EngineError: a worker has ended by itself.
        """
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # its missing answer says more
                process.stdin.write("\n")
                process.stdin.flush()
        answers = [self._answer(process) for process in self._processes]
        return Turn(sum(a["rate"] for a in answers), max(a["rss_mb"] for a in answers))

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            got = f"one that ended with status {process.wait()}"
            fix = "see its own message above; with little memory, pass fewer workers"
            raise EngineError(f"a worker ({self._kind}) that lives to the end", got, fix)
        return json.loads(line)
