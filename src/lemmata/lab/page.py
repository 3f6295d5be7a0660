"""Tables of a page that a command rewrites, each between two comments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lemmata.lab.errors import InputError
from lemmata.lab.files import write_whole

__all__ = ["check_marks", "rewrite"]


def check_marks(page: Path, names: Sequence[str]) -> str:
    """The text of a page that has the comments `NAME` and `end of NAME` for each name.

    Raises:
        InputError: it lacks some.
    """
    text = page.read_text(encoding="utf-8")
    for name in names:
        if not all(mark in text for mark in _marks(name)):
            raise InputError("a page with the marks of each table", f"{page} without those of {name}", "put them back")
    return text


def rewrite(page: Path, tables: Mapping[str, str]) -> None:
    """Put each table between the two comments of its name, and nothing if one is missing.

    Raises:
        InputError: the page lacks marks.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     page = Path(folder, "page.md")
    ...     _ = page.write_text("<!-- a -->old<!-- end of a -->.")
    ...     rewrite(page, {"a": "new"})
    ...     page.read_text().split()
    ['<!--', 'a', '-->', 'new', '<!--', 'end', 'of', 'a', '-->.']
    """
    text = check_marks(page, list(tables))
    for name, table in tables.items():
        begin, end = _marks(name)
        # Markdown knows a table only by the empty line before it.
        text = f"{text.partition(begin)[0]}{begin}\n\n{table}\n\n{end}{text.partition(end)[2]}"
    write_whole(page, text.encode())


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- end of {name} -->"
