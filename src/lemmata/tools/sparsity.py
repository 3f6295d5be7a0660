"""What it costs and what it saves to take tokens away from a model: speed, accuracy, and the theorem's condition.

    symbol   meaning
    keep     share of the patch tokens that go on after the layer
    drop     accuracy of a linear probe with all tokens, less that with fewer, on held-out images
    m        share of the attention on patches that goes to relevant ones (lemmata.tools.relevance)

Half of the images fit the probe, the other half is held out. What is advised comes from the first half, and what is
said of it from the other.

Source: arXiv 2302.06015.
"""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from lemmata.lab.errors import DataError, InputError
from lemmata.lab.stats import Estimate, mean_t
from lemmata.tools.layers import Bound, bind
from lemmata.tools.pictures import BATCH, Pictures, Sight, batches, split
from lemmata.tools.probe import Probe, drop, fitted, observe
from lemmata.tools.relevance import needed_share, relevance, relevant
from lemmata.tools.speed import ROUNDS, Speed, speed
from lemmata.tools.tokens import Policy, default_layer, kept, sparsified

if TYPE_CHECKING:
    from lemmata.lab.sweep import Progress

__all__ = ["MASS", "Advised", "Condition", "Measured", "masks", "measure"]

# Of the attention on patches, which the patches that are kept have to carry to be advised.
MASS = 0.95
# Images of which every patch is removed in turn.
LOOKED_AT = 8
# Shares of patches at which the curve of attention is told.
SHARES = tuple(round(0.1 * i, 1) for i in range(1, 11))


@final
@dataclass(frozen=True, kw_only=True)
class Condition:
    """Whether attention goes to relevant tokens.

    by_removal: what is relevant was measured, by removal after the layer that tokens are taken away after; else the
    user's masks say it. share: of the patches that are relevant, the mean over images. mass: of attention on them, in
    each layer in order. excess: that less their share of the patches, image by image.
    """

    by_removal: bool
    images: int
    share: float
    mass: tuple[Estimate, ...]
    excess: tuple[Estimate, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Advised:
    """Which share of tokens to keep: the smallest that carries `mass` of the attention, and the curve at SHARES.

    carried: what it carries on images that are held out, those with the most attention being kept.
    """

    keep: float
    mass: float
    images: int
    curve: tuple[tuple[float, float], ...]
    carried: Estimate


@final
@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured. fit, held: numbers of images. patches, left: patch tokens before and after `layer`."""

    layers: int
    heads: int
    prefix: int
    patches: int
    left: int
    keep: float
    policy: Policy
    layer: int
    seed: int
    classes: int
    fit: int
    held: int
    speed: Speed
    before: float
    after: float
    drop: Estimate
    condition: Condition
    advised: Advised | None


def measure(
    model: nn.Module,
    pictures: Pictures,
    sight: Sight,
    *,
    keep: float | None,
    policy: Policy = "attention",
    layer: int | None = None,
    seed: int = 0,
    limit: int = 1000,
    mask: Mapping[str, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Measure a model on images; without `keep` the attention of the images of the probe advises it.

    `mask` has the relevant pixels of images by their names. `progress` is told how many images of how many went
    through.

    Raises:
        InputError: a keep, policy or layer that is none, or a model whose layers cannot be found.
        DataError: too few images or classes, images that cannot be read, or masks of none of those held out.
    """
    fit, held = split(pictures, limit, seed)
    # As many as the model gets at once, so that the timing is that of its use.
    some = next(iter(batches(pictures, sight, held[:BATCH])))
    bound = bind(model, some)
    number = default_layer(bound) if layer is None else layer
    # Refused before anything runs for long.
    with sparsified(bound, keep=1.0 if keep is None else keep, policy=policy, layer=number):
        pass
    marked = None if mask is None else _marked(bound, pictures, sight, held, mask)
    looked = held[:LOOKED_AT] if marked is None else list(marked)
    cost = bound.patches * (len(bound.layers) - number) / len(bound.layers)
    work = len(fit) + 2 * len(held) + 2 * (ROUNDS + 1) * len(some) + len(looked)
    told = _Told(progress, work + (cost * len(looked) if marked is None else 0.0))

    of_fit = observe(bound, batches(pictures, sight, fit), layers=[number], told=told.more)
    needed, curve_P = needed_share(of_fit.attention[number], MASS)
    # In hundredths, as it is written; upwards, so that it carries what it says.
    share = min(1.0, math.ceil(needed * 100 - 1e-9) / 100) if keep is None else keep
    probe = fitted(of_fit.feature_ND, pictures.label_N[fit])
    label_N = pictures.label_N[held]
    whole = observe(bound, batches(pictures, sight, held), layers=[number], told=told.more)
    with sparsified(bound, keep=share, policy=policy, layer=number, seed=seed) as sparse:
        fewer = observe(bound, batches(pictures, sight, held), sparse=sparse, told=told.more)
    hits, hits_after = (probe.hits(seen.feature_ND, label_N) for seen in (whole, fewer))
    timed = speed(bound, some, keep=share, policy=policy, layer=number, seed=seed, told=told.more)
    if marked is None:
        marked = {i: relevant(_removed(bound, pictures, sight, probe, i, number, told)) for i in looked}
    return Measured(
        layers=len(bound.layers),
        heads=bound.layers[number - 1].heads,
        prefix=bound.prefix,
        patches=bound.patches,
        left=kept(share, bound.patches),
        keep=share,
        policy=policy,
        layer=number,
        seed=seed,
        classes=len(pictures.classes),
        fit=len(fit),
        held=len(held),
        speed=timed,
        before=float(hits.mean()),
        after=float(hits_after.mean()),
        drop=drop(hits, hits_after),
        condition=_condition(bound, pictures, sight, marked, by_removal=mask is None, told=told),
        advised=None if keep is not None else _advised(share, curve_P, len(fit), whole.attention[number]),
    )


def masks(path: Path) -> dict[str, np.ndarray]:
    """The relevant pixels of images, from an .npz file: an array (height, width) for each, by the image's name.

    An image of a folder is called as its file below the folder, "cat/1.png"; one of a parquet file by its row, "0".

    Raises:
        InputError: no such file.
        DataError: no .npz file of plain arrays with two axes.
    """
    fix = 'write one with numpy.savez("masks.npz", **{"cat/1.png": mask}), a mask as large as the image'
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in file.files}
    except FileNotFoundError as error:
        raise InputError("an .npz file of masks", f"{path}, which does not exist", fix) from error
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError("an .npz file of masks", f"{path}: {' '.join(str(error).split())[:200]}", fix) from error
    if odd := [name for name, array in found.items() if array.ndim != 2]:
        raise DataError("masks with a height and a width", f"{odd[0]} of shape {found[odd[0]].shape}", fix)
    return found


def _advised(share: float, curve_P: np.ndarray, images: int, held_NP: np.ndarray) -> Advised:
    patches = len(curve_P)
    curve = tuple((at, float(curve_P[kept(at, patches) - 1])) for at in SHARES)
    first_NK = -np.sort(-held_NP, axis=1)[:, : kept(share, patches)]
    carried = mean_t(first_NK.sum(1) / held_NP.sum(1))
    return Advised(keep=share, mass=MASS, images=images, curve=curve, carried=carried)


def _removed(
    bound: Bound, pictures: Pictures, sight: Sight, probe: Probe, i: int, number: int, told: _Told
) -> np.ndarray:
    """The relevance of every patch of an image."""
    of_one = (len(bound.layers) - number) / len(bound.layers)
    (pixels,) = batches(pictures, sight, [i])
    found = relevance(bound, probe, pixels, number, told=lambda removed: told.more(removed * of_one))
    if not found.any():
        got = f"{pictures.names[i]}, of which every token can go"
        raise DataError("a probe whose output changes when a token is removed", got, "use a model that was trained")
    return found


def _condition(
    bound: Bound, pictures: Pictures, sight: Sight, marked: Mapping[int, np.ndarray], *, by_removal: bool, told: _Told
) -> Condition:
    """How much of every layer's attention goes to the marked patches."""
    numbers = range(1, len(bound.layers) + 1)
    seen = observe(bound, batches(pictures, sight, list(marked)), layers=numbers, told=told.more)
    relevant_NP = np.stack(list(marked.values()))
    mass_LN = [(each_NP * relevant_NP).sum(1) / each_NP.sum(1) for each_NP in seen.attention.values()]
    return Condition(
        by_removal=by_removal,
        images=len(marked),
        share=float(relevant_NP.mean()),
        mass=tuple(mean_t(mass_N) for mass_N in mass_LN),
        excess=tuple(mean_t(mass_N - relevant_NP.mean(1)) for mass_N in mass_LN),
    )


def _marked(
    bound: Bound, pictures: Pictures, sight: Sight, held: list[int], mask: Mapping[str, np.ndarray]
) -> dict[int, np.ndarray]:
    """Which patches of held-out images are marked: those of which at least half is."""
    found: dict[int, np.ndarray] = {}
    for i in held:
        if (given := mask.get(pictures.names[i])) is None:
            continue
        image = pictures.image(i)
        if given.shape != (image.height, image.width):
            got = f"{given.shape} for {pictures.names[i]} of {(image.height, image.width)}"
            raise DataError(
                "a mask as large as its image, height and width", got, "mark the pixels of the image itself"
            )
        framed = sight.framed(Image.fromarray((given != 0).astype(np.uint8) * 255), resample=Image.Resampling.NEAREST)
        rows = round(math.sqrt(bound.patches * framed.height / framed.width))
        if rows * (bound.patches // max(rows, 1)) != bound.patches:
            got = f"{bound.patches} of an image of {framed.height} x {framed.width}"
            raise InputError("patch tokens in rows and columns", got, "leave --mask out for this model")
        pixels = torch.from_numpy(np.asarray(framed, np.float32) / 255)
        patch_P = adaptive_avg_pool2d(pixels[None], (rows, bound.patches // rows)).flatten().numpy() >= 0.5
        if patch_P.any() and not patch_P.all():
            found[i] = patch_P
    if not found:
        got = f"{len(mask)} masks, such as {next(iter(mask), 'none')}"
        fix = f"call masks as the images are called: {pictures.names[held[0]]}"
        raise DataError("masks of held-out images that mark some patches and not all", got, fix)
    return found


@final
class _Told:
    """Counts images that went through the model, and tells of them."""

    def __init__(self, progress: Progress | None, work: float) -> None:
        self._progress, self._work, self._done = progress, work, 0.0
        self._began = time.monotonic()
        if progress:
            progress(0, round(work), None)

    def more(self, images: float) -> None:
        """So many more."""
        self._done += images
        if self._progress:
            rest = (time.monotonic() - self._began) * max(self._work - self._done, 0.0) / self._done
            self._progress(round(self._done), round(self._work), rest)
