"""Which files hold weights, and which of them are refused: in a pickle file, which may run code; or quantised.

Nothing is unpickled here. What is refused is refused with the way to convert it.
"""

from __future__ import annotations

import glob
import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lemmata.lab.errors import InputError

__all__ = ["OTHERS", "PICKLES", "WEIGHTS", "refuse_other", "refuse_pickles", "refuse_quantised"]

WEIGHTS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# Weights in any other form.
OTHERS = (*PICKLES, ".h5", ".msgpack", ".onnx", ".onnx_data", ".gguf", ".ot", ".npz", ".tflite")
# The end of a name under which there are codes, where there are whole numbers.
CODES = ("weight", "qweight", "weight_packed")
# What weights are called in a folder that also holds an optimizer and the like.
USUAL = ("pytorch_model*.bin", "adapter_model*.bin", "consolidated*.pth")


def refuse_other(file: Path) -> None:
    """Raise an InputError for anything but a safetensors file."""
    if file.suffix in PICKLES:
        raise _pickled(file, json.dumps([str(file)], ensure_ascii=False))
    if file.suffix != WEIGHTS:
        raise InputError(f"a {WEIGHTS} file or a folder that holds one", str(file), "name the folder of the checkpoint")


def refuse_pickles(folder: Path) -> None:
    """Raise an InputError where a folder holds its weights in pickle files; what converts one converts all of them."""
    for pattern in (*USUAL, *(f"*{suffix}" for suffix in PICKLES)):
        if files := sorted(folder.glob(pattern)):
            whole = json.dumps(str(Path(glob.escape(str(folder))) / pattern), ensure_ascii=False)
            raise _pickled(files[0], f"glob.glob({whole})")


def refuse_quantised(path: Path, config: Mapping[str, Any], whole: Iterable[str]) -> None:
    """Raise an InputError for quantised weights, of which the codes are whole numbers that cannot be added.

    `whole` are the names of tensors of whole numbers, which may also be counters and masks.
    """
    codes = sorted(name for name in whole if name.rpartition(".")[2] in CODES)
    if codes or config.get("quantization_config"):
        got = f"{path}, quantised: {codes[0] if codes else 'so says its config.json'}"
        raise InputError("weights in a floating-point dtype", got, "use the checkpoint from before it was quantised")


def _pickled(file: Path, files: str) -> InputError:
    """What is wrong with a pickle file, and a command for the shell that converts these."""
    code = (
        "import glob, torch; from safetensors.torch import save_file; [save_file({k: t.clone() for k, t in "
        f'torch.load(f, weights_only=True).items()}}, f.rpartition(".")[0] + "{WEIGHTS}") for f in {files}]'
    )
    got = f"the pickle file {file}, which may run code when it is read"
    fix = f"convert it, if you trust it: python -c {shlex.quote(code)}"
    return InputError(f"weights in {WEIGHTS} files", got, fix)
