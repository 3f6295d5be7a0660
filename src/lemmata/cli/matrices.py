"""Step matrices from CSV files, refused where they are none."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from lemmata.lab.errors import InputError

__all__ = ["read_matrices"]

FROM_0 = "(the first is row 0)"


def read_matrices(paths: Sequence[Path]) -> list[list[list[float]]]:
    """The matrices in these files; a message names the file in place of A_k, and a row as it is counted there.

    Raises:
        InputError: no such file, no numbers, no step matrix, or files of different sizes.
    """
    from lemmata.cot.theory import transitions
    from lemmata.show.words import count

    found = []
    for path in paths:
        rows = _numbers(path)
        widths = sorted({len(row) for row in rows})
        if widths != [len(rows)]:
            got = f"{count(len(rows), 'row')} of {' to '.join(map(str, widths))} numbers"
            raise InputError(f"{path}: a square matrix", got, "a row and a column for each state")
        try:
            transitions([rows])
        except InputError as error:
            got = f"{error.got} {FROM_0}" if error.got.startswith("row") else error.got
            raise InputError(error.expected.replace("A_1", str(path), 1), got, error.fix) from error
        found.append(rows)
    sizes = {len(rows) for rows in found}
    if len(sizes) > 1:
        got = ", ".join(f"{path} with {len(rows)}" for path, rows in zip(paths, found, strict=True))
        raise InputError("matrices of the same states in every step", got, "use all states in every file")
    return found


def _numbers(path: Path) -> list[list[float]]:
    """The rows of a CSV file of numbers."""
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line in csv.reader(file):
                if any(cell.strip() for cell in line):
                    rows.append([_number(path, len(rows), cell) for cell in line])
    except OSError as error:
        raise InputError("a file for --matrix", f"{path}: {error.strerror}", "name a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: a CSV file of numbers", "no text", "one row a state, as 0.6,0.4") from error
    if not rows:
        raise InputError(f"{path}: a CSV file of numbers", "an empty file", "one row a state, as 0.6,0.4")
    return rows


def _number(path: Path, row: int, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        fix = "one row a state, as 0.6,0.4, without a header"
        raise InputError(f"{path}: numbers between commas", f"row {row}: {cell!r} {FROM_0}", fix) from None
