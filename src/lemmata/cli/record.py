"""Verdicts as a file, so that a later check can be held against them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lemmata.lab.errors import InputError

if TYPE_CHECKING:
    from lemmata.lab.check import Judgement

__all__ = ["differences", "read_record", "to_record"]


def to_record(judged: Sequence[Judgement]) -> dict[str, object]:
    """What `--record` writes: of each prediction, its verdict and no number that may wobble."""
    return {"verdicts": [{"id": j.id, "verdict": j.verdict.value} for j in judged]}


def read_record(path: Path) -> dict[str, str]:
    """The verdict of each prediction in a recorded file; what `check --json` prints will do as well.

    Raises:
        InputError: there is no such file, or it holds no verdicts.
    """
    fix = "write one with lemmata check --record"
    try:
        verdicts = json.loads(path.read_text(encoding="utf-8"))["verdicts"]
        return {str(each["id"]): str(each["verdict"]) for each in verdicts}
    except OSError as error:
        raise InputError("a file of recorded verdicts", f"{path}: {error.strerror}", fix) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("a file of recorded verdicts", f"{path}, which holds none", fix) from error


def differences(expected: Mapping[str, str], judged: Sequence[Judgement]) -> list[str]:
    """What came out otherwise, a line each; recorded claims that this call did not check are let be."""
    found = {j.id: j.verdict.value for j in judged}
    checked = {j.claim.id for j in judged}
    ids = [id for id in expected if id.partition("/")[0] in checked]
    return [
        f"{id}: expected {expected.get(id, 'nothing')}, got {found.get(id, 'nothing')}"
        for id in dict.fromkeys([*ids, *found])
        if expected.get(id) != found.get(id)
    ]
