"""Every wrong call ends with status 2 and a message of three parts, and leaves nothing behind."""

import json
import os

import pytest

# The call, and a part of what is said.
CALLS = {
    "no such claim": (["check", "quadratic.flor"], "did you mean quadratic.floor?"),
    "no such paper": (["check", "quadratik"], "did you mean quadratic?"),
    "no such claim to draw": (["show", "quadratic.flor", "-o", "f.pdf"], "did you mean"),
    "a paper where a claim is meant": (["table", "quadratic"], "the id of a claim"),
    "no such paper to cite": (["cite", "quadratik"], "did you mean quadratic?"),
    "no seeds": (["check", "quadratic", "--seeds", 0], "a whole number of at least 1 for --seeds"),
    "seeds in words": (["check", "quadratic", "--seeds", "many"], "many"),
    "seeds of the choosing kind": (["check", "quadratic", "--seeds", 1000], "from 1 to 999"),
    "no workers": (["check", "quadratic", "--workers", 0], "--workers"),
    "two profiles": (["check", "quadratic", "--quick", "--full"], "one of --quick and --full"),
    "a constant out of range": (["check", "quadratic", "--set", "noise=-1"], "noise"),
    "alpha out of range": (["check", "icl.pruning", "--set", "alpha=1.5"], "[0, 1]"),
    "no such constant": (["check", "icl.pruning", "--set", "nosuch=1"], "a constant of icl.pruning"),
    "a misspelt constant": (["plan", "quadratic", "--set", "noize=1"], "did you mean noise?"),
    "a constant of another type": (["check", "quadratic", "--set", "steps=1.5"], "a whole number"),
    "a constant without a value": (["check", "quadratic", "--set", "noise"], "NAME=VALUE"),
    "counts that do not fit": (
        ["check", "icl.pruning", "--set", "sampler=exact", "--set", "l_tr=7"],
        "alpha",
    ),
    "no such device": (["check", "quadratic", "--device", "tpu"], "tpu"),
    "no such engine": (["check", "quadratic", "--engine", "spark"], "'local', 'ray', 'slurm'"),
    "an address of nothing": (["check", "quadratic", "--address", "auto"], "pass --engine ray with it"),
    "jobs of nothing": (["plan", "quadratic", "--slurm", "minutes=5"], "pass --engine slurm with it"),
    "a setting of jobs without a value": (["plan", "quadratic", "--engine", "slurm", "--slurm", "gb"], "--slurm NAME="),
    "no such setting of jobs": (["check", "quadratic", "--engine", "slurm", "--slurm", "mins=5"], "minutes"),
    "no such data": (["check", "quadratic", "--data", "nowhere"], "an existing folder for --data"),
    "an ending that nothing draws": (["show", "quadratic.floor", "-o", "fig.doc"], ".doc"),
    "a figure without a file": (["show", "quadratic.floor"], "--output"),
    "no such venue": (["show", "quadratic.floor", "-o", "f.png", "--venue", "arxiv"], "arxiv"),
    "a figure in no folder": (["show", "quadratic.floor", "-o", "no/f.png"], "folder"),
    "a record of another kind": (["check", "quadratic", "--record", "verdicts.txt"], ".json"),
    "no recorded file": (["check", "quadratic", "--expect", "none.json"], "none.json"),
    "two formats": (["table", "quadratic.floor", "--csv", "--json"], "one of --csv and --json"),
    "nothing stored to print": (["table", "quadratic.floor"], "run lemmata check quadratic.floor"),
    "nothing stored to draw": (
        ["show", "quadratic.floor", "--full", "-o", "f.png"],
        "run lemmata check quadratic.floor --full",
    ),
    "nothing stored to report": (["report"], "run lemmata check"),
    "data missing": (["table", "needy.floor"], "needs the data folder nowhere"),
    "no such cell": (["network", "abc", "-o", "net.safetensors"], "abc"),
    "no such verb": (["chekc"], "did you mean check?"),
    "no such option": (["check", "--sedes", 3], "did you mean --seeds"),
    "an option without its value": (["check", "--seeds"], "--seeds"),
    "a flag with a value": (["check", "--quick=yes"], "--quick"),
    "no claim": (["table"], "CLAIM"),
    "a claim too many": (["table", "quadratic.floor", "icl.pruning"], "icl.pruning"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_refused(shell, name):
    args, said = CALLS[name]
    assert said in shell.refuse(*args)


def test_errors_go_to_stderr_with_json_too(shell):
    assert "did you mean" in shell.refuse("check", "quadratik", "--json")


def test_cuda_where_there_is_none(shell, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for verb in ("plan", "check"):
        assert "--device cpu" in shell.refuse(verb, "quadratic", "--device", "cuda")


def test_a_store_that_is_a_file(shell):
    (shell.folder / "store").write_text("a file")
    for verb in ("plan", "check", "table", "report"):
        names = ["quadratic.floor"] if verb == "table" else []
        assert "a file" in shell.refuse(verb, *names, "--store", "store")


def test_a_read_only_store(shell, monkeypatch):
    # What the system answers to anybody but root; tests/test_store.py asks it as somebody else.
    monkeypatch.setattr("os.access", lambda path, mode, **how: not mode & os.W_OK)
    assert "read-only" in shell.refuse("check", "quadratic", "--quick")


def test_a_store_of_a_newer_version(shell):
    (shell.folder / "store").mkdir()
    (shell.folder / "store" / "store.json").write_text('{"format": 999}')
    assert "newer version" in shell.refuse("check", "quadratic", "--store", "store")


@pytest.mark.parametrize(
    "args",
    [
        ["table", "quadratic.floor", "-o", "there.csv"],
        ["show", "quadratic.floor", "-o", "there.png"],
        ["report", "-o", "there.html"],
        ["check", "quadratic", "--quick", "--record", "there.json"],
    ],
    ids=lambda args: args[0],
)
def test_an_existing_file_is_kept_without_force(checked, args):
    file = checked.folder / args[-1]
    file.write_text("precious")
    assert "--force" in checked.refuse(*args)
    checked.run(*args, "--force")
    assert file.read_bytes() != b"precious"


@pytest.mark.parametrize("text", ["not JSON", "[]", "{}", '{"verdicts": [{"id": "x"}]}'])
def test_a_recorded_file_without_verdicts(shell, text):
    (shell.folder / "verdicts.json").write_text(text)
    assert "which holds none" in shell.refuse("check", "quadratic", "--expect", "verdicts.json")


def test_a_broken_plugin(shell, monkeypatch):
    monkeypatch.setattr("lemmata.registry.GROUP", "lemmata.papers.of.a.test")
    monkeypatch.setattr("lemmata.registry.BUILT_IN", ())
    (shell.folder / "broken-0.dist-info").mkdir()
    (shell.folder / "broken-0.dist-info" / "METADATA").write_text("Name: broken\nVersion: 0\n")
    points = "[lemmata.papers.of.a.test]\nbroken = json:nothing\n"
    (shell.folder / "broken-0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(shell.folder)
    for verb in ("list", "check", "report"):
        assert "broken = json:nothing" in shell.refuse(verb)
    assert "broken = json:nothing" in json.loads(shell.run("doctor", "--json").out)["problems"][0]


def test_what_is_nobodys_mistake_has_another_status(shell, monkeypatch):
    def fall_over():
        raise RuntimeError("an engine\nfell over")

    monkeypatch.setattr("lemmata.registry.papers", fall_over)
    call = shell("list")
    said = "RuntimeError: an engine fell over (LEMMATA_TRACEBACK=1 shows where it happened)\n"
    assert (call.status, call.out, call.err) == (1, "", said)
    monkeypatch.setenv("LEMMATA_TRACEBACK", "1")
    assert "in fall_over" in shell("list").err
