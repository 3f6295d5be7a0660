"""Small checkpoints as tests of `lemmata edit` write and read them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]
SHAPES = {
    "model.embed_tokens.weight": (12, 6),
    "model.layers.0.mlp.down_proj.weight": (6, 10),
    "model.layers.0.mlp.up_proj.weight": (10, 6),
    "model.norm.weight": (6,),
}


def weights(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensors:
    """Random weights of a model of one layer."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


def tuned(base: Tensors, seed: int, size: float = 0.1) -> Tensors:
    """The same, with all weights moved a little."""
    moved = weights(seed)
    return {name: (w.double() + size * moved[name].double()).to(w.dtype) for name, w in base.items()}


def save(folder: Path | str, tensors: Tensors, *, config: Mapping[str, Any] | None = None, **files: str) -> Path:
    """A Hugging Face folder of these tensors, with a configuration and other files."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    for name, text in files.items():
        (folder / name.replace("_dot_", ".")).write_text(text)
    return folder


def load(folder: Path | str) -> Tensors:
    """All tensors of a folder, as the safetensors library reads them."""
    found: Tensors = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        found |= load_file(file)
    return found


def plain_sum(base: Tensors, *terms: tuple[Tensors, float]) -> Tensors:
    """Psi^(0) + sum_i lambda_i (Psi*_i - Psi^(0)) in float64."""
    total = {name: w.double() for name, w in base.items()}
    for changed, coefficient in terms:
        for name, w in base.items():
            total[name] = total[name] + coefficient * (changed[name].double() - w.double())
    return total
