"""How far a long run is, on stderr: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from threading import Timer
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from lemmata.cli.output import say

__all__ = ["Meter"]

QUIET_SECONDS = 2.0
SECONDS_BETWEEN_LINES = 10.0


class Meter:
    """A progress callback of the laboratory: how much of how much is done, and how long the rest takes.

    Plain lines begin after two seconds, so that short work stays quiet.
    """

    def __init__(self, what: str) -> None:
        """`what` is counted: "cells"."""
        self._what = what
        self._line = ""
        self._said = time.monotonic()
        self._first_line = Timer(QUIET_SECONDS, self._say)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        """Show a bar where somebody watches."""
        if sys.stderr.isatty():
            columns = [
                SpinnerColumn(),
                TextColumn(self._what),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rest]}"),
            ]
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._what, total=None, rest="")
            self._bar.start()
        else:
            self._first_line.daemon = True
            self._first_line.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._first_line.cancel()
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, seconds_left: float | None = None, note: str = "") -> None:
        """Tell what is done; a note is always passed on."""
        from lemmata.show.words import duration

        rest = "" if seconds_left is None or done == total else f"about {duration(seconds_left)} left"
        if self._bar:
            self._bar.update(self._task, completed=done, total=total, rest=rest)
            if note:
                self._bar.console.print(note, highlight=False)
            return
        counted = f"{done} of {total} {self._what}" if total else ""
        self._line = ", ".join(part for part in [counted, rest] if part)
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._say()
        if note:
            say(note)

    def _say(self) -> None:
        if self._line:
            self._said = time.monotonic()
            say(self._line)
