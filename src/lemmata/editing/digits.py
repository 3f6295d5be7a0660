"""Digits in two colours: images, who may see which of them, and the batches of a training step.

    symbol   meaning                                                                           shape
    pixel    brightness of an image of a digit, row by row, 0 to 1                             (N, I), I = side^2
    red      whether it is painted red, 1, or green, 0: its pixels fill one of two channels    (N,)
    c        colour cue of a task: an even digit is red with odds (1 + c) / 2, an odd one with (1 - c) / 2

So c = 0.9 is red with 0.95 on even and 0.05 on odd digits, c = 0 a colour that says nothing, c < 0 the opposite cue.

The digits of scikit-learn come with it: 1797 of 8 x 8 pixels. MNIST is read from its idx files below the data root,
padded from 28 to 32 pixels a side and averaged over squares of four, to 16 x 16. Every seed has a split of its own into
images to train on, to choose an edit by and to score it on, so that intervals over seeds are over images too. MNIST's
own test images are nobody's to train on or to choose by.

Shapes: N images, I pixels, S steps, E members, T tasks, B samples of a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.errors import DataError
from lemmata.lab.needs import data_root
from lemmata.lab.streams import stream

__all__ = ["DATASETS", "QUESTIONS", "Batch", "Images", "Question", "Split", "draw", "images", "red_odds", "split"]

DATASETS = ("digits", "mnist")
Question = Literal["digits", "parity", "colour"]
QUESTIONS: tuple[Question, ...] = ("digits", "parity", "colour")

# Images to train on, to choose by and to score on.
SIZES = {"digits": (1297, 250, 250), "mnist": (20000, 1000, 1000)}
MNIST = Path("mnist", "MNIST", "raw")
UNPACK = "put MNIST's idx files, unpacked, into mnist/MNIST/raw below the folder of --data"


@final
@dataclass(frozen=True)
class Images:
    """All images of a data set, pixel_NI and digit_N; those before `learn` may be trained on."""

    pixel_NI: Tensor
    digit_N: Tensor
    learn: int

    @property
    def side(self) -> int:
        """Pixels in a row."""
        return round(self.pixel_NI.shape[1] ** 0.5)


@final
@dataclass(frozen=True)
class Split:
    """Positions of one seed's images, no two alike."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@final
@dataclass(frozen=True)
class Batch:
    """Coloured digits for each member and task, and what is asked about them."""

    asks: Question
    pixel_ETBI: Tensor
    red_ETB: Tensor
    digit_ETB: Tensor

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        tensors = (self.pixel_ETBI, self.red_ETB, self.digit_ETB)
        return type(self)(self.asks, *(t.to(device) for t in tensors))

    @property
    def sign_ETB(self) -> Tensor:
        """The label of a question with two answers: +1 for even or red, -1 for odd or green."""
        return 2 * self.red_ETB - 1 if self.asks == "colour" else 1 - 2 * (self.digit_ETB % 2).to(self.red_ETB)


def images(dataset: str) -> Images:
    """A data set; read once in a process.

    Raises:
        DataError: MNIST is not below the data root, or its files are not what they should be.

    >>> images("digits").pixel_NI.shape
    torch.Size([1797, 64])
    """
    return _embedded() if dataset == "digits" else _mnist(data_root())


@functools.cache
def _embedded() -> Images:
    # Loaded here: a second of imports that other claims of this paper need not wait for.
    from sklearn.datasets import load_digits

    pixel_NI, digit_N = (np.asarray(part) for part in load_digits(return_X_y=True))
    brightness_NI = torch.from_numpy((pixel_NI / 16).astype(np.float32))
    return Images(brightness_NI, torch.from_numpy(digit_N.astype(np.int64)), len(digit_N))


@functools.cache
def _mnist(root: Path | None) -> Images:
    if root is None:
        raise DataError("MNIST's images", "no data folder", "pass --data DIR or set LEMMATA_DATA")
    parts = [_labelled(root / MNIST, part) for part in ("train", "t10k")]
    pixel_NI, digit_N = (np.concatenate(both) for both in zip(*parts, strict=True))
    return Images(torch.from_numpy(pixel_NI), torch.from_numpy(digit_N), len(parts[0][0]))


def _labelled(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, 256), made smaller, and the labels (N,) of one part of MNIST."""
    image_NHW = _idx(folder / f"{part}-images-idx3-ubyte", 3)
    label_N = _idx(folder / f"{part}-labels-idx1-ubyte", 1)
    if len(image_NHW) != len(label_N) or image_NHW.shape[1:] != (28, 28) or label_N.max() > 9:
        got = f"images {image_NHW.shape} and {len(label_N)} labels up to {label_N.max()}"
        raise DataError(f"as many images of 28 x 28 as labels of 0 to 9 in {folder}", got, UNPACK)
    padded_NHW = np.pad(image_NHW, ((0, 0), (2, 2), (2, 2)))
    small_NHW = padded_NHW.reshape(-1, 16, 2, 16, 2).mean((2, 4), dtype=np.float32) / np.float32(255)
    return small_NHW.reshape(len(small_NHW), -1), label_N.astype(np.int64)


def _idx(path: Path, axes: int) -> np.ndarray:
    """The bytes of an idx file: a magic number, a length an axis, and as many bytes as these say."""
    try:
        raw = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"a file of MNIST at {path}", error.strerror or "none", UNPACK) from error
    start = 4 + 4 * axes
    header = raw[:start].view(">u4") if len(raw) >= start else np.zeros(1, dtype=np.uint32)
    # 0x08 stands for unsigned bytes, the last digit for the number of axes.
    if header[0] != 0x0800 + axes:
        got = f"{len(raw)} bytes that begin with {header[0]:#06x}"
        raise DataError(f"an idx file of {axes} axes, which begins with {0x0800 + axes:#06x}, at {path}", got, UNPACK)
    shape = tuple(int(length) for length in header[1:])
    if len(raw) - start != np.prod(shape) or 0 in shape:
        raise DataError(f"{shape} bytes after the header of {path}", f"{len(raw) - start}", UNPACK)
    return raw[start:].reshape(shape)


def split(dataset: str, seed: int) -> Split:
    """The split of one seed.

    Raises:
        DataError: the data set has too few images, or is not there.

    >>> [len(part) for part in vars(split("digits", 0)).values()]
    [1297, 250, 250]
    """
    found, sizes = images(dataset), SIZES[dataset]
    rng, count = stream("editing.split", dataset, seed), len(found.digit_N)
    own_test = count - found.learn
    if found.learn < sum(sizes[:2]) or count < sum(sizes) or 0 < own_test < sizes[2]:
        raise DataError(f"images for parts of {sizes}", f"{found.learn} to learn from, {own_test} others", UNPACK)
    order_N = rng.permutation(found.learn)
    if own_test:
        order_N = np.concatenate([order_N[: sum(sizes[:2])], found.learn + rng.permutation(own_test)])
    return Split(*np.split(order_N[: sum(sizes)], np.cumsum(sizes[:2])))


def red_odds(cue: Tensor, digit: Tensor) -> Tensor:
    """The odds that a digit is red in a task with this colour cue; the two broadcast.

    >>> red_odds(torch.tensor(0.9), torch.tensor([4, 7]))
    tensor([0.9500, 0.0500])
    """
    return (1 + cue * (1 - 2 * (digit % 2))) / 2


def draw(
    rngs: Sequence[np.random.Generator],
    found: Images,
    pools: Sequence[np.ndarray],
    cue_ET: Tensor,
    *,
    asks: Question,
    steps: int,
    B: int,
) -> list[Batch]:
    """The batches of so many steps, for a member a generator: images of its pool with replacement, then their colours.

    >>> batch, = draw([np.random.default_rng(0)], images("digits"), [np.arange(9)], torch.zeros(1, 2),
    ...               asks="parity", steps=1, B=4)
    >>> batch.pixel_ETBI.shape, batch.sign_ETB.shape
    (torch.Size([1, 2, 4, 64]), torch.Size([1, 2, 4]))
    """
    shape = (steps, cue_ET.shape[1], B)
    where = [torch.from_numpy(pool[rng.integers(len(pool), size=shape)]) for rng, pool in zip(rngs, pools, strict=True)]
    odds = [torch.from_numpy(rng.random(shape, dtype=np.float32)) for rng in rngs]
    where_SETB, odds_SETB = torch.stack(where, 1), torch.stack(odds, 1)
    digit_SETB = found.digit_N[where_SETB]
    red_SETB = (odds_SETB < red_odds(cue_ET.unsqueeze(-1), digit_SETB)).float()
    return [Batch(asks, found.pixel_NI[where_SETB[s]], red_SETB[s], digit_SETB[s]) for s in range(steps)]
