"""Which papers there are, and what is no paper."""

import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from command_line import install

from lemmata import registry
from lemmata.lab.errors import RegistryError, StoreError, UnknownNameError
from lemmata.lab.store import Store

PLUGINS = Path(__file__).parent / "plugins"
EXTEND = Path(__file__).parent.parent / "docs" / "extend.md"

# What a broken plugin says after `from noisy_quadratic import *`, and what the error says about it.
BROKEN = {
    "fails_on_import": ("1 / 0", "ZeroDivisionError"),
    "has_no_paper": ("del PAPER", "AttributeError"),
    "is_no_paper": ("PAPER = 'a paper'", "a str"),
    "paper_id_taken": ("", "quadratic twice"),
    "claim_id_taken": ("PAPER = replace(PAPER, id='icl2', claims=(FLOOR,))", "quadratic.floor twice"),
    "claim_id_twice": ("PAPER = paper('one', FLOOR, FLOOR)", "one.floor twice"),
    "claim_of_another": ("PAPER = replace(PAPER, id='two', claims=(claim('one.x'),))", "call it two.x"),
    "no_such_entry": ("PAPER = paper('three', replace(FLOOR, cites=('exmaple',)))", "did you mean example?"),
    "no_prediction": ("claim('four.x', predictions=())", "a prediction with a rule"),
    "no_rule": ("claim('five.x', predictions=(replace(FLOOR.predictions[0], rule=None),))", "a rule for"),
    "kind_taken": ("PAPER = paper('six', other_kind())", "quadratic.noisy"),
}
HELPERS = """
from dataclasses import dataclass, replace
from noisy_quadratic import *
from noisy_quadratic import NoisyQuadratic

def claim(id, **changes):
    return replace(FLOOR, id=id, **changes)

def paper(id, *claims):
    named = tuple(replace(c, id=f"{id}.{c.id.rpartition('.')[2]}") for c in claims)
    return replace(PAPER, id=id, claims=named)

def other_kind():
    other = dataclass(frozen=True, kw_only=True)(type("Other", (NoisyQuadratic,), {}))
    steps = replace(STEPS, base=other())
    return claim("x.y", predictions=tuple(replace(p, of=steps) for p in FLOOR.predictions))

"""


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """A way to install a plugin of this text."""
    monkeypatch.syspath_prepend(PLUGINS)
    install(tmp_path / "good", monkeypatch, quadratic="noisy_quadratic:PAPER")

    def add(name: str, text: str) -> None:
        site = tmp_path / name
        site.mkdir()
        (site / f"{name}.py").write_text(text)
        install(site, monkeypatch, **{f"z_{name}": f"{name}:PAPER"})

    yield add
    for name in BROKEN:
        sys.modules.pop(name, None)


def test_a_plugin_stands_behind_the_built_in_papers(plugins):
    assert [paper.id for paper in registry.papers()] == ["icl", "cot", "editing", "vision", "graph", "quadratic"]
    assert registry.claim("quadratic.floor") is registry.claims("quadratic")[0]
    assert [claim.id for claim in registry.claims("quadratic.any-step")] == ["quadratic.any-step"]
    assert registry.trainee("quadratic.noisy").__name__ == "NoisyQuadratic"
    assert registry.paper_of("quadratic.noisy").id == "quadratic"


@pytest.mark.parametrize(
    ("look_up", "name", "fix"),
    [
        (registry.claim, "quadratic.flor", "quadratic.floor"),
        (registry.claims, "quadratc", "quadratic"),
        (registry.trainee, "quadratic.nosy", "quadratic.noisy"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(plugins, look_up, name, fix):
    with pytest.raises(UnknownNameError) as caught:
        look_up(name)
    assert caught.value.fix == f"did you mean {fix}?"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_named(plugins, name):
    text, said = BROKEN[name]
    plugins(name, HELPERS + text)
    with pytest.raises(RegistryError) as caught:
        registry.papers()
    assert f"the entry point z_{name} = {name}:PAPER" in caught.value.expected
    assert said in str(caught.value)


def test_a_stored_cell_is_rebuilt_only_by_the_same_computation(plugins, checked_store, monkeypatch):
    store = Store(checked_store)
    module = import_module("noisy_quadratic")
    for cell in module.STEPS.cells("quick"):
        assert registry.cell(store.spec(cell.id)) == cell
    spec = store.spec(cell.id)
    with pytest.raises(StoreError, match="version 0"):
        registry.cell(spec | {"version": 0})
    with pytest.raises(StoreError, match="measure distance, version 1"):
        registry.cell(spec | {"measures": [{"name": "distance", "version": 2}]})
    with pytest.raises(UnknownNameError, match="did you mean distance"):
        registry.cell(spec | {"measures": [{"name": "distances", "version": 1}]})
    with pytest.raises(UnknownNameError, match=r"did you mean quadratic\.noisy"):
        registry.cell(spec | {"kind": "quadratic.nois"})


def test_the_page_on_plugins_shows_the_plugin_that_the_tests_run():
    blocks = dict(re.findall(r"^```(\w+) title=.*\n((?:.*\n)*?)```$", EXTEND.read_text(), re.MULTILINE))
    assert blocks["python"] == (PLUGINS / "noisy_quadratic.py").read_text()
    assert blocks["toml"] == (PLUGINS / "pyproject.toml").read_text()
    points = tomllib.loads(blocks["toml"])["project"]["entry-points"][registry.GROUP]
    assert points == {"quadratic": "noisy_quadratic:PAPER"}
