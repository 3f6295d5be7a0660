"""What `--json` prints is what docs/schemas says."""

import json
from pathlib import Path

import pytest
from checkpoints import save, weights
from jsonschema import Draft202012Validator, ValidationError
from small_graphs import save_graph
from vision import save_model, save_pictures

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"
QUICK = ["quadratic", "--quick", "--workers", "1"]

ADVICE = ["--base", "base", "--add", "ft1", "--add", "ft2", "--advise"]
ADVICE += ["--inputs", "inputs.jsonl", "--forward", "net.py:forward"]
TOKENS = ["tokens", "vit", "--images", "pictures"]
NEIGHBOURS = ["neighbours", "--graph", "mine.npz", "--max-hops", "2", "--seeds", "2", "--steps", "20"]
CALLS = {
    "check": [
        ["check", *QUICK, "--json"],
        ["check", "needy", "--json"],
        ["check", *QUICK, "--seeds", "1", "--set", "noise=2", "--json"],
    ],
    "plan": [["plan", *QUICK, "--json"], ["plan", "needy", "icl", "--json"], ["plan", *QUICK, "--cells", "--json"]],
    "table": [
        ["table", "quadratic.floor", "--json"],
        ["table", "quadratic.floor", "--json", "--seeds-apart"],
    ],
    "list": [["list", "--json"], ["list", "quadratic.floor", "--json"]],
    "examples": [
        ["examples", "--json"],
        ["examples", "--split", "even", "--json"],
        ["examples", "--split", "even", "--tau", "0.3", "--rho", "0.62", "--json"],
        ["examples", "--tau", "0.42", "--json"],
    ],
    "edit": [
        ["edit", "--base", "base", "--add", "ft1", "--subtract", "ft2:0.5", "-o", "out", "--force", "--json"],
        ["edit", "--base", "base", "--add", "ft1", "--rank", "1", "--keep-rows", "0.2", "-o", "low", "--json"],
        ["edit", "--base", "base", "--add", "ft1", "--dare", "0.5", "-o", "dare", "--json"],
    ],
    "advice": [
        ["edit", *ADVICE, "--metric", "accuracy", "--json"],
        ["edit", *ADVICE, "--json"],
        ["edit", "--base", "base", "--add", "ft1", "--subtract", "ft2", *ADVICE[6:], "--json"],
    ],
    "tokens": [
        [*TOKENS, "--json"],
        [*TOKENS, "--policy", "merge", "--keep", "0.5", "--json"],
        [*TOKENS, "--advise", "--json"],
    ],
    "neighbours": [
        [*NEIGHBOURS, "--json"],
        [*NEIGHBOURS, "--advise", "--json"],
        [*NEIGHBOURS, "--compare", "--json"],
    ],
    "store-info": [["store", "info", "--json"], ["store", "info", "--store", "none", "--json"]],
    "store-verify": [["store", "verify", "--sample", "1", "--json"]],
    "store-compact": [["store", "compact", "--json"]],
    "store-merge": [["store", "merge", "lemmata-store", "--store", "other", "--json"]],
    "doctor": [["doctor", "--json"], ["doctor", "--store", "none", "--json"]],
    "bench": [
        ["bench", "--rounds", "1", "--json"],
        ["bench", "icl", "--compile", "--json"],
        ["bench", "--against", "before.json", "--json"],
    ],
}
MEASURED = {
    "rate": 900.0,
    "naive_rate": 90.0,
    "ratio": 10.0,
    "ratio_lo": 9.0,
    "ratio_hi": 11.0,
    "share_of_peak": 0.3,
    "sgemm_gflops": 60.0,
    "rss_mb": 300.0,
}


def schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text()))


@pytest.fixture
def bench(checked, monkeypatch):
    """The measurement itself takes minutes; here it only says how often it was to be taken."""

    def run(rounds, *, papers, workers, compile, progress):
        progress(rounds, rounds, 0.0)
        names = ["icl.one-layer", "icl.one-layer-compiled"] if compile else ["icl.one-layer"]
        return {"workloads": dict.fromkeys(names, MEASURED), "machine": {"cpu": "x", "workers": 2}}

    monkeypatch.setattr("lemmata.bench.run", run)
    monkeypatch.setattr("lemmata.bench.machine", lambda workers: {"cpu": "x", "workers": 2})
    before = {"workloads": {"icl.one-layer": MEASURED}, "machine": {"cpu": "x", "workers": 2}}
    Path("before.json").write_text(json.dumps(before))


@pytest.fixture
def models(checked):
    """A base and two fine-tunings of it, in the working folder, and what they are to answer."""
    for i, name in enumerate(("base", "ft1", "ft2")):
        save(name, weights(i), config={})
    inputs = [{"x": i - 4.5, "label": 1, "task": 1 + i % 2} for i in range(10)]
    Path("inputs.jsonl").write_text("\n".join(map(json.dumps, inputs)))
    Path("net.py").write_text(
        "def forward(weights, inputs):\n"
        "    return [float(sum(w.float().mean() for w in weights.values())) * one['x'] for one in inputs]\n"
    )


@pytest.fixture
def pictures(checked, monkeypatch):
    """A vision transformer and images, and a graph, in the working folder."""
    save_model("vit")
    save_pictures("pictures")
    save_graph("mine.npz")
    monkeypatch.setenv("LEMMATA_CACHE", "cache")


@pytest.mark.parametrize("verb", CALLS)
def test_a_verb_prints_one_object_of_its_schema(checked, bench, models, pictures, verb):
    for args in CALLS[verb]:
        schema(verb).validate(checked.run(*args).json)


@pytest.mark.parametrize("verb", CALLS)
def test_a_schema_is_one_and_refuses_what_lacks_a_key(checked, bench, models, pictures, verb):
    validator = schema(verb)
    Draft202012Validator.check_schema(validator.schema)
    record = checked.run(*CALLS[verb][0]).json
    for key in record:
        with pytest.raises(ValidationError, match=f"'{key}' is a required property"):
            validator.validate({k: v for k, v in record.items() if k != key})
    with pytest.raises(ValidationError):
        validator.validate(record | {"another": 1})


def test_bench_for_reading(shell, bench):
    out = shell.run("bench").out
    assert "icl.one-layer\n" in out and "10.0 times" in out and "30%" in out


def test_every_verb_with_json_has_a_schema_and_a_line_in_the_docs(shell):
    verbs = {verb for verb in shell.run("--help").out.split() if verb.isidentifier()}
    own = {f"store-{verb}" for verb in shell.run("store", "--help").out.split("Commands:")[1].split() if verb.islower()}
    assert {name for name in CALLS if name.startswith("store-")} == own & CALLS.keys() and len(own & CALLS.keys()) == 4
    assert CALLS.keys() - verbs - own == {"advice"}, "a schema of edit --advise"
    assert CALLS.keys() == {path.stem for path in SCHEMAS.glob("*.json")}
    page = (SCHEMAS.parent / "schemas.md").read_text()
    for verb in CALLS:
        assert f"(schemas/{verb}.json)" in page


def test_numbers_that_json_lacks_are_null(checked):
    """One seed leaves an open interval, which is infinite in Python."""
    record = checked.run("check", "quadratic.floor", "--quick", "--seeds", 1, "--json").json
    assert [each["interval"][1] for each in record["verdicts"]] == [None, None]
    rows = checked.run("table", "quadratic.floor", "--quick", "--seeds", 1, "--json").json["rows"]
    assert {(row["lo"], row["hi"]) for row in rows} == {(None, None)}
    schema("check").validate(record)
