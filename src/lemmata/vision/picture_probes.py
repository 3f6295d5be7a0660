"""What vision transformers make of borders: accuracy on test images, and attention on image and border.

Every test image is seen with a border of its label's kind and with one of the other, so that accuracy with a random
border is the mean of both, exactly.

Shapes: E members, B samples, H heads, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.ensemble import Snapshot
from lemmata.lab.losses import error
from lemmata.lab.measures import joined, rows
from lemmata.lab.streams import stream
from lemmata.lab.trainee import Measure, Row
from lemmata.lab.transformer import layer_inputs, query_attention
from lemmata.vision.pictures import pictures, split
from lemmata.vision.vit import Batch, Vit, drawn_border, embedded, outputs

__all__ = ["Attended", "Borders", "attended", "with_borders"]

# Images that are answered at once.
SLICE = 100


def with_borders(snapshot: Snapshot, *, agrees: bool) -> Batch:
    """The test images of each member, with borders of their label's kind or of the other."""
    found: list[Batch] = []
    for config, seed in zip(snapshot.configs, snapshot.seeds, strict=True):
        of, (_, test_N) = pictures(config.dataset), split(config.dataset, seed)
        at_B = torch.from_numpy(test_N)
        label_B = of.label_N[at_B]
        kind_B = ((label_B > 0) == agrees).numpy().astype(np.int64)
        rng = stream("vision.borders", config.dataset, seed)
        border_BbC = drawn_border(rng, of.pools.test_2NC, kind_B, config.border)
        found.append(Batch(torch.cat([of.patch_NPC[at_B], border_BbC], 1)[None], label_B[None]))
    return Batch(*(torch.cat(parts).to(snapshot.device) for parts in zip(*found, strict=True)))


def attended(snapshot: Snapshot, batch: Batch) -> Tensor:
    """The answer's attention on the tokens of the image in the last layer, over that on image and border, (E,).

    The mean over heads and samples.
    """
    P = snapshot.configs[0].P
    found: list[Tensor] = []
    with torch.no_grad():
        for part in batch.patch_EBLC.split(SLICE, 1):
            layer, x_EBLD = layer_inputs(snapshot.params, embedded(snapshot.params, part))[-1]
            # The last token is the answer itself.
            attn_EBHL = query_attention(layer, x_EBLD)[..., :-1]
            found.append((attn_EBHL[..., :P].sum(-1) / attn_EBHL.sum(-1)).mean(-1))
    return torch.cat(found, 1).mean(1)


@final
@dataclass(frozen=True, kw_only=True)
class Borders(Measure):
    """Accuracy on test images by their borders, after the last step."""

    name: ClassVar[str] = "vision.borders"

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "agreeing" and "conflicting" at x = alpha_*, and their mean, "accuracy"."""
        found: dict[str, Tensor] = {}
        for name, agrees in (("agreeing", True), ("conflicting", False)):
            batch = with_borders(snapshot, agrees=agrees)
            with torch.no_grad():
                output_EB = torch.cat([outputs(snapshot.params, x) for x in batch.patch_EBLC.split(SLICE, 1)], 1)
            found[name] = 1 - error(output_EB, batch.label_EB)
        found["accuracy"] = (found["agreeing"] + found["conflicting"]) / 2
        alpha_E = [config.alpha_s for config in snapshot.configs]
        return joined([rows(name, alpha_E, value_E) for name, value_E in found.items()])


@final
@dataclass(frozen=True, kw_only=True)
class Attended(Measure):
    """Attention on the image over training with borders."""

    name: ClassVar[str] = "vision.attended"

    every: int = 50

    def steps(self, config: Vit) -> Sequence[int]:
        """From the end of the pre-training on, every few steps, and the last."""
        return [*range(config.pre_steps, config.steps, self.every), config.steps]

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "image_mass" at x = steps of training with borders, of images whose borders conflict."""
        step = snapshot.step - snapshot.configs[0].pre_steps
        return rows("image_mass", step, attended(snapshot, with_borders(snapshot, agrees=False)))
