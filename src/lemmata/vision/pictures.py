"""Real images with a border of patches from elsewhere, as tokens (after figure (v) of Li et al., arXiv 2302.06015).

    image     16 or 36 square patches, row by row: the label-relevant tokens
    border    b patches beside them, each a random crop of another image, of a kind that goes with the label +1 or -1
    rho       odds that the kind is that of the image's own label
    alpha_*   share of label-relevant tokens, 16 / (16 + b) or 36 / (36 + b)
    tint      a colour that images may have: +1, -1, or none

    digits    scikit-learn's digits of 2 to 9, 8 x 8, is it even?  borders: crops of zeros (even) and of ones
    cifar10   cars (+1) and trucks at 24 x 24,                     borders: crops of frogs (+1) and of ships

CIFAR-10 is read from its parquet files below the data root. Every seed has a split of its own into training and test
images, and borders of test images are crops of other images than those of training.

Shapes: N images, P patches of an image, C numbers of a patch.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.errors import DataError
from lemmata.lab.needs import data_root
from lemmata.lab.streams import stream

__all__ = ["DATASETS", "PATCH", "SIZES", "Pictures", "Pools", "patches", "pictures", "split", "tinted"]

DATASETS = ("digits", "cifar10")
# Pixels of a patch's side, and patches of an image's.
PATCH, SIDE = {"digits": 2, "cifar10": 4}, {"digits": 4, "cifar10": 6}
# Images to train on and to test on.
SIZES = {"digits": (1000, 400), "cifar10": (8000, 2000)}
# Crops of each kind that borders are drawn from.
CROPS = 4000
CIFAR = Path("cifar10")
UNPACK = "put CIFAR-10's train and test parquet files into cifar10 below the folder of --data"
# Cars and trucks, and the classes whose crops go with them.
CLASSES, BACKGROUNDS = (1, 9), (6, 8)


@final
class Pools(NamedTuple):
    """Crops of both kinds, those of label -1 first, of images to train on and of others: (2, CROPS, C) each."""

    training_2NC: Tensor
    test_2NC: Tensor


@final
@dataclass(frozen=True)
class Pictures:
    """All images of a data set as patches, patch_NPC, their labels label_N, +1 or -1, and the crops of borders."""

    patch_NPC: Tensor
    label_N: Tensor
    pools: Pools


def patches(pixel_NHWC: np.ndarray, p: int) -> np.ndarray:
    """Images as squares of p x p pixels, row by row, (N, P, p p C).

    >>> patches(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, 1].tolist()
    [2.0, 3.0, 6.0, 7.0]
    """
    N, H, W, C = pixel_NHWC.shape
    split_N = pixel_NHWC.reshape(N, H // p, p, W // p, p, C).transpose(0, 1, 3, 2, 4, 5)
    return split_N.reshape(N, -1, p * p * C)


def tinted(patch_XPC: Tensor, tint_X: Tensor) -> Tensor:
    """The same images in a colour: the last channel less, the first more, or the other way round."""
    channels = patch_XPC.unflatten(-1, (-1, 3))
    shift_3 = torch.tensor([1.0, 0.0, -1.0]).to(patch_XPC)
    shape = (*tint_X.shape, *[1] * (channels.dim() - tint_X.dim()))
    return (channels + 0.5 * tint_X.view(shape) * shift_3).flatten(-2)


def pictures(dataset: str) -> Pictures:
    """A data set; read once in a process.

    Raises:
        DataError: CIFAR-10 is not below the data root, or its files are not what they should be.

    >>> pictures("digits").patch_NPC.shape
    torch.Size([1437, 16, 12])
    """
    return _digits() if dataset == "digits" else _cifar(data_root())


@functools.cache
def _digits() -> Pictures:
    # Loaded here: a second of imports that other claims of this paper need not wait for.
    from sklearn.datasets import load_digits

    pixel_NI, digit_N = (np.asarray(part) for part in load_digits(return_X_y=True))
    grey_NHW = pixel_NI.reshape(-1, 8, 8) / 16 - 0.5
    image_NHWC = np.repeat(grey_NHW[..., None], 3, -1).astype(np.float32)
    asked = digit_N >= 2
    kinds = [image_NHWC[digit_N == digit] for digit in (1, 0)]
    pools = Pools(*(_crops("digits", part, [_half(kind, part) for kind in kinds]) for part in Pools._fields))
    return _pictures("digits", image_NHWC[asked], digit_N[asked] % 2 == 0, pools)


def _half(image_NHWC: np.ndarray, part: str) -> np.ndarray:
    middle = len(image_NHWC) // 2
    return image_NHWC[:middle] if part == Pools._fields[0] else image_NHWC[middle:]


@functools.cache
def _cifar(root: Path | None) -> Pictures:
    if root is None:
        raise DataError("CIFAR-10's images", "no data folder", "pass --data DIR or set LEMMATA_DATA")
    parts = [_read(root / CIFAR, part) for part in ("train", "test")]
    image_NHWC, class_N = (np.concatenate(both) for both in zip(*parts, strict=True))
    asked = np.isin(class_N, CLASSES)
    # Borders of test images are crops of the test file's.
    pools = Pools(
        *(
            _crops("cifar10", part, [image[label == kind] for kind in reversed(BACKGROUNDS)])
            for part, (image, label) in zip(Pools._fields, parts, strict=True)
        )
    )
    return _pictures("cifar10", image_NHWC[asked], class_N[asked] == CLASSES[0], pools)


def _pictures(dataset: str, image_NHWC: np.ndarray, positive_N: np.ndarray, pools: Pools) -> Pictures:
    label_N = np.where(positive_N, np.float32(1), np.float32(-1))
    return Pictures(torch.from_numpy(patches(image_NHWC, PATCH[dataset])), torch.from_numpy(label_N), pools)


def _crops(dataset: str, part: str, kinds: list[np.ndarray]) -> Tensor:
    """Random crops of the size of a patch, (2, CROPS, C)."""
    p, found = PATCH[dataset], []
    for kind, image_NHWC in enumerate(kinds):
        rng = stream("vision.crops", dataset, part, kind)
        which, (row, column) = (
            rng.integers(len(image_NHWC), size=CROPS),
            rng.integers(image_NHWC.shape[1] - p + 1, size=(2, CROPS)),
        )
        found.append(
            np.stack([image_NHWC[i, r : r + p, c : c + p].ravel() for i, r, c in zip(which, row, column, strict=True)])
        )
    return torch.from_numpy(np.stack(found))


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The needed classes' images of one file, at 24 x 24 and around 0, (N, 24, 24, 3), and their classes."""
    # Loaded here, since other claims of this paper read no images.
    import pyarrow.parquet as pq
    from PIL import Image

    files = sorted(folder.glob(f"{part}-*.parquet"))
    if not files:
        raise DataError(f"a parquet file {part}-*.parquet in {folder}", "none", UNPACK)
    try:
        table = pq.read_table(files[0], columns=["img", "label"]).to_pydict()
        wanted = [i for i, label in enumerate(table["label"]) if label in (*CLASSES, *BACKGROUNDS)]
        images = [Image.open(io.BytesIO(table["img"][i]["bytes"])) for i in wanted]
        pixel = np.stack([np.asarray(image.convert("RGB").resize((24, 24), Image.Resampling.BOX)) for image in images])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"CIFAR-10's columns img and label in {files[0]}", str(error), UNPACK) from error
    return (pixel / 255 - 0.47).astype(np.float32) * 2, np.array([table["label"][i] for i in wanted])


def split(dataset: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of one seed's images to train on and to test on, no two alike.

    >>> [len(part) for part in split("digits", 0)]
    [1000, 400]
    """
    train, test = SIZES[dataset]
    count = len(pictures(dataset).label_N)
    if count < train + test:
        raise DataError(f"{train + test} images", str(count), UNPACK)
    order_N = stream("vision.split", dataset, seed).permutation(count)
    return order_N[:train], order_N[train : train + test]
