"""Novels as a language model reads them: plain text, windows of tokens, and which of them are trained on.

Two authors below the data root, in books/: one novel by Jane Austen, three by Arthur Conan Doyle. A result is stored
under the name of a book, so that a file with other words in it is refused: it would answer for the known one.

What the editions do differently says nothing about their authors, and would tell a model the books apart at once: one
has straight quotes and the others curly ones, some mark italics, and lines end where the page did. `plain` undoes it.

Every seed has its own windows to train on, `seen`, and as many again that training never meets, so that intervals over
seeds are over passages too.

Shapes: N windows, L tokens of a window, S steps, E members, B windows of a batch.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.errors import DataError, InputError
from lemmata.lab.needs import data_root
from lemmata.lab.streams import stream

__all__ = ["BOOKS", "DIGESTS", "Passages", "draw", "passages", "plain", "root", "text", "windows"]

BOOKS = (
    "austen-pride_and_prejudice",
    "doyle-adventures_of_sherlock_holmes",
    "doyle-hound_of_the_baskervilles",
    "doyle-memoirs_of_sherlock_holmes",
)
# SHA-256 of each file.
DIGESTS = {
    "austen-pride_and_prejudice": "d02c06ecdee0120842aa1274288a07fe68d5316d1e8285853eaf4fc65a0b39a0",
    "doyle-adventures_of_sherlock_holmes": "369b44ac9865a7dd3c06eb27212002653a7ae92422aaeb5f8b15fe9f429fbf8e",
    "doyle-hound_of_the_baskervilles": "d77d470b28ae655ce9de81bc18989b7dbc8a99f388834ea8946f67e58b4fb839",
    "doyle-memoirs_of_sherlock_holmes": "44012494c2a3c63692342bead1c66840f0107479c5d563c48bcd18952b8c969c",
}
QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "_": None})


@final
@dataclass(frozen=True)
class Passages:
    """Windows of one book and seed, (N, L) each, no two alike: those trained on, and as many kept from training."""

    seen_NL: Tensor
    unseen_NL: Tensor


def root() -> Path:
    """The folder of local data.

    Raises:
        DataError: none was named.
    """
    found = data_root()
    if found is None:
        raise DataError("a folder of local data", "none", "pass --data DIR or set LEMMATA_DATA")
    return found


def text(book: str) -> str:
    """A book of BOOKS as `plain` has it; read once in a process.

    Raises:
        DataError: it is not below the data root, or its words are not those that results are stored for.
    """
    return _text(root() / "books" / f"{book}.txt", DIGESTS[book])


@functools.cache
def _text(path: Path, digest: str) -> str:
    fix = "put the books of Project Gutenberg as GITenberg has them into books/ below the folder of --data"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"a book at {path}", error.strerror or "none", fix) from error
    found = hashlib.sha256(raw).hexdigest()
    if found != digest:
        raise DataError(f"the text with SHA-256 {digest} at {path}", found, fix)
    return plain(raw.decode("utf-8"))


def plain(raw: str) -> str:
    r"""A text in ASCII with straight quotes, without marks of italics, a line a paragraph.

    >>> plain("“It’s\n_très_ easy,”\n\n\nsaid she.\n")
    '"It\'s tres easy,"\nsaid she.'
    """
    letters = unicodedata.normalize("NFKD", raw.translate(QUOTES)).encode("ascii", "ignore").decode()
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", letters))
    return "\n".join(paragraph for paragraph in paragraphs if paragraph)


def windows(tokens: Sequence[int], length: int) -> Tensor:
    """A text cut into windows of so many tokens, (N, L); the rest at its end is left out.

    >>> windows([5, 6, 7, 8, 9], 2).tolist()
    [[5, 6], [7, 8]]
    """
    count = len(tokens) // length
    return torch.tensor(tokens[: count * length], dtype=torch.long).view(count, length)


def passages(window_NL: Tensor, seen: int, *axes: str | int) -> Passages:
    """So many windows to train on and as many others, drawn from those of a book; `axes` name book and seed.

    Raises:
        InputError: the book is too short for both.

    >>> parts = passages(torch.arange(8).view(8, 1), 3, "a book", 0)
    >>> len({*parts.seen_NL.flatten().tolist(), *parts.unseen_NL.flatten().tolist()})
    6
    """
    count = len(window_NL)
    if count < 2 * seen:
        fix = f"lower seen to at most {count // 2}, or window"
        raise InputError(f"a book of at least {2 * seen} windows", f"{count}", fix)
    order_N = torch.from_numpy(stream("editing.passages", *axes).permutation(count))
    return Passages(window_NL[order_N[:seen]], window_NL[order_N[seen : 2 * seen]])


def draw(rng: np.random.Generator, pools: Sequence[Tensor], *, steps: int, B: int) -> Tensor:
    """The windows of so many steps, with replacement: the rows of a batch go round the pools, batch_SBL.

    >>> draw(np.random.default_rng(0), [torch.zeros(4, 2), torch.ones(4, 2)], steps=1, B=4)[0, :, 0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    position_SB = rng.random((steps, B))
    batch_SBL = torch.stack([pools[0][:1].expand(steps, -1)] * B, 1)
    for b in range(B):
        pool_NL = pools[b % len(pools)]
        batch_SBL[:, b] = pool_NL[torch.from_numpy((position_SB[:, b] * len(pool_NL)).astype(np.int64))]
    return batch_SBL
