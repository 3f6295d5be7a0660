"""Every verb, as a user calls it."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import click
import pytest
from safetensors import safe_open

from lemmata.cli.group import verbs
from lemmata.cli.output import say
from lemmata.cli.progress import Meter
from lemmata.lab.engines import ENGINES
from lemmata.lab.grid import measure
from lemmata.lab.trainee import Measure, Row

VERBS = ["list", "plan", "check", "table", "show", "report", "network", "edit", "cite", "doctor", "bench"]


@dataclass(frozen=True, kw_only=True)
class Ends(Measure):
    """A measure with a coordinate."""

    name: ClassVar[str] = "ends"

    def observe(self, snapshot, memory):
        return [[Row("end", 0.0, w_D[-1].item(), {"which": 1})] for w_D in snapshot.params["w"]]


def verdicts(call):
    return {each["id"]: each["verdict"] for each in call.json["verdicts"]}


def test_help_teaches(shell):
    text = shell.run("--help").out
    assert shell.run().out == text
    order = [text.index(f"lemmata {verb} ") for verb in ["list", "plan", "check", "show", "table"]]
    assert order == sorted(order)
    for verb in VERBS:
        own = shell.run(verb, "--help").out
        prose, _, examples = own.partition(f"\n    lemmata {verb}")
        assert examples, f"{verb} shows no example"
        assert len(prose.split()) > 25, f"{verb} explains nothing"


def test_help_is_there_before_torch_is():
    code = "from lemmata.cli import main; main(['check', '--help']); import sys; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_list_names_papers_and_claims(shell):
    out = shell.run("list").out
    assert "quadratic.any-step" in out and "icl.pruning" in out
    record = shell.run("list", "quadratic", "--json").json
    assert [paper["id"] for paper in record["papers"]] == ["quadratic"]
    assert [claim["id"] for claim in record["claims"]] == ["quadratic.floor", "quadratic.any-step"]


def test_list_of_a_claim_tells_its_rules_and_constants(shell):
    out = shell.run("list", "quadratic.floor").out
    assert "CONFIRMED if the 95 % interval lies inside [0.9, 1.1]" in out
    assert "noise=1.0  given   noise sigma of a gradient" in out
    assert "needs the data folder nowhere" in shell.run("list", "needy.floor").out


def test_plan_counts_each_cell_once_and_writes_nothing(shell):
    record = shell.run("plan", "quadratic", "--quick", "--workers", 1, "--cells", "--json").json
    assert (record["cells"], record["stored"], record["workers"]) == (15, 0, 1)
    assert [claim["cells"] for claim in record["claims"]] == [15, 15]
    assert len(set(record["cell_ids"])) == 15
    assert record["minutes"] > 0
    assert shell.files() == {}
    assert "15" in shell.run("plan", "quadratic", "--quick").out


def test_every_engine_can_be_named_and_a_plan_says_which(shell):
    schema = json.loads((Path(__file__).parents[1] / "docs/schemas/plan.json").read_text())
    assert tuple(schema["properties"]["engine"]["enum"]) == ENGINES
    for verb in ("plan", "check"):
        (option,) = [each for each in verbs.commands[verb].params if each.name == "engine"]
        assert isinstance(option.type, click.Choice) and tuple(option.type.choices) == ENGINES
    jobs = ["plan", "quadratic", "--engine", "slurm", "--workers", 7, "--slurm", "minutes=5"]
    record = shell.run(*jobs, "--json").json
    assert (record["engine"], record["workers"]) == ("slurm", 7)
    assert "on 7 workers (slurm)" in shell.run(*jobs).out
    assert "workers (" not in shell.run("plan", "quadratic", "--workers", 2).out


def test_plan_sees_what_is_stored(checked):
    record = checked.run("plan", "quadratic", "--quick", "--seeds", 6, "--json").json
    assert (record["cells"], record["stored"]) == (18, 15)


def test_check_judges_and_goes_on_from_the_store(shell):
    first = shell.run("check", "quadratic", "--quick", "--workers", 1, "--json")
    assert verdicts(first) == {
        "quadratic.floor/value": "CONFIRMED",
        "quadratic.floor/step": "CONFIRMED",
        "quadratic.any-step/step": "REFUTED",
    }
    again = shell.run("check", "quadratic", "--quick", "--json").json["verdicts"]
    for before, after in zip(first.json["verdicts"], again, strict=True):
        assert (before["cells_trained"], after["cells_trained"]) == (15, 0)
        assert before | {"cells_trained": 0} == after
    text = shell.run("check", "quadratic", "--quick").out
    assert text.count("CONFIRMED") >= 2 and "REFUTED" in text


def test_check_with_other_constants_is_not_the_registered_one(checked):
    args = ["check", "quadratic.floor", "--quick", "--seeds", 2, "--workers", 1, "--json"]
    changed = checked.run(*args, "--set", "noise=2", "--set", "steps=50").json["verdicts"]
    assert [(each["registered"], each["seeds"], each["cells_trained"]) for each in changed] == [(False, 2, 6)] * 2
    assert [each["registered"] for each in checked.run(*args).json["verdicts"]] == [True, True]


def test_check_takes_the_store_from_the_environment(shell, checked_store, monkeypatch):
    monkeypatch.setenv("LEMMATA_STORE", str(checked_store))
    trained = shell.run("check", "quadratic", "--quick", "--json").json["verdicts"]
    assert [each["cells_trained"] for each in trained] == [0, 0, 0]
    assert shell.files() == {}


def test_a_claim_without_its_data_is_not_run_and_the_others_are(checked):
    call = checked.run("check", "needy", "quadratic.floor", "--quick", "--json")
    assert list(verdicts(call).values()) == ["NOT RUN", "NOT RUN", "CONFIRMED", "CONFIRMED"]
    reason = call.json["verdicts"][0]["reason"]
    assert "pass --data DIR" in reason and "pip install no_such_package" in reason
    (checked.folder / "data" / "nowhere").mkdir(parents=True)
    reason = checked.run("check", "needy", "--data", "data", "--json").json["verdicts"][0]["reason"]
    assert "nowhere" not in reason


def test_recorded_verdicts_hold_a_later_check_to_them(checked):
    file = checked.folder / "verdicts.json"
    checked.run("check", "quadratic", "--quick", "--record", file)
    record = json.loads(file.read_text())
    assert record["verdicts"][0] == {"id": "quadratic.floor/value", "verdict": "CONFIRMED"}
    assert checked.run("check", "quadratic", "--quick", "--expect", file).err == ""
    checked.run("check", "quadratic.any-step", "--quick", "--expect", file)

    record["verdicts"][0]["verdict"] = "REFUTED"
    record["verdicts"][1]["id"] = "quadratic.floor/slope"
    file.write_text(json.dumps(record))
    call = checked("check", "quadratic", "--quick", "--expect", file, "--json")
    assert call.status == 3
    assert call.err.splitlines() == [
        "quadratic.floor/value: expected REFUTED, got CONFIRMED",
        "quadratic.floor/slope: expected CONFIRMED, got nothing",
        "quadratic.floor/step: expected nothing, got CONFIRMED",
    ]
    assert len(call.json["verdicts"]) == 3


def test_what_check_prints_as_json_can_be_expected(checked):
    file = checked.folder / "printed.json"
    file.write_text(checked.run("check", "quadratic", "--quick", "--json").out)
    checked.run("check", "quadratic", "--quick", "--expect", file)


def test_a_damaged_shard_is_told_and_trained_again(checked):
    shard = min((checked.folder / "lemmata-store").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    call = checked.run("check", "quadratic.floor", "--quick", "--workers", 1, "--json")
    assert shard.name + ".damaged" in call.err
    assert all(0 < each["cells_trained"] < 15 for each in call.json["verdicts"])
    assert shard.name + ".damaged" in checked.run("doctor", "--json").json["store"]["damaged"][0]


def test_table_prints_means_or_every_row(checked):
    means = list(csv.DictReader(io.StringIO(checked.run("table", "quadratic.floor", "--csv").out)))
    assert list(means[0]) == ["experiment", "lr", "metric", "x", "mean", "lo", "hi", "n"]
    assert [(row["lr"], row["n"]) for row in means] == [("0.02", "5"), ("0.05", "5"), ("0.15", "5")]

    rows = list(csv.DictReader(io.StringIO(checked.run("table", "quadratic.floor", "--seeds-apart", "--csv").out)))
    assert len(rows) == len({row["cell"] for row in rows}) == 15
    first = [float(row["value"]) for row in rows if row["lr"] == "0.02"]
    assert sum(first) / 5 == pytest.approx(float(means[0]["mean"]))

    assert "0.15" in checked.run("table", "quadratic.floor").out


def test_rows_apart_of_different_experiments_keep_their_types(checked, monkeypatch):
    plugin = sys.modules["noisy_quadratic"]
    steps = plugin.FLOOR.predictions[0].of
    other = replace(steps, name="more", measures=(plugin.Distance(), Ends()))
    both = tuple(replace(p, of=e) for p, e in zip(plugin.FLOOR.predictions, [steps, other], strict=True))
    monkeypatch.setattr(plugin, "PAPER", replace(plugin.PAPER, claims=(replace(plugin.FLOOR, predictions=both),)))
    checked.run("check", "quadratic.floor", "--quick", "--workers", 1)
    rows = checked.run("table", "quadratic.floor", "--seeds-apart", "--json").json["rows"]
    columns = list(rows[0])
    assert [columns[0], *columns[-3:]] == ["experiment", "metric", "x", "value"]
    assert {(row["experiment"], row["which"]) for row in rows} == {("steps", None), ("more", None), ("more", 1)}
    assert {type(row["steps"]) for row in rows} == {int}


def test_table_writes_the_format_of_the_ending(checked):
    printed = checked.run("table", "quadratic.floor", "--csv").out
    assert checked.run("table", "quadratic.floor", "-o", "t.csv").out == ""
    assert (checked.folder / "t.csv").read_text() == printed
    checked.run("table", "quadratic.floor", "-o", "t.json")
    record = json.loads((checked.folder / "t.json").read_text())
    assert record == checked.run("table", "quadratic.floor", "--json").json
    assert record["constants"]["steps"] == {"noise": 1.0, "size": 1600, "steps": 200}


def test_reading_takes_the_largest_profile_that_is_stored_in_full(checked):
    assert "at the profile quick" in checked.run("table", "quadratic.floor").err
    checked.run("check", "quadratic.floor", "--workers", 1)
    call = checked.run("table", "quadratic.floor", "--json")
    assert "at the profile default" in call.err
    assert {row["n"] for row in call.json["rows"]} == {10}
    quick = checked.run("table", "quadratic.floor", "--quick", "--json")
    assert quick.err == ""
    assert {row["n"] for row in quick.json["rows"]} == {5}


def test_show_draws_and_prints_the_caption(checked):
    call = checked.run("show", "quadratic.floor", "-o", "floor.svg", "--venue", "icml")
    assert "5 seeds" in call.out
    assert b"<svg" in (checked.folder / "floor.svg").read_bytes()


def test_report_shows_what_is_stored_and_what_is_not_run(checked):
    call = checked.run("report", "-o", "found.html")
    assert call.out.strip() == "found.html"
    assert "profile quick: quadratic.floor, quadratic.any-step" in call.err
    page = (checked.folder / "found.html").read_text()
    assert "quadratic.any-step" in page and "REFUTED" in page
    assert "icl.pruning" in page and "NOT RUN" in page


def test_network_is_the_one_that_was_measured(checked):
    row = checked.run("table", "quadratic.floor", "--seeds-apart", "--json").json["rows"][7]
    checked.run("network", row["cell"][:12], "-o", "net.safetensors")
    with safe_open(checked.folder / "net.safetensors", "pt") as file:
        about, w_D = file.metadata(), file.get_tensor("w")
    # The measurement is the mean of these squares, so equality means the very same weights.
    assert w_D.square().mean().item() == row["value"]
    assert (about["cell"], about["steps"], about["status"]) == (row["cell"], "200", "ok")
    assert json.loads(about["spec"])["config"]["lr"] == row["lr"]
    assert about["citation"].startswith("@misc{example")


def test_network_stops_where_its_measures_stopped(checked, monkeypatch):
    plugin = sys.modules["noisy_quadratic"]
    monkeypatch.setattr(plugin.Distance, "steps", lambda self, config: (40, config.steps))
    monkeypatch.setattr(
        plugin.Distance,
        "finished",
        lambda self, snapshot, memory: [snapshot.step >= 40 for _ in snapshot.members],
    )
    args = ["quadratic.floor", "--quick", "--seeds", 1, "--set", "steps=120"]
    checked.run("check", *args, "--workers", 1)
    row = checked.run("table", *args, "--seeds-apart", "--json").json["rows"][0]
    checked.run("network", row["cell"], "-o", "net.safetensors")
    with safe_open(checked.folder / "net.safetensors", "pt") as file:
        assert file.metadata()["steps"] == "40"
        assert file.get_tensor("w").square().mean().item() == row["value"]


def test_network_refuses_a_cell_of_another_version(checked, monkeypatch):
    cell = checked.run("plan", "quadratic", "--quick", "--cells", "--json").json["cell_ids"][0]
    monkeypatch.setattr(sys.modules["noisy_quadratic"].NoisyQuadratic, "version", 2)
    assert "version 1" in checked.refuse("network", cell, "-o", "net.safetensors")


def test_cite_prints_each_entry_once_and_lemmata_itself(shell):
    out = shell.run("cite", "quadratic.floor", "quadratic.any-step", "quadratic").out
    assert out.count("@misc{example") == 1
    assert out.count("@software{lemmata") == 1


def test_doctor_examines_without_a_store_and_with_one(checked):
    found = checked.run("doctor", "--json").json
    assert (found["store"]["cells"], found["store"]["damaged"], found["problems"]) == (15, [], [])
    needy = ["editing.coloured-mnist", "editing.language", "vision.spurious-cifar"]
    needy += ["graph.distances", "graph.labels", "needy.floor"]
    assert [claim["id"] for claim in found["claims"]] == needy
    assert "torch" in found["packages"]
    assert {extra["name"] for extra in found["extras"]} >= {"docs", "test"}
    empty = checked.run("doctor", "--store", "none", "--json").json
    assert (empty["store"]["cells"], empty["store"]["exists"]) == (0, False)
    assert "LaTeX" in checked.run("doctor").out


def test_doctor_survives_a_bad_store(shell):
    (shell.folder / "store").write_text("a file")
    found = shell.run("doctor", "--store", "store", "--json").json
    assert "a file" in found["problems"][0]
    assert "PROBLEM" in shell.run("doctor", "--store", "store").out


def test_ctrl_c_in_this_process(shell, monkeypatch):
    calls = []

    def interrupted(cells, **how):
        calls.append(len(cells))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(cells, **how)

    args = ["quadratic.floor", "--quick", "--workers", 1]
    with monkeypatch.context() as patch:
        patch.setattr("lemmata.lab.work.measure", interrupted)
        call = shell("check", *args)
    assert (call.status, call.out) == (130, "")
    assert "the store keeps what was finished" in call.err
    assert shell.run("plan", *args, "--json").json["stored"] == calls[0]
    after = shell.run("check", *args, "--json").json["verdicts"]
    assert {each["cells_trained"] for each in after} == {15 - calls[0]}


def test_a_path_that_is_no_text_is_said_all_the_same(capsys):
    """A name on disk in another encoding than the terminal's."""
    say("wrote " + os.fsdecode(b"run-\xff.csv"))
    assert capsys.readouterr().err == "wrote run-?.csv\n"


def test_short_work_stays_quiet_and_long_work_says_how_far_it_is(monkeypatch, capsys):
    with Meter("cells") as meter:
        meter(3, 9, 100.0)
    assert capsys.readouterr().err == ""

    monkeypatch.setattr("lemmata.cli.progress.QUIET_SECONDS", 0.01)
    with Meter("cells") as meter:
        meter(3, 9, 100.0)
        time.sleep(0.2)
        meter(4, 9, 90.0, "a worker was killed")
    assert capsys.readouterr().err == "3 of 9 cells, about 2 minutes left\na worker was killed\n"

    monkeypatch.setattr("lemmata.cli.progress.SECONDS_BETWEEN_LINES", 0.0)
    with Meter("cells") as meter:
        meter(0, 9, None)
        meter(9, 9, 0.0)
    assert capsys.readouterr().err == "0 of 9 cells\n9 of 9 cells\n"


def test_a_terminal_has_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with Meter("cells") as meter:
        meter(3, 9, 100.0, "a worker was killed")
    shown = stderr.getvalue()
    assert "3/9" in shown and "about 2 minutes left" in shown and "a worker was killed" in shown


@contextmanager
def running(*args):
    """A call in a process of its own."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), OMP_NUM_THREADS="1")
    code = "import sys; from lemmata.cli import main; sys.exit(main())"
    line, pipe = [sys.executable, "-c", code, *map(str, args)], subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, env=environment, text=True) as process:
        yield process


def test_ctrl_c_in_a_terminal_stops_the_workers_too(shell):
    args = ["quadratic.floor", "--quick", "--set", "steps=2000", "--workers", 2]
    store = shell.folder / "lemmata-store"
    with running("check", *args) as process:
        deadline = time.monotonic() + 90
        while not list(store.rglob("*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "the store keeps what was finished" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert 0 < shell.run("plan", *args, "--json").json["stored"] < 15


def test_a_closed_pipe_is_silent(shell):
    with running("list", "--json") as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
