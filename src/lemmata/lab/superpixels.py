"""A graph with long distances that can be had everywhere: superpixels of a mosaic of CIFAR-10's images.

    node      a superpixel: pixels that are alike and near, by a few steps of k-means (SLIC)
    edge      between superpixels that touch
    feature   mean and spread of the three colours, and where it lies, each with mean 0 and variance 1
    label     the class of the image that most of its pixels lie in

Every pixel goes to the nearest of the nine centres around its place on a grid, by |colour - colour_c|^2 +
(COMPACT |place - place_c| / STEP)^2, and centres move to the mean of their pixels. Unlike the SLIC of others nothing
joins what is not connected. Images are put together in an order of their own, since the files' goes by class.

Source: Achanta et al. 2012, IEEE PAMI 34, 2274-2282; after PascalVOC-SP (arXiv 2206.08164).

Shapes: H rows and W columns of pixels, N superpixels, X pairs of pixels that touch.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemmata.lab.errors import DataError
from lemmata.lab.graphs import Graph, graph_of
from lemmata.lab.hops import Ints
from lemmata.lab.streams import stream

__all__ = ["segments", "superpixels"]

# Images of a side of the mosaic, pixels of a side of an image, and pixels between the first centres.
SIDE, PIXELS, STEP = 16, 32, 8
# How much nearness counts beside colours in [0, 1], and steps of k-means.
COMPACT, ROUNDS = 0.2, 5
UNPACK = "put CIFAR-10's test parquet file into cifar10 below the folder of --data"


def superpixels(folder: Path) -> Graph:
    """The graph of the mosaic of the first images in the test file of a folder.

    Raises:
        DataError: the file is not there, or not what it should be.
    """
    colour_HW3, class_HW = _mosaic(folder)
    segment_HW = segments(colour_HW3, STEP)
    N, flat = int(segment_HW.max()) + 1, segment_HW.ravel()
    pixels_N = np.bincount(flat, minlength=N)

    def mean(value_HW: NDArray) -> NDArray:
        return np.bincount(flat, value_HW.ravel(), minlength=N) / pixels_N

    place_HW = np.indices(segment_HW.shape) / len(segment_HW)
    means = [mean(colour_HW3[..., c]) for c in range(3)]
    spreads = [np.sqrt(mean((colour_HW3[..., c] - means[c][segment_HW]) ** 2)) for c in range(3)]
    feature_NC = np.stack([*means, *spreads, *(mean(each) for each in place_HW)], 1)
    feature_NC = (feature_NC - feature_NC.mean(0)) / feature_NC.std(0)
    # The class of most pixels of each.
    classes = int(class_HW.max()) + 1
    label_N = np.bincount(flat * classes + class_HW.ravel(), minlength=N * classes).reshape(N, -1).argmax(1)
    return graph_of(_touching(segment_HW), feature_NC, label_N, name="superpixels")


def segments(colour_HW3: NDArray[np.floating], step: int) -> Ints:
    """The number of the superpixel that each pixel belongs to, (H, W); `step` divides both sides.

    Raises:
        ZeroDivisionError: a step of 0.

    >>> two = np.repeat([[[0.0] * 3] * 4 + [[1.0] * 3] * 4], 4, 0)
    >>> segments(two, 4)[0].tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    H, W, _ = colour_HW3.shape
    rows, columns = H // step, W // step
    place_HW2 = np.moveaxis(np.indices((H, W)), 0, -1).astype(float)
    home_HW = (place_HW2[..., 0] // step * columns + place_HW2[..., 1] // step).astype(np.int64)
    pixel_HW5 = np.concatenate([colour_HW3, place_HW2 * (COMPACT / step)], -1)
    belongs_HW = home_HW
    for _ in range(ROUNDS):
        many_N = np.maximum(np.bincount(belongs_HW.ravel(), minlength=rows * columns), 1)
        sums = [np.bincount(belongs_HW.ravel(), pixel_HW5[..., c].ravel(), rows * columns) for c in range(5)]
        centre_N5 = np.stack(sums, 1) / many_N[:, None]
        best_HW = np.full((H, W), np.inf)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                row, column = home_HW // columns + down, home_HW % columns + right
                inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
                other_HW = np.where(inside, row * columns + column, home_HW)
                far_HW = ((pixel_HW5 - centre_N5[other_HW]) ** 2).sum(-1)
                nearer = far_HW < best_HW
                best_HW, belongs_HW = np.where(nearer, far_HW, best_HW), np.where(nearer, other_HW, belongs_HW)
    # Centres that no pixel went to leave no gap.
    return np.unique(belongs_HW, return_inverse=True)[1].reshape(H, W)


def _touching(segment_HW: Ints) -> Ints:
    """Pairs of superpixels that touch, each once, in both directions."""
    right = np.stack([segment_HW[:, :-1].ravel(), segment_HW[:, 1:].ravel()])
    below = np.stack([segment_HW[:-1].ravel(), segment_HW[1:].ravel()])
    pair_2X = np.concatenate([right, below], 1)
    pair_2X = pair_2X[:, pair_2X[0] != pair_2X[1]]
    return np.unique(np.concatenate([pair_2X, pair_2X[::-1]], 1), axis=1)


def _mosaic(folder: Path) -> tuple[NDArray[np.floating], Ints]:
    """Colours in [0, 1] and classes of all pixels, SIDE x SIDE images in an order of their own."""
    # Loaded here, since other graphs need no images.
    import pyarrow.parquet as pq
    from PIL import Image

    files = sorted(folder.glob("test-*.parquet"))
    if not files:
        raise DataError(f"a parquet file test-*.parquet in {folder}", "none", UNPACK)
    try:
        table = pq.read_table(files[0], columns=["img", "label"]).slice(0, SIDE * SIDE).to_pydict()
        images = [np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in table["img"]]
        image_NHW3, class_N = np.stack(images) / 255, np.array(table["label"])
        if image_NHW3.shape != (SIDE * SIDE, PIXELS, PIXELS, 3):
            raise ValueError(f"images {image_NHW3.shape}")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"CIFAR-10's columns img and label in {files[0]}", str(error), UNPACK) from error
    order_N = stream("lab.mosaic").permutation(SIDE * SIDE)
    grid = image_NHW3[order_N].reshape(SIDE, SIDE, PIXELS, PIXELS, 3).transpose(0, 2, 1, 3, 4)
    class_HW = class_N[order_N].reshape(SIDE, SIDE).repeat(PIXELS, 0).repeat(PIXELS, 1)
    return grid.reshape(SIDE * PIXELS, SIDE * PIXELS, 3), class_HW
