"""What it takes to plan many cells: `python -m lemmata.bench.planning`, a process a size, a line of a table each."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lemmata import icl
from lemmata.bench.worker import rss_mb
from lemmata.icl.testing import ErrorCurve
from lemmata.lab.grid import Cell
from lemmata.lab.store import Store
from lemmata.lab.sweep import plan

__all__ = ["cells", "main"]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SEEDS = 100


def cells(count: int) -> Iterator[Cell]:
    """So many cells, of conditions that differ in alpha, SEEDS seeds each.

    >>> len({cell.id for cell in cells(150)})
    150
    """
    base, measures = icl.OneLayer(), (ErrorCurve(),)
    for i in range(count):
        yield Cell(base.replace({"alpha": 0.3 + 0.5 * (i // SEEDS) / max(1, count // SEEDS)}), i % SEEDS, measures)


def main() -> None:
    """Plan the sizes, or the one that is named."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("count", type=int, nargs="?")
    count = parser.parse_args().count
    if count is None:
        print("| cells | seconds | memory |\n|---|---|---|", flush=True)
        for size in SIZES:
            subprocess.run([sys.executable, "-m", "lemmata.bench.planning", str(size)], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        planned = plan(cells(count), Store(Path(folder, "store")), workers=2)
        seconds = time.perf_counter() - began
    assert planned.cells == count
    print(f"| {count} | {seconds:.2f} | {rss_mb():.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
