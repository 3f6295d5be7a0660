"""The command line: one verb a function, which parses and calls.

    options.py   the options that verbs share
    about.py     list, cite, doctor, bench
    checking.py  plan, check: what is trained
    reading.py    table, show, report, network: what is read from the store
    examples.py  examples: how many demonstrations a prompt needs (matrices.py reads files, measured.py the store)
    edit.py      edit: task vectors added to a checkpoint, or subtracted (advice.py and edited.py say what came out)
    tokens.py    tokens: a vision transformer with fewer tokens (sparsity.py says what came out)
    neighbours.py  neighbours: which distances of a graph carry the label (hops.py says what came out)
    store.py     store: what it holds, whether that is right, joining and merging (`lemmata.lab.upkeep`)
    errors.py    how a call ends that cannot succeed

Nothing here imports torch before a verb needs it, so that `--help` is at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from lemmata.cli import about, checking, edit, examples, neighbours, reading, store, tokens
from lemmata.cli.errors import explain
from lemmata.cli.group import verbs
from lemmata.cli.output import say

__all__ = ["main"]

for _verb in (
    about.list_,
    checking.plan,
    checking.check,
    reading.table,
    reading.show,
    reading.report,
    reading.network,
    examples.examples,
    edit.edit,
    tokens.tokens,
    neighbours.neighbours,
    store.store,
    about.cite,
    about.doctor,
    about.bench,
):
    verbs.add_command(_verb)


def main(args: Sequence[str] | None = None) -> int:
    """Run one call (the process's own arguments if none are given) and return its exit status."""
    try:
        return verbs.main(args, prog_name="lemmata", standalone_mode=False) or 0
    except (Exception, KeyboardInterrupt) as error:
        status, message = explain(error)
        say(message)
        return status
