"""The command line as tests call it: in this process, with what it printed and what it wrote."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lemmata.cli import main


@dataclass(frozen=True)
class Call:
    """What a call left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """A working folder in which calls are made."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *args: object) -> Call:
        """Call `lemmata` with these arguments."""
        self.capsys.readouterr()
        status = main([str(arg) for arg in args])
        printed = self.capsys.readouterr()
        return Call(status, printed.out, printed.err)

    def run(self, *args: object) -> Call:
        """The same for a call that must succeed."""
        call = self(*args)
        assert call.status == 0, call.err
        return call

    def refuse(self, *args: object) -> str:
        """The message of a call that must be refused: three parts, and nothing else happens."""
        before = self.files()
        call = self(*args)
        assert call.status == 2, call
        assert [line[:9] for line in call.err.splitlines()] == ["expected ", "got      ", "fix      "]
        assert call.out == ""
        assert self.files() == before
        return call.err

    def files(self) -> dict[str, bytes]:
        """Every file in the folder."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def install(site: Path, monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """Install a distribution with these entry points of the group `lemmata.papers`, as pip would."""
    about = site / f"{'_'.join(points)}-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {'-'.join(points)}\nVersion: 0.1\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (about / "entry_points.txt").write_text("\n".join(["[lemmata.papers]", *lines, ""]))
    monkeypatch.syspath_prepend(site)
