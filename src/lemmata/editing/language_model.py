"""A causal language model as a function of its weights: a checkpoint in the Hugging Face format, and LoRA on it.

    symbol   meaning                                                                parameter
    Psi      weights of the model                                                   NAME, as Hugging Face has it
    A, B     factors of LoRA: Delta W = (alpha / r) B A, r the rank; B starts at 0  "NAME.lora_A", "NAME.lora_B"

The model comes from local files only, never from the network, and from safetensors only: nothing is unpickled. peft
says which matrices get factors, of what shape and scale; what is added to a weight is worked out here, so that an edit
Psi + lambda Delta is the same sum for LoRA and for a change of all weights (tests/test_editing_language.py holds it
against peft's own forward pass).

A result is stored under the name of its checkpoint's folder. stories260k is held to its digest; any other folder is
not, so give a checkpoint with other weights another name.

transformers and peft are the extra "language", and are imported when they are used.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lemmata.editing import books
from lemmata.lab.ensemble import Params
from lemmata.lab.errors import DataError

__all__ = ["DIGEST", "TARGETS", "Factors", "factors", "logits", "model", "size", "tokenizer", "tokens", "weights"]

# What gets factors: every linear map but the one to the vocabulary, or what peft picks for the architecture.
TARGETS = {"all-linear": "all-linear", "peft-default": None}
# SHA-256 of the weights of stories260k.
DIGEST = {"stories260k": "407a7c581bdd66972383ce9ad24857713fb98786d06ea564a2fe9b34ebe77dfd"}
FIX = "put config.json, tokenizer.json and model.safetensors, as save_pretrained writes them, into that folder"


@final
@dataclass(frozen=True)
class Factors:
    """How LoRA changes one matrix: the shapes (r, in) and (out, r) of its factors, and the scale alpha / r."""

    A: tuple[int, int]
    B: tuple[int, int]
    scale: float
    transposed: bool

    def change(self, A: Tensor, B: Tensor) -> Tensor:
        """Delta W of this matrix."""
        product = self.scale * (B @ A)
        return product.mT if self.transposed else product


def size(checkpoint: str) -> int:
    """How many parameters a checkpoint has; reads the headers of its files only.

    Raises:
        DataError: there is no such folder below the data root, or it lacks a file or has one that is no safetensors.
    """
    return _size(_folder(checkpoint))


def model(checkpoint: str) -> Any:
    """The model, in float32 and for evaluation; one for all in a process, and not to be changed.

    Raises:
        DataError: as `size`, or transformers cannot read it.
    """
    return _model(_folder(checkpoint))


def tokenizer(checkpoint: str) -> Any:
    """Its tokenizer, as `model` has its weights."""
    return _tokenizer(_folder(checkpoint))


def tokens(checkpoint: str, book: str) -> list[int]:
    """The tokens of a book, without any that mark its start or end; worked out once in a process."""
    return _tokens(_folder(checkpoint), books.text(book))


def weights(checkpoint: str) -> Params:
    """The weights of a checkpoint by name, tied ones once."""
    return {name: p.detach().clone() for name, p in model(checkpoint).named_parameters()}


def factors(checkpoint: str, rank: int, alpha: int, targets: str) -> Mapping[str, Factors]:
    """The matrices that get factors, by the name of the weight that they change.

    Raises:
        DataError: peft knows no such matrices in this architecture.
    """
    return _factors(_folder(checkpoint), rank, alpha, targets)


def logits(network: nn.Module, params: Params, token_BL: Tensor) -> Tensor:
    """The model's logits with these weights in the place of its own, logit_BLV."""
    call = {"input_ids": token_BL, "use_cache": False}
    return torch.func.functional_call(network, params, (), call).logits


def _folder(checkpoint: str) -> Path:
    return books.root() / checkpoint


@functools.cache
def _size(folder: Path) -> int:
    files = sorted(folder.glob("*.safetensors"))
    for lacking in [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]:
        raise DataError(f"a checkpoint with {lacking} in {folder}", "none", FIX)
    if not files:
        raise DataError(f"a checkpoint with weights in safetensors in {folder}", "none", FIX)
    known = DIGEST.get(folder.name)
    if known is not None:
        found = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        if found != known:
            raise DataError(f"the weights with SHA-256 {known} in {folder}", found, "give other weights another folder")
    count = 0
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                names = opened.keys()
                count += sum(math.prod(opened.get_slice(name).get_shape()) for name in names)
        except (OSError, SafetensorError) as error:
            raise DataError(f"weights in safetensors at {file}", str(error), FIX) from error
    return count


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the progress bar of transformers, which a run that reports on itself has no use for."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@functools.cache
def _model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    _size(folder)
    try:
        with _quietly():
            found = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"a causal language model that transformers can read in {folder}", str(error), FIX) from error
    return found.eval().requires_grad_(False)


@functools.cache
def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    _size(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise DataError(f"a tokenizer that transformers can read in {folder}", str(error), FIX) from error


@functools.cache
def _tokens(folder: Path, text: str) -> list[int]:
    # Quietly: a book is longer than what the model can read, which is why it is cut into windows.
    return _tokenizer(folder)(text, add_special_tokens=False, verbose=False)["input_ids"]


@functools.cache
def _factors(folder: Path, rank: int, alpha: int, targets: str) -> Mapping[str, Factors]:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    adapter = LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS[targets], task_type="CAUSAL_LM")
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5.24 by a name that transformers is about to drop.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            # peft changes the model that it is given.
            adapted = get_peft_model(copy.deepcopy(_model(folder)), adapter)
    except ValueError as error:
        fix = "choose targets=all-linear, or another checkpoint"
        raise DataError(f"matrices for LoRA in the model of {folder}", str(error), fix) from error
    named: dict[str, Any] = dict(adapted.get_base_model().named_modules())
    layers = {f"{name}.weight": layer for name, layer in named.items() if isinstance(layer, LoraLayer)}
    return {name: _factors_of(layer) for name, layer in layers.items()}


def _factors_of(layer: Any) -> Factors:
    A, B = (tuple(part["default"].weight.shape) for part in (layer.lora_A, layer.lora_B))
    return Factors(A, B, layer.scaling["default"], layer.fan_in_fan_out)
