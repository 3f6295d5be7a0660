"""Fixtures that several test files use."""

import shutil
from importlib import import_module
from pathlib import Path

import pytest
from command_line import Shell, install

from lemmata.lab.check import check
from lemmata.lab.claim import Options

PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys) -> Shell:
    """The command line in a folder of its own, with the papers of tests/plugins installed."""
    install(tmp_path / "site", monkeypatch, quadratic="noisy_quadratic:PAPER", needy="needy:PAPER")
    monkeypatch.syspath_prepend(PLUGINS)
    for name in ("LEMMATA_STORE", "LEMMATA_DATA", "LEMMATA_TRACEBACK"):
        monkeypatch.setenv(name, "so that it is put back afterwards, whatever a call sets it to")
        monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return Shell(work, capsys)


@pytest.fixture(scope="session")
def checked_store(tmp_path_factory) -> Path:
    """A store in which the claims of the plugin were checked quickly; not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGINS)
        paper = import_module("noisy_quadratic").PAPER
        store = tmp_path_factory.mktemp("checked") / "lemmata-store"
        check(paper.claims, Options(profile="quick", store=store, workers=1))
    return store


@pytest.fixture
def checked(shell, checked_store) -> Shell:
    """The same command line, beside a store in which its claims were checked quickly."""
    shutil.copytree(checked_store, shell.folder / "lemmata-store")
    return shell
