"""README and docs: blocks run, commands parse, names exist, and what is generated is not stale."""

import doctest
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import matplotlib
import pytest
import torch
from brief import briefly
from jsonschema import Draft202012Validator

import lemmata
from lemmata import cot, editing, graph, icl, registry, vision
from lemmata.cli import main
from lemmata.cli.group import verbs
from lemmata.lab.trainee import Trainee
from lemmata.show import pages

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]}
MODULES = (icl, cot, editing, vision, graph)  # one a paper
EXTEND = "docs/extend.md"  # its blocks are a package, which tests/test_registry.py installs
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*found.groups()) for found in BLOCK.finditer(PAGES[page].read_text())]


def inline_commands(page: str) -> list[str]:
    """Commands within the text; those with a word in capitals stand for many."""
    prose = BLOCK.sub("", PAGES[page].read_text())
    found = [code.replace("\n", " ") for code in re.findall(r"`(lemmata [^`]+)`", prose)]
    return [command for command in found if not re.search(r"\b[A-Z]{3,}\b", command)]


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    """One store for the blocks of all pages."""
    return tmp_path_factory.mktemp("docs") / "lemmata-store"


@pytest.fixture
def desk(store, tmp_path, monkeypatch) -> Iterator[Path]:
    """A reader's working folder, where everything is trained under the test profile."""
    measured = dict.fromkeys(
        ("rate", "naive_rate", "ratio", "ratio_lo", "ratio_hi", "share_of_peak", "sgemm_gflops", "rss_mb"), 1.0
    )
    monkeypatch.setattr("lemmata.bench.run", lambda *_, **__: {"workloads": {"icl.one-layer": measured}, "machine": {}})
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    monkeypatch.delenv("LEMMATA_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    store.mkdir(exist_ok=True)
    (tmp_path / "lemmata-store").symlink_to(store)
    threads = torch.get_num_threads()
    with briefly():
        yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.parametrize("page", [page for page in PAGES if page != EXTEND and blocks(page)])
def test_every_block_runs(page, desk):
    names: dict[str, object] = {"__name__": page}
    for block in blocks(page):
        if block.language == "bash":
            for line in block.text.splitlines():
                run_line(shlex.split(line, comments=True))
        elif block.language == "python":
            with matplotlib.rc_context({"backend": "agg"}):
                exec(compile(block.text, page, "exec"), names)
        elif block.language == "pycon":
            test = doctest.DocTestParser().get_doctest(block.text, names, page, page, 0)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
            names |= test.globs
        else:
            assert (block.language, page) == ("json", "docs/schemas.md"), f"nothing runs {block}"


def run_line(words: list[str]) -> None:
    """Run a line of a shell, or see that it could be run where that is somebody else's work."""
    match words:
        case []:
            pass
        case ["lemmata", *args]:
            assert main(args) == 0, words
        case ["make", target]:  # .ci/run runs them
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module), module
        case ["pip", "install", "-c", constraints, "."]:
            assert (ROOT / constraints).is_file()
        case _:
            raise AssertionError(f"nobody has tried {shlex.join(words)}")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_text_is_understood(page):
    for command in inline_commands(page):
        name, *args = shlex.split(command)[1:]
        try:
            verbs.commands[name].make_context(name, args, parent=click.Context(verbs)).close()
        except click.MissingParameter:
            assert not any("." in arg for arg in args), f"{command} is named in full, and lacks something"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.PAPER.id)
@pytest.mark.parametrize("page", PAGES)
def test_every_name_of_a_paper_exists(page, module):
    """As a claim, a prediction, a network or a public name of the package."""
    paper = module.PAPER.id
    claims = registry.claims(paper)
    known = {claim.id for claim in claims} | {e.base.kind for claim in claims for e in claim.experiments}
    known |= {f"{claim.id}/{p.id}" for claim in claims for p in claim.predictions}
    for name in re.findall(rf"(?<![\w/]){paper}\.\w[\w-]*(?:/[\w-]+)?", PAGES[page].read_text()):
        assert name in known or hasattr(module, name.removeprefix(f"{paper}.")), name


def test_the_decision_page_leaves_out_no_claim_and_no_verb():
    text = PAGES["docs/which.md"].read_text()
    every = [claim for paper in registry.papers() for claim in paper.claims]
    assert [claim.id for claim in every if f"`{claim.id}`" not in text] == []
    assert [verb for verb in verbs.commands if f"`lemmata {verb}" not in text] == []


def test_the_pages_of_the_papers_are_those_that_the_claims_make(tmp_path):
    pages.main([str(tmp_path)])
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(path.name for path in (DOCS / "papers").iterdir())
    for name in written:
        assert (tmp_path / name).read_text() == (DOCS / "papers" / name).read_text(), (
            f"docs/papers/{name} is stale: run python -m lemmata.show.pages docs/papers"
        )


def signature(name: str, thing: object) -> str:
    """The signature without types; a default that is no plain value is three dots, as are all of a network's."""
    if not callable(thing):
        return name
    plain = (type(None), bool, int, float, str, tuple)
    network = isinstance(thing, type) and issubclass(thing, Trainee)
    shown = []
    for p in inspect.signature(thing).parameters.values():
        if p.kind is p.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        default = repr(p.default) if isinstance(p.default, plain) else "..."
        shown.append(p.name if p.default is p.empty or network else f"{p.name}={default}")
    return f"{name}({', '.join(shown)})"


@pytest.mark.parametrize("module", [lemmata, *MODULES], ids=lambda module: module.__name__)
def test_the_public_names_are_those_documented(module):
    section = PAGES["docs/api.md"].read_text().split(f"\n## {module.__name__}\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `([^`]+)` \| \S.*\.", section, re.MULTILINE)
    assert documented == [signature(name, getattr(module, name)) for name in sorted(module.__all__)]


def test_json_examples_are_of_their_schemas():
    text = PAGES["docs/schemas.md"].read_text()
    examples = re.findall(r"^### lemmata ([^\n]+)\n.*?\n```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == text.count("```json") > 0
    for verb, example in examples:
        name = "advice" if verb == "edit --advise" else verb.replace(" ", "-")
        schema = json.loads((DOCS / "schemas" / f"{name}.json").read_text())
        Draft202012Validator(schema).validate(json.loads(example))


def test_the_readme_links_to_files_that_exist():
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGES["README.md"].read_text())
    assert "docs/images/readme.png" in targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_documentation_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"?(https?:[^\"> ]+)", page.read_text())
        assert loaded == [], page.name
