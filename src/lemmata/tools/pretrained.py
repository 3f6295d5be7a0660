"""Pre-trained models from folders, with weights that were read from safetensors files only."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from lemmata.lab.errors import DataError, InputError
from lemmata.lab.needs import missing
from lemmata.tools.checkpoint import CONFIG, Checkpoint, listed

__all__ = ["loaded", "vision_model"]

USUAL = "name the folder of a ViT or DINOv2 as transformers or timm save it"


def loaded(
    kind: Any,
    config: Any,
    weights: Iterable[tuple[str, Tensor]],
    path: Path,
    *,
    fix: str,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """A model of transformers with these weights in float32. What it lacks would be drawn at random: it is refused.

    `options` are of the model's constructor.

    Raises:
        DataError: weights of other shapes than the configuration says, or not all of them.
    """
    from transformers.utils import logging

    quiet = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, found = kind.from_pretrained(
                None, config=config, state_dict=dict(weights), dtype=torch.float32, output_loading_info=True, **options
            )
    except RuntimeError as error:
        got = f"{path}: {' '.join(str(error).split())[:200]}"
        raise DataError("weights that fit the model in config.json", got, fix) from error
    finally:
        logging.set_verbosity(quiet)
    if lacking := sorted(found["missing_keys"]):
        raise DataError(f"all weights of {kind.__name__} in {path}", f"no {listed(lacking)}", fix)
    return model.eval()


def vision_model(start: Checkpoint, weights: Iterable[tuple[str, Tensor]]) -> nn.Module:
    """The model of a folder of transformers, or of timm, in the code of that library and never in the folder's own.

    Raises:
        InputError: no folder with a configuration, a model that the library does not know, or no such library.
        DataError: weights that are not all of the model's.
    """
    if start.folder is None or not start.config:
        raise InputError(f"a folder with {CONFIG} and weights", str(start.path), USUAL)
    if "architecture" in start.config and "model_type" not in start.config:
        return _timm(start, weights)
    if absent := missing(["extra:transformers"]):
        raise InputError("transformers, to run a Hugging Face model", absent[0], "install it, as the line above says")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(start.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        got = f"{start.folder}: {' '.join(str(error).split())[:200]}"
        raise InputError("a configuration that transformers can read", got, USUAL) from error
    written = config.architectures
    named = written[0] if isinstance(written, list) and written else written
    kind = getattr(transformers, named, None) if isinstance(named, str) else None
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise InputError("a model of transformers", f"{named} in {start.folder / CONFIG}", USUAL)
    tensors = dict(weights)
    optional = "add_pooling_layer" in inspect.signature(kind).parameters
    # A model may have been saved without its pooler, which nothing here reads.
    options = {"add_pooling_layer": any("pooler." in name for name in tensors)} if optional else {}
    return loaded(kind, config, tensors.items(), start.path, fix=USUAL, options=options)


def _timm(start: Checkpoint, weights: Iterable[tuple[str, Tensor]]) -> nn.Module:
    """A model of timm, which needs a torchvision that fits torch."""
    name = start.config["architecture"]
    try:
        timm = importlib.import_module("timm")
    except Exception as error:
        got = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        fix = 'pip install "lemmata[timm]", with the build of torchvision that belongs to your torch'
        raise InputError(f"timm, to run {name}", got, fix) from error
    about = {"num_classes": start.config.get("num_classes", 1000), **start.config.get("model_args", {})}
    try:
        model = timm.create_model(name, pretrained=False, **about)
        lacking = model.load_state_dict(dict(weights), strict=False).missing_keys
    except Exception as error:
        got = f"{start.path}: {' '.join(str(error).split())[:200]}"
        raise DataError(f"a model {name} of timm, and weights that fit it", got, USUAL) from error
    if lacking:
        raise DataError(f"all weights of {name} in {start.path}", f"no {listed(sorted(lacking))}", USUAL)
    return model.eval()
