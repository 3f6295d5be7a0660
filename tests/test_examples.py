"""How many demonstrations are needed: the tool against the theory, and the verb `examples` as a user calls it."""

import math
import shlex
from dataclasses import replace

import numpy as np
import pytest

from lemmata.cli.measured import of_networks
from lemmata.cot.answers import ErrorCurve
from lemmata.cot.claims.test_length import CLAIM, LENGTH, LENGTHS, NOISES
from lemmata.cot.theory import (
    condition_matrices,
    cot_examples,
    cot_examples_of,
    cot_length,
    icl_error,
    icl_examples,
    icl_examples_of,
    icl_length,
    outcome_rows,
    plain_examples,
    step_matrices,
    transitions,
)
from lemmata.cot.theory.examples import LONGEST as TRIED
from lemmata.cot.theory.mechanism import TRIALS as PLAYED
from lemmata.lab.claim import Options
from lemmata.lab.errors import DataError, InputError
from lemmata.lab.grid import CellResult, Profile
from lemmata.lab.store import Store
from lemmata.lab.trainee import Row
from lemmata.tools.examples import LONGEST, TRIALS, examples, examples_of

ISSUE = shlex.split("examples --alpha 0.8 --tau 0.5 --rho 0.8 --steps 3 --patterns 10 --split one --error 0.01")
A_1, A_2 = [[0.6, 0.4], [0.4, 0.6]], [[0.4, 0.6], [0.8, 0.2]]  # the paper's worked example
LOPSIDED = [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]]


# The tool


@pytest.mark.parametrize("alpha, tau, rho", [(0.8, 0.5, 0.8), (0.4, 0.7, 0.6), (1.0, 0.4, 0.5)])
def test_one_wrong_step_needs_what_the_theory_says(alpha, tau, rho):
    found = examples(alpha=alpha, tau=tau, rho=rho)
    assert found.with_steps == cot_examples(0.01, alpha, tau, rho)
    assert found.without_steps == plain_examples(0.01, alpha, tau, rho)
    assert found.without_steps and found.without_steps.value == icl_examples(0.01, alpha, tau, rho)
    assert [scaling.value for scaling in found.scaling_with] == pytest.approx(
        [cot_length(alpha, tau, rho), cot_length(alpha, tau)]
    )
    assert found.scaling_without and found.scaling_without.value == pytest.approx(icl_length(alpha, tau, rho))
    assert (found.condition_1, found.misled, found.limit, found.tasks) == (True, (), 0.0, 1)
    assert found.tau_o == pytest.approx((tau, tau)) and found.rho_o == pytest.approx((rho, rho))


def test_an_even_share_of_errors_is_played_in_the_same_tasks_with_and_without_steps():
    found = examples(split="even", error=0.02)
    assert found.with_steps == cot_examples(0.02, 0.8, 0.5, 0.8, split="even")
    assert found.without_steps == plain_examples(0.02, 0.8, 0.5, 0.8, split="even")
    row_TS = outcome_rows(0.5, 0.8, K=3, states=10, split="even")
    assert (found.tasks, found.satisfied, found.condition_1, found.limit) == (8000, 8000, True, 0)
    assert found.tau_o == (row_TS[:, 0].min(), row_TS[:, 0].max())
    # In the worst tasks all steps err towards the same wrong states.
    worst = transitions(step_matrices(0.5, 0.8, 3, 10, "even")).rho_o
    assert found.rho_o[0] == pytest.approx(worst, abs=0.05) and found.rho_o[1] > 0.8
    assert (found.transitions, found.misled, found.scaling_without) == (None, (), None)


def test_where_all_tasks_are_alike_an_even_split_is_exact_without_steps():
    assert examples(split="even", steps=1).without_steps == examples(steps=1).without_steps
    for alike in (
        examples(split="even", steps=1),
        examples(split="even", tau=1),
        examples(tau=0.729, rho=8 / 9, split="even", patterns=2),
    ):
        task, plain = alike.transitions, alike.without_steps
        assert task and plain and (alike.tasks, plain.n, plain.lo) == (1, 0, plain.hi)
        assert plain.value == pytest.approx(icl_examples_of(0.01, 0.8, task.product, task.path[:, -1]))
        assert alike.scaling_without and alike.scaling_without.value == pytest.approx(
            icl_length(0.8, task.tau_o, task.rho_o)
        )


def test_without_errors_both_need_the_same():
    found = examples(tau=1)
    assert found.without_steps and found.with_steps.value == pytest.approx(found.without_steps.value)
    assert found.scaling_with[0].value == pytest.approx(0.8**-2)


def test_given_matrices_need_what_the_theory_says():
    found = examples_of(step_matrices(0.5, 0.8, 3, 10, "one"), alpha=0.6)
    assert found.with_steps == cot_examples_of(0.01, 0.6, step_matrices(0.5, 0.8, 3, 10, "one"))
    assert found.without_steps and found.without_steps.value == pytest.approx(icl_examples(0.01, 0.6, 0.5, 0.8))
    with_condition = examples_of(condition_matrices(True), error=0.05)
    assert with_condition.condition_1 and with_condition.without_steps
    assert with_condition.with_steps.hi < with_condition.without_steps.value < math.inf


@pytest.mark.parametrize("matrices", [[A_1, A_2], condition_matrices(False), [LOPSIDED, LOPSIDED]])
def test_without_condition_1_the_limit_is_where_the_error_goes(matrices):
    found = examples_of(matrices, error=0.05)
    task = found.transitions
    assert task and not found.condition_1 and found.misled and found.scaling_without is None
    assert found.without_steps and found.without_steps.lo == math.inf
    assert found.limit == pytest.approx(icl_error(20_000, 0.8, task.product, task.path[:, -1]), abs=1e-3)
    wrong = task.product.argmax(1) != task.path[:, -1]
    assert found.misled == tuple(np.flatnonzero(wrong))


def test_a_draw_of_outcomes_fails_condition_1_by_half():
    swap_or_not = [[0.75, 0.25], [0.0, 1.0]]
    found = examples_of([swap_or_not, [[2 / 3, 1 / 3], [0.25, 0.75]]], error=0.1)
    assert found.transitions and found.without_steps and found.without_steps.value < math.inf
    np.testing.assert_allclose(found.transitions.product[0], [9 / 16, 7 / 16])
    tied = examples_of([swap_or_not, [[0.6, 0.4], [0.2, 0.8]]], error=0.1)
    assert tied.transitions and tied.without_steps and tied.without_steps.value == math.inf
    np.testing.assert_allclose(tied.transitions.product[0], [0.5, 0.5])
    assert (found.condition_1, found.misled) == (True, ())
    assert (tied.condition_1, tied.misled, tied.limit) == (False, (0,), 0.25)


def test_a_target_above_the_limit_is_reached_without_condition_1():
    worked_and_a_third_state = [np.pad(A, [(0, 1), (0, 1)]) + np.diag([0, 0, 1]) for A in (A_1, A_2)]
    found = examples_of(worked_and_a_third_state, error=0.5)
    assert (found.condition_1, found.misled, found.limit) == (False, (0,), pytest.approx(1 / 3))
    assert found.without_steps and found.without_steps.value < math.inf


def test_longer_prompts_than_are_tried():
    assert (LONGEST, TRIALS) == (TRIED, PLAYED)
    two = [[0.7072, 0.2928, 0], [0, 1, 0], [0, 0, 1]]  # B[0] is nearly even, and each step far from it
    assert examples_of([two, two], error=0.01).without_steps is None
    with pytest.raises(DataError, match="within 100,000 examples"):
        examples(rho=0.01)


@pytest.mark.parametrize("error", [0.01, 0.002])
def test_enough_trials_err_at_the_target(error):
    found = examples(split="even", error=error).with_steps
    assert found.n == max(8000, math.ceil(20 / error))
    assert found.lo < found.value < found.hi


def test_a_target_that_memory_cannot_resolve_is_refused_and_the_named_one_is_not(monkeypatch):
    with pytest.raises(InputError, match=r"at least 0\.00013 where several of 3 steps among 10 patterns err"):
        examples(split="even", error=0.0001)
    assert examples(error=0.0001).with_steps.n == 0
    monkeypatch.setattr("lemmata.tools.examples.COUNTS", 3 * 10**2 * 999)
    with pytest.raises(InputError, match=r"at least 0\.011 "):
        examples(split="even", error=0.01)
    assert examples(split="even", error=0.011).with_steps.n == 999
    monkeypatch.setattr("lemmata.tools.examples.COUNTS", 3 * 10**2 * 11)
    with pytest.raises(InputError, match="do not fit in memory"):
        examples(split="even", error=0.5)


@pytest.mark.parametrize("alpha", [0, -0.1, 1.1, math.nan])
def test_a_share_that_is_none(alpha):
    with pytest.raises(InputError, match="alpha in"):
        examples(alpha=alpha)


@pytest.mark.parametrize("error", [0, -1, math.nan, 1e-320, 0.9, math.inf])
def test_a_target_that_is_none(error):
    for split in ("one", "even"):
        with pytest.raises(InputError, match=r"target|error"):
            examples(error=error, split=split)


# The verb


@pytest.fixture
def worked(shell):
    """The worked example as files."""
    for name, matrix in (("A1.csv", A_1), ("A2.csv", A_2)):
        (shell.folder / name).write_text("".join(",".join(map(str, row)) + "\n" for row in matrix))
    return shell


def test_the_issues_command(shell):
    call = shell.run(*ISSUE)
    assert call.out.splitlines() == [
        "asked",
        "  alpha     0.8",
        "  tau       0.5",
        "  rho       0.8",
        "  steps     3",
        "  patterns  10",
        "  split     one",
        "  error     0.01",
        "with intermediate steps, until 0.01 of the steps are wrong",
        "  oracle    28 examples (exact)",
        "  theorem   scales as (alpha tau rho)^-2 = 9.766 (Theorem 2, slides of Feb 2025)",
        "            scales as (alpha tau)^-2 = 6.25 (Theorem 2, slides of Oct 2024)",
        "            constant not given by the theorem",
        "  measured  not in lemmata-store: lemmata check cot.test-length --quick measures it",
        "without, until 0.01 of the outcomes are wrong",
        "  oracle       31 examples (exact)",
        "  theorem      scales as (alpha tau_o rho_o)^-2 = 9.766 (Theorem 3, under Condition 1)",
        "               constant not given by the theorem",
        "  Condition 1  holds: tau_o = 0.5, rho_o = 0.8",
    ]
    assert (call.err, shell.files()) == ("", {})


def test_defaults_are_marked(shell):
    out = shell.run("examples").out
    assert out.replace(" (default)", "") == shell.run(*ISSUE).out
    assert out.count(" (default)") == 7
    some = shell.run("examples", "--tau", 0.5, "--split", "one", "--json").json
    assert some["defaults"] == ["alpha", "error", "patterns", "rho", "steps"]


def test_help_says_what_is_told_and_shows_how(shell):
    prose, _, calls = shell.run("examples", "--help").out.partition("\n    lemmata examples")
    assert "Condition 1" in prose and "oracle" in prose and "--matrix A2.csv" in calls


def test_an_even_split_has_intervals_and_says_that_tasks_differ(shell):
    lines = shell.run("examples", "--split", "even").out.splitlines()
    assert "  oracle    19 [18, 19] examples (95 % over 8000 trials of the mechanism)" in lines
    assert lines[-5:] == [
        "without, until 0.01 of the outcomes are wrong",
        "  oracle       38 [37, 41] examples (95 % over 8000 trials of the mechanism)",
        "  theorem      scales as (alpha tau_o rho_o)^-2, task by task (Theorem 3, under Condition 1)",
        "  Condition 1  holds in 8000 of 8000 tasks drawn: tau_o = 0.5 to 0.5636, rho_o = 0.3928 to 0.8038",
        "               the tasks differ in the wrong states to which each step leads",
    ]


@pytest.mark.parametrize("tau, rho, least", [(0.3, 0.62, 919), (0.22, 0.55, None)])
def test_where_tasks_fail_condition_1_no_number_may_be_enough(shell, tau, rho, least):
    call = ["examples", "--split", "even", "--tau", tau, "--rho", rho]
    without = shell.run(*call, "--json").json["without_steps"]
    fail = 8000 - without["satisfied"]
    assert (without["examples"], without["possible"], without["condition_1"]) == (None, False, False)
    assert (without["tasks"], without["limit"], without["misled"]) == (8000, pytest.approx(fail / 8000), [])
    assert without["rho_o"][0] < 0 < without["rho_o"][1] and without["scaling"] is None
    out = shell.run(*call).out
    assert f"never: the mean error tends to {fail / 8000:.4g}, as {fail} of 8000 tasks fail Condition 1\n" in out
    assert f"Condition 1  holds in {8000 - fail} of 8000 tasks drawn" in out
    assert (least is None) == ("95 % over 8000 trials: " not in out.partition("without")[2])
    assert least is None or f"95 % over 8000 trials: {least} examples or more" in out


def test_json_has_the_numbers_unrounded(shell):
    record = shell.run(*ISSUE, "--json").json
    found = examples()
    assert found.without_steps
    value = found.with_steps.value
    with_steps = record["with_steps"]
    assert (with_steps["examples"], with_steps["unrounded"], with_steps["interval"]) == (28, value, [value, value])
    without, plain = record["without_steps"], found.without_steps.value
    assert (without["examples"], without["unrounded"], without["interval"]) == (31, plain, [plain, plain])
    assert (without["trials"], without["tasks"], without["tau_o"]) == (0, 1, [0.5, 0.5])
    assert record["measured"]["networks"] == []
    assert record["asked"]["matrices"] == record["defaults"] == []


def test_the_worked_example_can_not_be_learned_from_plain_demonstrations(worked):
    out = worked.run("examples", "--matrix", "A1.csv", "--matrix", "A2.csv").out
    for line in (
        "  A_2       A2.csv",
        "  alpha     0.8 (default)",
        "  tau       0.36 (of the matrices)",
        "  steps     2 (of the matrices)",
        "  oracle       never: without Condition 1 the error tends to 0.5 (1 of 2 starts most likely end in a wrong "
        "outcome)",
        "  theorem      promises nothing without Condition 1",
        "  Condition 1  fails: tau_o = 0.56, rho_o = −0.2727",
        "               from state 0 the outcome is 0 with probability 0.56, and the true one, 1, with 0.44",
        "  measured  not measured: cot.test-length takes prescribed tau and rho, not given matrices",
    ):
        assert line in out.splitlines()
    record = worked.run("examples", "--matrix", "A1.csv", "--matrix", "A2.csv", "--json").json
    without = record["without_steps"]
    assert (without["examples"], without["unrounded"], without["possible"]) == (None, None, False)
    assert (without["misled"], without["limit"], without["scaling"]) == ([0], 0.5, None)
    assert record["defaults"] == ["alpha", "error"]
    assert record["with_steps"]["interval"][0] < 200 < record["with_steps"]["interval"][1]


def test_a_matrix_with_condition_1(worked):
    out = worked.run("examples", "--matrix", "A1.csv", "--alpha", 1).out
    plain = icl_examples_of(0.01, 1.0, A_1, [0, 1])
    assert f"oracle       {math.ceil(plain)} examples (exact)" in out and "Condition 1  holds" in out


def test_more_than_is_tried(shell):
    (shell.folder / "A.csv").write_text("0.7072, 0.2928, 0\r\n\r\n0, 1, 0\r\n0, 0, 1\r\n")
    out = shell.run("examples", "--matrix", "A.csv", "--matrix", "A.csv").out
    assert "more than 100\N{NARROW NO-BREAK SPACE}000 examples" in out
    without = shell.run("examples", "--matrix", "A.csv", "--matrix", "A.csv", "--json").json["without_steps"]
    assert (without["examples"], without["possible"], without["condition_1"]) == (None, True, True)


# What is refused

CALLS = {
    "constants that no matrix has": (
        ["--split", "even", "--rho", 0.5],
        ["rho in [0.741, 0.971] where tau = 0.5", "rho = 0.5", 'or split = "one"'],
    ),
    "a target of 0": (["--error", 0], ["a target error above 0", "got      0", "no number of demonstrations"]),
    "a target that needs no example": (["--error", 0.9], ["below 1 - 1/states = 0.9"]),
    "a share above 1": (["--alpha", 1.5], ["alpha in (0, 1]", "1.5"]),
    "tau above 1": (["--tau", 1.5], ["tau in (0, 1]"]),
    "a word for a number": (["--alpha", "most"], ["a number for --alpha", "most"]),
    "no number": (["--error", "nan"], ["a number for --error", "nan"]),
    "no step": (["--steps", 0], ["at least 1 for --steps"]),
    "one pattern": (["--patterns", 1], ["at least 2 for --patterns"]),
    "more patterns than fit": (["--patterns", 100_000], ["at most 2828 patterns with 3 steps"]),
    "no such split": (["--split", "evne"], ["did you mean even?"]),
    "too long a prompt": (["--rho", 0.01], ["within 100,000 examples"]),
    "constants beside matrices": (
        ["--matrix", "A1.csv", "--tau", 0.5, "--split", "one"],
        ["--matrix, or constants in its place", "--tau and --split"],
    ),
    "no such file": (["--matrix", "none.csv"], ["a file for --matrix", "none.csv: No such file"]),
    "a folder": (["--matrix", "."], ["a file for --matrix", "directory"]),
    "matrices of two sizes": (
        ["--matrix", "A1.csv", "--matrix", "three.csv"],
        ["the same states in every step", "A1.csv with 2, three.csv with 3"],
    ),
    "a store that is a file": (["--store", "A1.csv"], ["A1.csv, which is a file"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_refused(worked, name):
    (worked.folder / "three.csv").write_text("1,0,0\n0,1,0\n0,0,1\n")
    args, parts = CALLS[name]
    said = worked.refuse("examples", *args)
    assert [part for part in parts if part not in said] == []


FILES = {
    "rows that do not sum to 1": ("0.6,0.4\n0.5,0.6\n", ["A.csv: rows that sum to 1", "row 1: 1.1"]),
    "a negative entry": ("1.5,-0.5\n0.5,0.5\n", ["A.csv: probabilities", "row 0 holds -0.5"]),
    "no finite number": ("nan,0.4\n0.4,0.6\n", ["A.csv: probabilities", "row 0"]),
    "not square": ("0.6,0.4\n", ["A.csv: a square matrix", "1 row of 2 numbers"]),
    "rows of two lengths": ("0.6,0.4\n0.5,0.4,0.1\n", ["A.csv: a square matrix", "2 rows of 2 to 3 numbers"]),
    "one state": ("1\n", ["A.csv: a square matrix", "(1, 1)"]),
    "a header": ("a,b\n0.6,0.4\n0.4,0.6\n", ["A.csv: numbers between commas", "row 0: 'a'", "without a header"]),
    "other separators": ("0.6;0.4\n0.4;0.6\n", ["numbers between commas", "'0.6;0.4'"]),
    "an entry left out": ("0.6,0.4\n,1\n", ["numbers between commas", "row 1: ''"]),
    "two steps as likely": ("0.5,0.5\n0.4,0.6\n", ["A.csv: a single largest entry", "row 0: two of 0.5"]),
    "nothing": ("\n\n", ["A.csv: a CSV file of numbers", "an empty file"]),
    "no text": (b"\xff\xfe\x00\x01", ["A.csv: a CSV file of numbers", "no text"]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_holds_no_step_matrix_is_refused(worked, name):
    content, parts = FILES[name]
    (worked.folder / "A.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    said = worked.refuse("examples", "--matrix", "A1.csv", "--matrix", "A.csv")
    assert [part for part in parts if part not in said] == []


# What the store has measured


def curve(needed: float) -> list[float]:
    """Errors that fall to 0.01 at this number of examples."""
    return [0.01 * (needed / l) ** 4 for l in LENGTHS]


def write_store(folder, needed, *, profile: Profile = "quick", seeds=None):
    """A store with the cells of cot.test-length whose errors come to the target at needed(test, seed)."""
    cells = CLAIM.cells(Options(profile=profile, seeds=seeds))[LENGTH.name, None]
    results = []
    for cell in cells:
        tests = [test for m in cell.measures if isinstance(m, ErrorCurve) for test in m.tests()]
        rows = [
            Row("cot_error", float(l), error, ErrorCurve._at(test))
            for test in tests
            for l, error in zip(LENGTHS, curve(needed(test, cell.seed)), strict=True)
        ]
        results.append(CellResult(cell, "ok", tuple(rows)))
    Store(folder).write(results, seconds=1.0, provenance={})
    return Store(folder).read(cells)


def at_30(test, seed):
    """30 and 40 examples under the two kinds of noise, with a spread over seeds; more with every other condition."""
    others = 1 + 10 * abs(test.alpha - 0.8) + 20 * abs(test.tau - 0.5) + 30 * abs(test.rho - 0.8)
    return (30 if test.noise_law == "norm" else 40) * others * 1.01 ** (seed - 2)


def test_what_networks_needed_is_read_from_the_store(shell):
    write_store(shell.folder / "lemmata-store", at_30)
    before = shell.files()
    record = shell.run(*ISSUE, "--json").json["measured"]
    assert (record["profile"], record["remark"]) == ("quick", "")
    assert [network["noise"] for network in record["networks"]] == list(NOISES.values())
    for network, expected in zip(record["networks"], (30, 40), strict=True):
        assert network["unrounded"] == pytest.approx(expected) and network["seeds"] == 5
        assert network["interval"][0] < expected < network["interval"][1]
        assert network["objections"] == []
    assert "30 [30, 31] examples (95 % over 5 seeds, profile quick), noise of norm 0.2" in shell.run("examples").out
    other = shell.run("examples", "--tau", "0.7", "--json").json["measured"]["networks"]
    assert other[0]["unrounded"] == pytest.approx(150)
    assert shell.files() == before


def test_the_largest_profile_is_read(shell):
    write_store(shell.folder / "s", at_30)
    write_store(shell.folder / "s", at_30, profile="default")
    record = shell.run("examples", "--store", "s", "--json").json["measured"]
    assert record["profile"] == "default" and record["networks"][0]["seeds"] == 10


@pytest.mark.parametrize("out_of_reach", [3.0, 1000.0])
def test_networks_without_a_number_are_told(shell, out_of_reach):
    write_store(shell.folder / "lemmata-store", lambda test, seed: out_of_reach if seed < 2 else 30)
    told = "noise of norm 0.2: 2 of 5 networks do not cross the error between 5 and 320"
    assert told in shell.run("examples").out
    network = shell.run("examples", "--json").json["measured"]["networks"][0]
    assert (network["examples"], network["unrounded"], network["interval"]) == (None, None, [None, None])
    assert network["objections"] == [told.partition(": ")[2]]


def test_one_seed_has_no_interval(tmp_path):
    frame = write_store(tmp_path / "store", at_30, seeds=1)
    first = of_networks(frame, (0.8, 0.5, 0.8))[0]
    assert (first.needed.n, first.needed.hi) == (1, math.inf)
    assert first.needed.objections == ("one seed has no interval",)


@pytest.mark.parametrize(
    "args",
    [["--alpha", 0.7], ["--alpha", 0.6, "--tau", 0.6], ["--split", "even"], ["--error", 0.02], ["--steps", 2]],
    ids=str,
)
def test_a_condition_that_nobody_measures(shell, args):
    write_store(shell.folder / "lemmata-store", at_30)
    record = shell.run("examples", *args, "--json").json["measured"]
    assert record["networks"] == [] and record["profile"] is None
    assert record["remark"].startswith("not measured at this condition: cot.test-length takes alpha of 0.3, 0.4,")
    assert "one at a time around alpha = 0.8, tau = 0.5, rho = 0.8, with split one" in record["remark"]


def test_the_command_that_measures_names_the_store(shell):
    record = shell.run("examples", "--store", "my store", "--json").json["measured"]
    assert record["remark"] == ("not in my store: lemmata check cot.test-length --quick --store 'my store' measures it")
    assert shell.files() == {}


def test_a_store_in_part_is_not_enough(shell):
    cells = CLAIM.cells(Options(profile="quick"))[LENGTH.name, None]
    part = [CellResult(replace(cells[0]), "ok", (Row("cot_error", 5.0, 0.1),))]
    Store(shell.folder / "lemmata-store").write(part, seconds=1.0, provenance={})
    assert "not in lemmata-store" in shell.run("examples").out
