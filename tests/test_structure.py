"""The house: who imports whom, how long a room may be, what is documented, and which claims there are."""

import ast
import inspect
import re
import sys
import tomllib
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest

from lemmata.lab.claim import Claim
from lemmata.lab.grid import PROFILES
from lemmata.lab.trainee import Measure
from lemmata.registry import claims, papers

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
LONGEST = 320


def name_of(path):
    """The dotted name of a module of the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
PAPERS = {"icl", "cot", "editing", "vision", "graph"}
ROOMS = [name for name in MODULES if name.startswith(tuple(f"lemmata.{floor}." for floor in ("lab", *PAPERS)))]


@cache
def tree(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(name, *, everywhere=True):
    """The modules that a module imports; without `everywhere` only those that are loaded with it."""
    nodes = ast.walk(tree(name)) if everywhere else tree(name).body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{name}: relative imports hide who imports whom"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {module for module in inside if module in MODULES} or {node.module}
    return found


def floor(module):
    """The part of the house that a module of the package belongs to: lab, icl, show, registry, ..."""
    return module.split(".")[1] if "." in module else "lemmata"


# Who may import whom. The package itself (its version, its lazily loaded names) is open to all but the laboratory.
MAY_IMPORT = {
    "lab": {"lab"},
    **{paper: {"lab", paper} for paper in PAPERS},
    "show": {"lab", "show"},
    "tools": {"lab", "tools", *PAPERS},
    "registry": {"lab", "registry", "lemmata", *PAPERS},
    "doctor": {"lab", "registry", "doctor", "lemmata"},
    "bench": {"lab", "show", "bench", *PAPERS},
    "cli": {"lab", "show", "tools", "registry", "doctor", "bench", "cli", "lemmata", *PAPERS},
    "lemmata": {"lab", "show", "registry", "lemmata", *PAPERS},
}
# What a function may import when it is called: a result asks to be drawn, and a command gathers the papers.
WHEN_CALLED = {"lemmata.lab.check": {"show"}, "lemmata.show.pages": {"registry"}}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_the_floors_below_it(name):
    allowed = MAY_IMPORT[floor(name)]
    for everywhere, also in ((False, set()), (True, WHEN_CALLED.get(name, set()))):
        ours = {module for module in imports(name, everywhere=everywhere) if module.split(".")[0] == "lemmata"}
        assert {floor(module) for module in ours} <= allowed | also
        if floor(name) == "tools":
            assert all(module.endswith(".theory") for module in ours if floor(module) in PAPERS)


def test_no_module_is_loaded_by_one_that_it_loads():
    below = {name: imports(name, everywhere=False) & MODULES.keys() for name in MODULES}
    # A package's own __init__ gathers names of its rooms, and is loaded with each of them.
    rooms = {name: found for name, found in below.items() if MODULES[name].name != "__init__.py"}
    while leaves := {name for name, found in rooms.items() if not found & rooms.keys()}:
        rooms = {name: found for name, found in rooms.items() if name not in leaves}
    assert not rooms


# What a dependency is imported as, where that is not its own name.
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn", "rouge-score": "rouge_score"}


@pytest.mark.parametrize("name", MODULES)
def test_what_is_imported_is_declared(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", d)[0] for d in project["dependencies"]}
    known = {IMPORTED_AS.get(d, d) for d in declared} | set(sys.stdlib_module_names) | {"lemmata"}
    assert {module.split(".")[0] for module in imports(name, everywhere=False)} <= known
    extras = chain.from_iterable(project["optional-dependencies"].values())
    names = [re.split(r"[^\w-]", d)[0] for d in extras]
    known |= {IMPORTED_AS.get(name, name) for name in names}
    assert {module.split(".")[0] for module in imports(name)} <= known


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_ever_unpickled(name):
    assert not {"pickle", "dill", "cloudpickle", "marshal", "shelve"} & imports(name)
    for call in (node for node in ast.walk(tree(name)) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) == "torch.load":
            assert {k.arg: ast.unparse(k.value) for k in call.keywords}.get("weights_only") == "True", name


# Rooms


@pytest.mark.parametrize("name", MODULES)
def test_a_room_is_short_and_says_what_it_is_for(name):
    text = MODULES[name].read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST
    assert ast.get_docstring(tree(name)), "a module says what it is for"
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)


def public(body):
    """Public functions, classes and their public methods."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


@pytest.mark.parametrize("name", ROOMS)
def test_everything_public_is_documented(name):
    assert not [node.name for node in public(tree(name).body) if not ast.get_docstring(node)]


@pytest.mark.parametrize("name", [name for name in ROOMS if ".claims" not in name])
def test_what_a_room_offers_is_all_that_is_public_in_it(name):
    module = import_module(name)
    offered = module.__all__
    assert len(set(offered)) == len(offered) and all(hasattr(module, each) for each in offered)
    defined = {node.name for node in tree(name).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert {each for each in defined if not each.startswith("_")} <= set(offered)


@pytest.mark.parametrize("name", [name for name in MODULES if name.endswith(".theory")])
def test_every_function_of_a_theory_has_an_example_and_an_annotation(name):
    module = import_module(name)
    functions = [getattr(module, each) for each in module.__all__ if inspect.isfunction(getattr(module, each))]
    assert functions
    for function in functions:
        assert ">>>" in (function.__doc__ or ""), function.__name__
        signature = inspect.signature(function)
        annotated = [signature.return_annotation, *(p.annotation for p in signature.parameters.values())]
        assert inspect.Signature.empty not in annotated, function.__name__


# Claims

QUESTIONS = ("in-domain", "iterations", "resources", "train-length", "test-length", "out-of-domain")
PICTURES = ("lengths", "pruning", "attention", "neurons", "layers", "baselines")


CHAINS = ("training", "coverage", "train-length", "test-length", "context", "icl-context", "versus-icl", "mechanism")
EDITS = ("multi-task", "unlearning", "out-of-domain", "low-rank", "sparsity", "correlation")
REAL = ("coloured-digits", "coloured-ood", "coloured-mnist", "language")
ASKED = {
    "icl": QUESTIONS + PICTURES,
    "cot": (*CHAINS, "layers", "shift", "induction"),
    "editing": EDITS + REAL,
    "graph": ("core", "encoding", "samples", "confusion", "robustness", "distances", "labels"),
    "vision": ("samples", "iterations", "attention", "noise", "sparsify", "spurious", "spurious-cifar"),
}


@pytest.mark.parametrize("paper", ASKED)
def test_the_claims_of_a_paper_are_those_that_were_asked_for(paper):
    assert {claim.id for claim in claims(paper)} == {f"{paper}.{name}" for name in ASKED[paper]}


EVERY_CLAIM = [claim for paper in papers() for claim in paper.claims]
EXPERIMENTS = {(claim.paper, e.name): e for claim in EVERY_CLAIM for e in claim.experiments}


@pytest.mark.parametrize("claim", EVERY_CLAIM, ids=lambda claim: claim.id)
def test_a_claim_is_complete(claim: Claim):
    module = import_module(f"lemmata.{claim.id.replace('-', '_').replace('.', '.claims.', 1)}")
    assert module.CLAIM is claim
    assert re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*", claim.id)
    assert claim.statement.endswith(".") and claim.title and claim.source and claim.cites
    for p in claim.predictions:
        assert re.fullmatch(r"[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*", p.id)
        assert p.statement.endswith(".") and p.source and p.statistic and p.predicted
        assert p.kind in ("holds", "tight", "mechanism", "comparison")


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=[name for _, name in EXPERIMENTS])
def test_the_settings_and_points_of_an_experiment_name_real_constants(experiment):
    known = experiment.changeable()
    for change in chain(experiment.settings.values(), *(experiment.points.at(profile) for profile in PROFILES)):
        assert set(change) <= set(known)
    for setting in (None, *experiment.settings):
        for profile in PROFILES:
            experiment.cells(profile, setting=setting)
    assert all(isinstance(m, Measure) for m in experiment.measures)
    assert len(set(experiment.measures)) == len(experiment.measures)


def test_experiments_of_one_name_are_one():
    by_name = {}
    for claim in EVERY_CLAIM:
        for e in claim.experiments:
            assert by_name.setdefault((claim.paper, e.name), e) is e, e.name


def test_a_quick_check_of_a_paper_trains_at_least_five_seeds_of_everything():
    assert min(e.seeds.quick for e in EXPERIMENTS.values()) >= 5
