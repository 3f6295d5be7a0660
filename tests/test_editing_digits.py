"""Coloured digits: what is read, who may see which image, and what a batch holds."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lemmata.editing import digits
from lemmata.editing.digits import Batch, draw, images, red_odds, split
from lemmata.lab.errors import DataError

EVEN, ODD = torch.tensor([0, 2, 4, 6, 8]), torch.tensor([1, 3, 5, 7, 9])


# Images


def test_the_embedded_digits_are_scikit_learns() -> None:
    found = images("digits")
    image_NI, digit_N = (np.asarray(part) for part in load_digits(return_X_y=True))
    assert found.side == 8 and found.learn == 1797
    assert np.array_equal(found.pixel_NI.numpy().reshape(-1, 64), image_NI / 16)
    assert np.array_equal(found.digit_N.numpy(), digit_N)
    assert float(found.pixel_NI.min()) == 0 and float(found.pixel_NI.max()) == 1


def idx(array: np.ndarray, *, magic: int | None = None) -> bytes:
    """An idx file of unsigned bytes."""
    header = struct.pack(f">I{array.ndim}I", magic or 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def written(root: Path, learn: int = 30, test: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A small MNIST below a data root, and what is in it: images and labels of both parts."""
    rng, folder = np.random.default_rng(0), root / "mnist" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    image_NHW = rng.integers(0, 256, (learn + test, 28, 28))
    label_N = rng.integers(0, 10, learn + test)
    for part, here in (("train", slice(learn)), ("t10k", slice(learn, None))):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(image_NHW[here]))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(label_N[here]))
    return image_NHW, label_N


def test_mnist_is_padded_and_averaged_over_squares(tmp_path, monkeypatch) -> None:
    image_NHW, label_N = written(tmp_path)
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path))
    found = images("mnist")
    assert found.side == 16 and found.learn == 30
    assert np.array_equal(found.digit_N.numpy(), label_N)
    small_NHW = found.pixel_NI.numpy().reshape(-1, 16, 16)
    # Two pixels are added on every side, so that square (1 + i, 1 + j) begins at pixel (2 i, 2 j).
    for i, j in ((0, 0), (3, 7), (13, 13)):
        square_N = image_NHW[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) / 255
        assert small_NHW[:, 1 + i, 1 + j] == pytest.approx(square_N, abs=1e-6)
    assert not small_NHW[:, [0, 15]].any() and not small_NHW[:, :, [0, 15]].any()


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("train-images-idx3-ubyte", None, "No such file"),
        ("train-images-idx3-ubyte", b"", "0 bytes"),
        ("train-labels-idx1-ubyte", idx(np.zeros(30), magic=0x0803), "0x0803"),
        ("t10k-images-idx3-ubyte", idx(np.zeros((12, 28, 28)))[:-1], "9407"),
        ("t10k-images-idx3-ubyte", idx(np.zeros((12, 28, 28))) + b"1", "9409"),
        ("t10k-images-idx3-ubyte", idx(np.zeros((12, 28, 27))), "27"),
        ("t10k-labels-idx1-ubyte", idx(np.zeros(11)), "11 labels"),
        ("t10k-labels-idx1-ubyte", idx(np.full(12, 10)), "up to 10"),
        ("t10k-labels-idx1-ubyte", idx(np.zeros(0)), "0"),
    ],
)
def test_files_that_are_not_mnist_are_refused(tmp_path, monkeypatch, name, content, got) -> None:
    written(tmp_path)
    path = tmp_path / "mnist" / "MNIST" / "raw" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path))
    with pytest.raises(DataError) as refused:
        images("mnist")
    assert got in refused.value.got and "mnist/MNIST/raw" in refused.value.fix


def test_mnist_without_a_data_folder_is_refused(monkeypatch) -> None:
    monkeypatch.delenv("LEMMATA_DATA", raising=False)
    with pytest.raises(DataError, match="pass --data DIR"):
        images("mnist")


def test_mnist_itself_has_the_counts_and_the_mean_that_are_known_of_it() -> None:
    if not os.environ.get("LEMMATA_DATA") or not (Path(os.environ["LEMMATA_DATA"]) / "mnist").is_dir():
        pytest.skip("needs LEMMATA_DATA with mnist below it")
    found = images("mnist")
    assert (len(found.digit_N), found.learn) == (70000, 60000)
    assert found.digit_N[:60000].bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert float(found.pixel_NI[:60000].mean()) * 32**2 / 28**2 == pytest.approx(0.1307, abs=1e-4)


# Splits


def parts(dataset: str, seed: int) -> list[np.ndarray]:
    found = split(dataset, seed)
    return [found.training, found.validation, found.test]


@pytest.mark.parametrize("seed", [0, 1, 1000])
def test_no_image_is_in_two_parts(seed: int) -> None:
    every = np.concatenate(parts("digits", seed))
    assert len(np.unique(every)) == len(every) == 1797
    assert [len(part) for part in parts("digits", seed)] == [1297, 250, 250]
    again = parts("digits", seed)
    assert all(np.array_equal(a, b) for a, b in zip(again, parts("digits", seed), strict=True))


def test_every_seed_has_its_own_split() -> None:
    test_sets = [set(split("digits", seed).test.tolist()) for seed in range(4)]
    assert max(len(a & b) for i, a in enumerate(test_sets) for b in test_sets[:i]) < 100


def test_mnists_own_test_images_are_only_scored_on(tmp_path, monkeypatch) -> None:
    written(tmp_path)
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path))
    monkeypatch.setitem(digits.SIZES, "mnist", (20, 10, 12))
    training, validation, test = parts("mnist", 0)
    assert sorted([*training, *validation]) == list(range(30)) and sorted(test) == list(range(30, 42))
    for sizes in ((25, 10, 7), (15, 10, 13), (20, 10, 13)):
        monkeypatch.setitem(digits.SIZES, "mnist", sizes)
        with pytest.raises(DataError, match="30 to learn from, 12 others"):
            split("mnist", 0)


# Colours and batches


@pytest.mark.parametrize(("cue", "even", "odd"), [(0.9, 0.95, 0.05), (0.0, 0.5, 0.5), (-0.9, 0.05, 0.95), (1, 1, 0)])
def test_the_colour_cue_is_the_odds_of_red(cue: float, even: float, odd: float) -> None:
    assert red_odds(torch.tensor(cue), EVEN).tolist() == pytest.approx([even] * 5)
    assert red_odds(torch.tensor(cue), ODD).tolist() == pytest.approx([odd] * 5)


def some(cue_ET: torch.Tensor, seeds=(0, 1), B: int = 400, steps: int = 8, pools=None) -> list[Batch]:
    pools = pools or [split("digits", seed).training for seed in seeds]
    rngs = [np.random.default_rng(seed) for seed in seeds]
    return draw(rngs, images("digits"), pools, cue_ET, asks="parity", steps=steps, B=B)


def test_drawn_colours_have_these_odds_in_each_member_and_task() -> None:
    cue_ET = torch.tensor([[0.9, -0.9, 0.0], [0.7, 0.2, 1.0]])
    batches = some(cue_ET)
    red_ETX = torch.cat([b.red_ETB for b in batches], -1)
    digit_ETX = torch.cat([b.digit_ETB for b in batches], -1)
    for even in (True, False):
        here_ETX = (digit_ETX % 2 == 0) == even
        share_ET = (red_ETX * here_ETX).sum(-1) / here_ETX.sum(-1)
        expected_ET = (1 + cue_ET * (1 if even else -1)) / 2
        # Half of 3200 samples: four standard deviations are 0.05.
        assert (share_ET - expected_ET).abs().max() < 0.05
        assert torch.equal(share_ET[1, 2], expected_ET[1, 2])
    assert red_ETX.unique().tolist() == [0.0, 1.0]


def test_images_come_from_the_pool_with_their_own_digits() -> None:
    pools = [np.array([3, 5, 8]), np.array([100, 200])]
    for batch in some(torch.zeros(2, 3), B=16, pools=pools):
        for e, pool in enumerate(pools):
            pixel_XI, digit_X = images("digits").pixel_NI[pool], images("digits").digit_N[pool]
            for pixel_I, digit in zip(batch.pixel_ETBI[e].flatten(0, 1), batch.digit_ETB[e].flatten(), strict=True):
                (at,) = torch.nonzero((pixel_XI == pixel_I).all(1)).flatten().tolist()
                assert digit_X[at] == digit


def test_steps_tasks_and_members_have_draws_of_their_own_which_company_does_not_change() -> None:
    together, alone = some(torch.zeros(2, 2)), some(torch.zeros(1, 2), seeds=(1,))
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a.pixel_ETBI[1], b.pixel_ETBI[0]) and torch.equal(a.red_ETB[1], b.red_ETB[0])
    first, second = together[:2]
    assert not torch.equal(first.digit_ETB[0, 0], first.digit_ETB[0, 1])
    assert not torch.equal(first.digit_ETB[0], first.digit_ETB[1])
    assert not torch.equal(first.digit_ETB, second.digit_ETB)


def test_what_is_asked_decides_the_sign() -> None:
    digit_ETB, red_ETB = torch.tensor([[[0, 1, 4, 7]]]), torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    pixel_ETBI = torch.zeros(1, 1, 4, 64)
    assert Batch("parity", pixel_ETBI, red_ETB, digit_ETB).sign_ETB.tolist() == [[[1, -1, 1, -1]]]
    assert Batch("colour", pixel_ETBI, red_ETB, digit_ETB).sign_ETB.tolist() == [[[-1, -1, 1, 1]]]
