"""What an edited model answers to inputs: a Hugging Face model, or a function of one's own.

    base, vectors   checkpoints as `lemmata edit` opens them
    weights         Psi^(0) + sum_i lambda_i Delta_i, made a tensor at a time: one model is in memory, in float32
    answer          scores of each input, (N, C): logits of the classes, or of the next token; or a number each, (N,)

A model that transformers does not know is run by a function `forward(weights, inputs)`, which gets a dictionary of
tensors and the inputs as dictionaries, as the lines of the file hold them, and returns a tensor of answers.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.errors import DataError, InputError
from lemmata.lab.needs import missing
from lemmata.tools.checkpoint import CONFIG, Checkpoint
from lemmata.tools.pretrained import loaded
from lemmata.tools.vectors import Vector

__all__ = [
    "Answer",
    "Inputs",
    "Labels",
    "accuracy",
    "hugging_face",
    "own_function",
    "plain_labels",
    "read_inputs",
    "weights_of",
]

Inputs = Sequence[Mapping[str, Any]]
Weights = Iterator[tuple[str, Tensor]]
# Answers to the inputs, (N,) or (N, C), with the weights given tensor by tensor; and labels, a number an input.
Answer = Callable[[Weights, Inputs], np.ndarray]
Labels = Callable[[Inputs, np.ndarray], list[float]]
OWN = "pass --forward FILE.py:NAME to run it yourself"
# Inputs that a Hugging Face model answers at once.
BATCH = 16
# Of numpy, by the name in a file.
WHOLE_NUMBERS = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "BOOL": "?"}
WHOLE_NUMBERS |= {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"}


def read_inputs(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file.

    Raises:
        InputError: there is no such file.
        DataError: a line is no JSON object, or there is none.
    """
    fix = 'write one object a line, such as {"text": "a sentence", "label": 1, "task": 1}'
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("a JSON-lines file for --inputs", f"{path}: {error}", fix) from error
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise DataError(f"{path}: a JSON object in line {number}", line[:60], fix)
        if not isinstance(value.get("task"), (int, str, type(None))):
            raise DataError(f'{path}: a number or a name as the "task" in line {number}', line[:60], fix)
        found.append(value)
    if not found:
        raise DataError(f"inputs in {path}", "none", fix)
    return found


def weights_of(base: Checkpoint, vectors: Sequence[Vector], coefficients: Sequence[float]) -> Weights:
    """The edited weights in float32, a tensor at a time; whole numbers are those of the base."""
    for name, tensor in base.tensors.items():
        if not tensor.floating:
            whole = np.frombuffer(tensor.raw(0, tensor.size), WHOLE_NUMBERS[tensor.dtype])
            yield name, torch.from_numpy(whole.copy()).reshape(tensor.shape)
            continue
        total = tensor.read(0, tensor.size)
        for vector, coefficient in zip(vectors, coefficients, strict=True):
            delta = vector.deltas.get(name)
            if delta is not None and coefficient:
                total = total + coefficient * delta.read(0, tensor.size)
        yield name, torch.from_numpy(total.astype(np.float32)).reshape(tensor.shape)


def accuracy(answer: np.ndarray, labels: Sequence[float], inputs: Inputs) -> dict[object, float]:
    """The share of right answers of each task that inputs name, or of all under None.

    A label is the number of a class; of answers that are a number each it is the sign. No number is no right answer.

    >>> accuracy(np.array([0.3, -0.1, 0.2]), [1, 1, 1], [{"task": 1}, {"task": 1}, {"task": 2}])
    {1: 0.5, 2: 1.0}
    """
    hits: dict[object, list[bool]] = {}
    for score, label, one in zip(answer, labels, inputs, strict=True):
        hit = int(np.argmax(score)) == label if np.ndim(score) else score * label > 0
        hits.setdefault(one.get("task"), []).append(bool(hit and np.isfinite(score).all()))
    return {task: float(np.mean(of_task)) for task, of_task in hits.items()}


def plain_labels(inputs: Inputs, answer: np.ndarray, names: Mapping[str, int]) -> list[float]:
    """The label of each input: a class by number or by name, or 1 or -1 where answers are a number each.

    Raises:
        DataError: an input without a label, or with one that is none of these.
    """
    classes = answer.shape[1] if answer.ndim == 2 else 0
    kinds = f"a class from 0 to {classes - 1}" if classes else "1 or -1"
    found: list[float] = []
    for one in inputs:
        if "label" not in one:
            got = json.dumps(one)[:60]
            raise DataError("a label in every input for --metric", got, 'leave --metric out, or add "label"')
        label = one["label"]
        label = names.get(label, label) if isinstance(label, str) else label
        if not isinstance(label, (int, float)) or (label not in range(classes) if classes else label not in (-1, 1)):
            raise DataError(f"{kinds} as the label of every input", str(label), "write the labels that the model knows")
        found.append(label)
    return found


def own_function(spec: str) -> tuple[Answer, Labels]:
    """The answers of a function in a Python file, named as FILE.py:NAME, and how labels are read: as they are.

    Raises:
        InputError: no such file or function, or one that fails or returns no answers; the message says how.
    """
    path, sign, name = spec.rpartition(":")
    expected, fix = "--forward FILE.py:NAME", "name a function forward(weights, inputs) in a Python file"
    if not sign or not Path(path).is_file():
        raise InputError(expected, spec, fix)
    found = importlib.util.spec_from_file_location("lemmata_forward", path)
    if found is None or found.loader is None:
        raise InputError(expected, spec, fix)
    # As Python itself runs a file: it may import what lies beside it, and knows its own name.
    module = sys.modules[found.name] = importlib.util.module_from_spec(found)
    sys.path.insert(0, str(Path(path).resolve().parent))
    try:
        found.loader.exec_module(module)
        forward = getattr(module, name)
    except (Exception, SystemExit) as error:
        raise InputError(f"{expected} that loads", f"{type(error).__name__}: {error}", fix) from error

    def answer(weights: Weights, inputs: Inputs) -> np.ndarray:
        try:
            with torch.no_grad():
                scores = torch.as_tensor(forward(dict(weights), list(inputs)))
        except (Exception, SystemExit) as error:
            raise InputError(
                f"answers from {spec}", f"{type(error).__name__}: {error}", "correct the function"
            ) from error
        if scores.ndim not in (1, 2) or len(scores) != len(inputs):
            got = f"shape {tuple(scores.shape)} for {len(inputs)} inputs"
            raise InputError(f"answers (N,) or (N, C) from {spec}", got, "return one row an input")
        return _numbers(scores)

    return answer, partial(plain_labels, names={})


def _numbers(scores: Tensor) -> np.ndarray:
    """Answers in float64; a single score is a number."""
    return (scores.squeeze(-1) if scores.ndim == 2 and scores.shape[1] == 1 else scores).double().numpy()


def hugging_face(base: Checkpoint) -> tuple[Answer, Labels]:
    """The answers of a Hugging Face model, and how it reads labels.

    Inputs have a "text". A classifier's answers are its logits; a causal language model's are those of the token that
    comes next, and a label is the text that should come next, of which the first token counts.

    Raises:
        InputError: no folder with a configuration and a tokenizer, a model that does neither or whose code is not in
            transformers, or transformers is not installed.
        DataError: weights that are not all of the model's.
    """
    if absent := missing(["extra:transformers"]):
        raise InputError("transformers, to run a Hugging Face model", absent[0], "or pass --forward FILE.py:NAME")
    if base.folder is None or not (base.folder / CONFIG).is_file():
        got = f"{base.path}, without {CONFIG}"
        raise InputError("a Hugging Face folder as --base", got, OWN)
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        # Code that lies in the folder is not run.
        config = transformers.AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            base.folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        got = f"{base.folder}: {' '.join(str(error).split())[:200]}"
        raise InputError("a model and a tokenizer that transformers can load", got, OWN) from error
    (named,) = (config.architectures or ["none"])[:1]
    causal = named.endswith("ForCausalLM")
    kind = getattr(transformers, named, None)
    if kind is None or not (causal or named.endswith("ForSequenceClassification")):
        raise InputError("a model of transformers for causal language or sequence classification", named, OWN)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.bos_token or tokenizer.unk_token
    # The answer comes after the last token.
    tokenizer.truncation_side = "left" if causal else tokenizer.truncation_side

    def answer(weights: Weights, inputs: Inputs) -> np.ndarray:
        model = loaded(kind, config, weights, base.path, fix=OWN)
        parts = [_logits(model, tokenizer, inputs[at : at + BATCH], causal) for at in range(0, len(inputs), BATCH)]
        return np.concatenate(parts)

    def labels(inputs: Inputs, answers: np.ndarray) -> list[float]:
        if not causal:
            return plain_labels(inputs, answers, {str(name): int(i) for name, i in (config.label2id or {}).items()})
        return plain_labels([{**one, "label": _next_token(tokenizer, one)} for one in inputs], answers, {})

    return answer, labels


def _next_token(tokenizer: Any, one: Mapping[str, Any]) -> Any:
    """The first token of a label that follows the text; what is no text stays as it is."""
    label = one.get("label")
    if not isinstance(label, str) or not label:
        return label
    before, whole = tokenizer(one["text"]).input_ids, tokenizer(one["text"] + label).input_ids
    # Where the label's first letters join the text's last token, what differs first is the label's.
    different = [i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b]
    if (at := different[0] if different else len(before)) >= len(whole):
        raise DataError("labels that have a token", json.dumps(one)[:60], "write the text that should come next")
    return whole[at]


def _logits(model: Any, tokenizer: Any, inputs: Inputs, causal: bool) -> np.ndarray:
    """Centred, since a constant added to all classes changes no answer."""
    texts = [one.get("text") for one in inputs]
    if not all(isinstance(text, str) and text for text in texts):
        raise DataError('a "text" in every input', json.dumps(inputs[0])[:60], 'write {"text": "a sentence"}')
    batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, padding_side="right")
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    if causal:
        last_N = batch["attention_mask"].sum(1) - 1
        logits = logits[torch.arange(len(texts)), last_N]
    if logits.shape[-1] > 1:
        logits = logits - logits.mean(-1, keepdim=True)
    return _numbers(logits)
