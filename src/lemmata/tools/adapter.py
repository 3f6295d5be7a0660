"""LoRA adapters as peft saves them, as the task vectors that they are.

    symbol    meaning                                     shape        tensor
    A         the factor that the input meets             (r, in)      base_model.model.MODULE.lora_A.weight
    B         the factor that the output comes from       (out, r)     base_model.model.MODULE.lora_B.weight
    s         scaling: lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora
    Delta     s B A, what the adapter adds to the module's weight; s (B A)^T where the weight is stored as (in, out)

Modules that the adapter trained as a whole (modules_to_save) are differences like any other. What has another form than
these is refused, never approximated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from lemmata.lab.errors import DataError, InputError
from lemmata.tools.checkpoint import ADAPTER, Checkpoint, Tensor, listed, read_header, read_json
from lemmata.tools.formats import refuse_pickles
from lemmata.tools.vectors import Delta, Difference, Vector, same, shapes_must_agree

__all__ = ["Product", "is_adapter", "open_adapter"]

FACTORS = "adapter_model.safetensors"
# Settings that say where the adapter sits and how it was trained; every other one changes what its tensors mean.
PLACE = "base_model_name_or_path revision target_modules exclude_modules layers_to_transform layers_pattern"
SHAPE = "r lora_alpha rank_pattern alpha_pattern use_rslora fan_in_fan_out bias modules_to_save ensure_weight_tying"
START = "init_lora_weights loftq_config eva_config corda_config lora_ga_config qalora_group_size runtime_config"
ABOUT = "peft_type peft_version task_type auto_mapping inference_mode lora_dropout megatron_core"
KNOWN = frozenset(" ".join([PLACE, SHAPE, START, ABOUT]).split())
# Ways to start the factors that leave the base as it was.
STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
# The suffix of a factor's name, and which factor it is; an embedding's product is stored as (in, out).
PARTS = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "embedding A",
    ".lora_embedding_B": "embedding B",
}
# Modules that these models store as (in, out); where one is square, its shape does not tell.
OTHER_WAY = ("c_attn", "c_fc", "c_proj", "q_attn")
OTHER_WAY_MODELS = ("decision_transformer", "gpt2", "imagegpt", "openai-gpt")
MERGE = "merge it into its base with peft's merge_and_unload and save that as a checkpoint"


@final
@dataclass(frozen=True)
class Product:
    """s B A, or its transpose, in slices: of one factor only the rows that a slice needs are read, of the other all."""

    A: Tensor
    B: Tensor
    scaling: float
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that it is added to."""
        return (self.A.shape[1], self.B.shape[0]) if self.transposed else (self.B.shape[0], self.A.shape[1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Elements start ... stop - 1, in row-major order."""
        rank, width = self.A.shape[0], self.shape[1]
        first, last = start // width, -(-stop // width)
        A = self.A.read(0, self.A.size).reshape(rank, -1)
        if self.transposed:
            rows = A[:, first:last].T @ self.B.read(0, self.B.size).reshape(-1, rank).T
        else:
            rows = self.B.read(first * rank, last * rank).reshape(-1, rank) @ A
        return self.scaling * rows.ravel()[start - first * width : stop - first * width]


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (path / ADAPTER).is_file()


def open_adapter(base: Checkpoint, folder: Path) -> Vector:
    """The task vector of a LoRA adapter; no weights are read but those that have to equal the base's.

    Raises:
        InputError: an adapter of another kind, or in a pickle file.
        DataError: modules that the base lacks, or factors that do not fit them.
    """
    settings = read_json(folder / ADAPTER)
    _refuse_other_kinds(folder, settings)
    if not (folder / FACTORS).is_file():
        refuse_pickles(folder)
        raise InputError(f"{FACTORS} in {folder}", "none", "name the folder that peft's save_pretrained wrote")
    tensors, _ = read_header(folder / FACTORS)
    factors, whole = _sorted_out(folder, tensors)
    place = _placed(folder, base, [*(f"{module}.weight" for module in factors), *whole])
    deltas: dict[str, Delta] = {}
    for module, parts in factors.items():
        name = place(f"{module}.weight")
        deltas[name] = _product(folder, module, parts, settings, base.tensors[name].shape, base.config)
    for name, tensor in whole.items():
        if name.endswith(".base_layer.weight"):
            continue
        if not base.tensors[place(name)].floating or not tensor.floating:
            raise DataError(f"{folder}: weights in a floating-point dtype", name, MERGE)
        deltas[place(name)] = Difference(tensor, base.tensors[place(name)])
    shapes = {name: d.tuned.shape if isinstance(d, Difference) else d.shape for name, d in deltas.items()}
    shapes_must_agree(shapes, base, folder)
    for name, tensor in whole.items():
        if name.endswith(".base_layer.weight") and not same(tensor, base.tensors[place(name)]):
            raise DataError(
                f"{folder}: an adapter of {base.path}", f"another {name}", "name the base it was trained on"
            )
    dtypes = tuple(sorted({tensor.dtype for tensor in tensors.values()}))
    return Vector(folder, folder.resolve().name, "adapter", deltas, dtypes)


def _refuse_other_kinds(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse what is more than a product of two factors."""
    if settings.get("peft_type") != "LORA":
        raise InputError(f"{folder}: an adapter of type LORA", str(settings.get("peft_type")), MERGE)
    if settings.get("bias", "none") != "none":
        raise InputError(f"{folder}: a LoRA adapter with bias none", f"bias {settings['bias']}", MERGE)
    if (start := settings.get("init_lora_weights")) not in STARTS:
        fix = "convert it with path_initial_model_for_weight_conversion of peft's save_pretrained"
        raise InputError(f"{folder}: an adapter that left its base as it was", f"init_lora_weights {start}", fix)
    if odd := sorted(name for name, value in settings.items() if value and name not in KNOWN):
        raise InputError(f"{folder}: a plain LoRA adapter", listed(f"{name} {settings[name]}" for name in odd), MERGE)


def _sorted_out(folder: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """The factors by module, and the tensors that were trained as a whole by name."""
    factors: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for full, tensor in tensors.items():
        name = full.removeprefix("base_model.model.")
        if suffix := next((suffix for suffix in PARTS if name.endswith(suffix)), None):
            factors.setdefault(name.removesuffix(suffix), {})[PARTS[suffix]] = tensor
        elif ".lora_" in name:
            raise InputError(f"{folder}: factors lora_A and lora_B", full, MERGE)
        else:
            whole[name.replace(".modules_to_save.", ".")] = tensor
    for module, parts in factors.items():
        if parts.keys() not in ({"A", "B"}, {"embedding A", "embedding B"}):
            raise DataError(f"{folder}: two factors of {module}", listed(sorted(parts)), "copy the adapter again")
    return factors, whole


def _placed(folder: Path, base: Checkpoint, names: list[str]) -> Callable[[str], str]:
    """How the adapter's tensors are called in the base, which may have one prefix more than its model had, or one less.

    Raises:
        DataError: the base lacks some, whatever the prefix; the message lists them.
    """
    heads = sorted({name.split(".")[0] + "." for name in base.tensors if "." in name})
    ways: list[Callable[[str], str]] = [
        lambda name: name,
        lambda name: name.partition(".")[2],
        *(lambda name, head=head: head + name for head in heads),
    ]
    for way in ways:
        if all(way(name.replace(".base_layer.", ".")) in base.tensors for name in names):
            return lambda name: way(name.replace(".base_layer.", "."))
    absent = [name for name in names if name.replace(".base_layer.", ".") not in base.tensors]
    fix = "name the base it was trained on"
    if base.tied and any(name.startswith("lm_head") for name in absent):
        fix += "; here lm_head is tied to the embedding and has no weights of its own, so save the base untied"
    raise DataError(f"the modules of {folder} in {base.path}", f"no {listed(sorted(absent))}", fix)


def _product(
    folder: Path,
    module: str,
    parts: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    shape: tuple[int, ...],
    config: Mapping[str, Any],
) -> Product:
    """What the factors of a module multiply to, for a weight of this shape."""
    embedding = "embedding A" in parts
    A, B = (parts[f"embedding {which}" if embedding else which] for which in "AB")
    rank = _of_module(folder, module, settings, "rank_pattern", "r")
    alpha = _of_module(folder, module, settings, "alpha_pattern", "lora_alpha")
    if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float) and math.isfinite(alpha)):
        raise DataError(f"{folder}: r and lora_alpha in {ADAPTER}", f"{rank} and {alpha}", "copy the adapter again")
    if not A.floating or not B.floating or len(A.shape) != 2 or len(B.shape) != 2:
        raise InputError(f"{folder}: factors that are matrices", f"{module} {list(A.shape)}, {list(B.shape)}", MERGE)
    if not A.shape[0] == B.shape[1] == rank:
        got = f"{list(A.shape)} and {list(B.shape)} for {module}"
        raise DataError(f"{folder}: factors of rank {rank}", got, f"use {ADAPTER} and {FACTORS} of one adapter")
    scaling = alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank
    (inputs, outputs), setting = (A.shape[1], B.shape[0]), bool(settings.get("fan_in_fan_out"))
    if inputs != outputs:
        # peft notes the setting of one module and finds out that of each when it loads them: so does the shape.
        return Product(A, B, scaling, embedding or shape == (inputs, outputs))
    if not embedding and module.rpartition(".")[2] in OTHER_WAY and not setting:
        if (kind := config.get("model_type")) is None:
            got = f"{module}, a square weight that GPT-2 has stored as (in, out)"
            raise InputError(f"{folder}: a base with config.json", got, "name the base's folder")
        setting = kind in OTHER_WAY_MODELS
    return Product(A, B, scaling, embedding or setting)


def _of_module(folder: Path, module: str, settings: Mapping[str, Any], patterns: str, default: str) -> Any:
    """A setting of this module, by the first pattern that its name ends in."""
    try:
        of = (settings.get(patterns) or {}).items()
        own = (value for key, value in of if re.match(rf"(.*\.)?({key})$", module))
        return next(own, settings.get(default))
    except (AttributeError, re.error) as error:
        got = f"{settings.get(patterns)}: {error}"
        raise DataError(f"{folder}: {patterns} in {ADAPTER}", got, "copy the adapter again") from error
