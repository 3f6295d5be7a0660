"""Labelled images of one's own, and how a model wants to see them.

    a folder     a subfolder for each class, with image files in it
    a parquet    a column of images (bytes, or a structure with bytes, as datasets writes it) and a column of labels

An image goes through what preprocessor_config.json says: resize, crop to the centre, scale, normalise. It is decoded
when it is used, so that only a batch is in memory as numbers.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from lemmata.lab.errors import DataError, InputError
from lemmata.lab.streams import stream
from lemmata.tools.checkpoint import Checkpoint, read_json

__all__ = ["BATCH", "Pictures", "Sight", "batches", "read_pictures", "sight_of", "split"]

# Images that go through a model at once.
BATCH = 16
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
USUAL = "copy preprocessor_config.json of the model again, or write these into it"
LAYOUT = "name a folder with a subfolder of images for each class, or a .parquet file with images and labels"


@final
@dataclass(frozen=True, eq=False)
class Pictures:
    """Labelled images: class names, the class of each, what each is called, and how to get the encoded one."""

    path: Path
    classes: tuple[str, ...]
    label_N: np.ndarray
    names: Sequence[str]
    encoded: Callable[[int], bytes]

    def image(self, i: int) -> Image.Image:
        """An image in colours.

        Raises:
            DataError: it cannot be decoded.
        """
        try:
            with Image.open(io.BytesIO(self.encoded(i))) as image:
                return image.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            # Pillow names the buffer by its address.
            said = re.sub(r" <.*?>", "", " ".join(str(error).split()))[:200]
            got = f"{self.names[i]} of {self.path}: {said}"
            raise DataError("an image that can be read", got, "take it out, or save it again") from error


@final
@dataclass(frozen=True, kw_only=True)
class Sight:
    """How a model sees an image.

    size: height and width to resize to, or one number, the shorter edge; None leaves it. crop: height and width to cut
    out of the centre. scale: what bytes are multiplied with, before mean and std.
    """

    size: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    resample: int = Image.Resampling.BICUBIC

    def framed(self, image: Image.Image, *, resample: int | None = None) -> Image.Image:
        """Resized and cropped."""
        if self.size is not None:
            width, height = image.size
            if isinstance(self.size, int):
                factor = self.size / min(width, height)
                # The longer edge is cut and not rounded, as transformers does it: a crop would shift.
                height, width = max(self.size, int(height * factor)), max(self.size, int(width * factor))
            else:
                height, width = self.size
            image = image.resize((width, height), Image.Resampling(self.resample if resample is None else resample))
        if self.crop is not None:
            height, width = self.crop
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        return image

    def pixels(self, image: Image.Image) -> Tensor:
        """What the model takes, (C, H, W)."""
        values_HWC = np.asarray(self.framed(image), np.float32) * np.float32(self.scale)
        values_HWC = (values_HWC - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return torch.from_numpy(values_HWC.transpose(2, 0, 1).copy())


def sight_of(start: Checkpoint) -> Sight:
    """What preprocessor_config.json or timm's pretrained_cfg says; without either its own size, from -1 to 1.

    Raises:
        DataError: it says nothing about the size, or something that cannot be read.
    """
    file = (start.folder or start.path) / "preprocessor_config.json"
    about: Mapping[str, Any] = read_json(file) if file.is_file() else {}
    of_timm = start.config.get("pretrained_cfg") or {}
    try:
        if not about and of_timm:
            side = _pair(of_timm["input_size"][1:])
            return _possible(
                Sight(size=side, crop=None, mean=_three(of_timm.get("mean")), std=_three(of_timm.get("std")))
            )
        crop = _pair(about["crop_size"]) if about.get("do_center_crop") else None
        size = about.get("size", start.config.get("image_size")) if about.get("do_resize", True) else None
        shorter = size.get("shortest_edge") if isinstance(size, dict) else size if crop and about else None
        return _possible(
            Sight(
                size=None if size is None else int(shorter) if isinstance(shorter, int) else _pair(size),
                crop=crop,
                mean=_three(about.get("image_mean") if about.get("do_normalize", True) else 0.0),
                std=_three(about.get("image_std") if about.get("do_normalize", True) else 1.0),
                scale=float(about.get("rescale_factor", 1 / 255)) if about.get("do_rescale", True) else 1.0,
                resample=Image.Resampling(about.get("resample", Image.Resampling.BICUBIC)),
            )
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        got = f"{file if about else start.path}: {type(error).__name__} {error}"
        raise DataError(
            "the size, mean and std of a model's images, as height and width or shortest_edge", got, USUAL
        ) from error


def _possible(sight: Sight) -> Sight:
    """Refuse what no image can be brought to."""
    lengths = [
        *((sight.size,) if isinstance(sight.size, int) else sight.size or ()),
        *(sight.crop or ()),
    ]
    numbers = (*sight.mean, *sight.std, sight.scale)
    if min(lengths, default=1) < 1:
        raise ValueError(f"a length of {min(lengths)}")
    if len(sight.mean) != 3 or len(sight.std) != 3 or not np.isfinite(numbers).all() or 0 in sight.std:
        raise ValueError(f"mean {sight.mean} and std {sight.std}")
    return sight


def read_pictures(path: Path | str) -> Pictures:
    """Look into a folder or a parquet file of labelled images.

    Raises:
        InputError: no such file or folder.
        DataError: no classes in it, no images, or no labels.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return _parquet(path)
    got = f"{path}, which {'is neither' if path.exists() else 'does not exist'}"
    raise InputError("images, in a folder or a .parquet file", got, LAYOUT)


def split(pictures: Pictures, limit: int, seed: int) -> tuple[list[int], list[int]]:
    """Which of at most `limit` images fit the probe, and which are held out: of every class about as many of each.

    Raises:
        DataError: fewer than two classes, or too few images to hold two of them out.
    """
    order = stream("tokens", seed).permutation(len(pictures.label_N))
    met: dict[int, int] = {}
    ranked: list[tuple[int, int]] = []
    for i in order:
        label = int(pictures.label_N[i])
        ranked.append((met.get(label, 0), int(i)))
        met[label] = met.get(label, 0) + 1
    chosen = sorted(ranked, key=lambda each: each[0])[:limit]
    fit, held = ([i for rank, i in chosen if rank % 2 == half] for half in (0, 1))
    if len(met) < 2:
        got = f"{len(met)} in {pictures.path}"
        raise DataError("images of two classes at least, to tell apart", got, LAYOUT)
    if len(held) < 2 or len({int(pictures.label_N[i]) for i in fit}) < 2:
        got = f"{len(chosen)} images of {len(met)} classes"
        raise DataError("two images at least of two classes, one to fit the probe", got, "take more images")
    return fit, held


def batches(pictures: Pictures, sight: Sight, which: Sequence[int]) -> Iterator[Tensor]:
    """The images in batches, as the model takes them."""
    for at in range(0, len(which), BATCH):
        part = which[at : at + BATCH]
        pixels = [sight.pixels(pictures.image(i)) for i in part]
        for i, image in zip(part, pixels, strict=True):
            if image.shape != pixels[0].shape:
                sizes = [
                    f"{name} of {tuple(of.shape[1:])}"
                    for name, of in ((pictures.names[part[0]], pixels[0]), (pictures.names[i], image))
                ]
                fix = "set do_center_crop and crop_size in preprocessor_config.json, or use images of one size"
                raise DataError("images of one size as the model sees them", " and ".join(sizes), fix)
        yield torch.stack(pixels)


def _folder(path: Path) -> Pictures:
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    files = [(file, c) for c, folder in enumerate(folders) for file in sorted(folder.rglob("*")) if _image(file)]
    if not files:
        inside = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))[:3]
        got = f"{path} with {', '.join(inside) or 'nothing'}"
        raise DataError("a subfolder of images for each class", got, LAYOUT)
    used = sorted({c for _, c in files})
    return Pictures(
        path,
        tuple(folders[c].name for c in used),
        np.array([used.index(c) for _, c in files]),
        [str(file.relative_to(path)) for file, _ in files],
        lambda i: files[i][0].read_bytes(),
    )


def _image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")


def _parquet(path: Path) -> Pictures:
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        got = f"{path}: {' '.join(str(error).split())[:200]}"
        raise DataError("a parquet file that can be read", got, "download or copy it again") from error
    images, labels = [], []
    for field in table.schema:
        inner = (
            {field.type.field(i).name for i in range(field.type.num_fields)} if pa.types.is_struct(field.type) else ()
        )
        if "bytes" in inner or pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            images.append(field.name)
        elif pa.types.is_integer(field.type) or pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            labels.append(field.name)
    labels = ["label"] if "label" in labels else labels
    if len(images) != 1 or len(labels) != 1:
        got = f"{path} with columns {', '.join(table.column_names)}"
        raise DataError("one column of images, and a column label", got, "rename or drop the others")
    values = table[labels[0]].to_pylist()
    if not values:
        raise DataError("images", f"{path}, which has no rows", "name a file with some")
    if None in values:
        raise DataError("a label of every image", f"{path}, where some or all lack one", "drop the images without one")
    known = sorted(set(values))
    column = table[images[0]]

    def encoded(i: int) -> bytes:
        value = column[i].as_py()
        found = value.get("bytes") if isinstance(value, dict) else value
        if not found:
            fix = "write the file with the bytes of its images, not their paths"
            raise DataError("an image in every row", f"row {i} of {path} without bytes", fix)
        return found

    names = _class_names(table.schema.metadata or {}, labels[0])
    return Pictures(
        path,
        tuple(names.get(value, str(value)) for value in known),
        np.searchsorted(known, values),
        [str(i) for i in range(len(values))],
        encoded,
    )


def _class_names(metadata: Mapping[bytes, bytes], column: str) -> dict[Any, str]:
    """What classes are called, where the file says so as datasets writes it."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
        return {i: str(name) for i, name in enumerate(names)}
    except (KeyError, ValueError, TypeError):
        return {}


def _pair(size: Any) -> tuple[int, int]:
    """Height and width, of a number, of two or of a dictionary."""
    if isinstance(size, dict):
        return int(size["height"]), int(size["width"])
    if isinstance(size, (list, tuple)):
        return int(size[0]), int(size[1])
    return int(size), int(size)


def _three(values: Any) -> tuple[float, ...]:
    """One number a channel; a half where nothing is said."""
    if values is None or isinstance(values, (int, float)):
        return (0.5 if values is None else float(values),) * 3
    return tuple(float(value) for value in values)
