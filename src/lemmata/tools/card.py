"""The model card of an edited checkpoint: what it was made of, which claims that rests on, whom to cite.

Names of checkpoints stand in it without the folders they lie in, so that it can be published as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from lemmata.tools.checkpoint import Checkpoint
from lemmata.tools.recipes import Recipe
from lemmata.tools.writer import MARK

__all__ = ["CITATIONS", "PROMISES", "Entry", "card", "claims_of"]

# What the theorems of arXiv 2504.10957 promise, by the claim that judges it.
PROMISES = {
    "editing.multi-task": "Theorem 1: adding lambda times the second task vector to a model that has the first gives "
    "both tasks where their correlation alpha is at least 0 and lambda >= 1 - alpha + beta. Contradictory tasks "
    "(alpha < 0) cannot both be had.",
    "editing.unlearning": "Theorem 2: subtracting a task vector forgets its task and keeps the other where alpha <= 0 "
    "and -Theta(alpha^-2) <= lambda <= 0. With alpha > 0 the other task suffers as well.",
    "editing.low-rank": "Corollary 1: of each task vector an approximation of rank one is enough.",
    "editing.sparsity": "Corollary 2: a constant fraction of the rows of a task vector is large; pruning the others "
    "changes nothing that the theorems promise.",
}

CITATIONS = {
    "li2025task": """@inproceedings{li2025task,
  title     = {When is Task Vector Provably Effective for Model Editing? A Generalization Analysis of Nonlinear
               Transformers},
  author    = {Li, Hongkang and Zhang, Yihua and Zhang, Shuai and Chen, Pin-Yu and Liu, Sijia and Wang, Meng},
  booktitle = {International Conference on Learning Representations},
  year      = {2025},
  eprint    = {2504.10957},
}""",
    "yadav2023ties": """@inproceedings{yadav2023ties,
  title     = {{TIES}-Merging: Resolving Interference When Merging Models},
  author    = {Yadav, Prateek and Tam, Derek and Choshen, Leshem and Raffel, Colin and Bansal, Mohit},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023},
  eprint    = {2306.01708},
}""",
    "yu2024dare": """@inproceedings{yu2024dare,
  title     = {Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch},
  author    = {Yu, Le and Yu, Bowen and Yu, Haiyang and Huang, Fei and Li, Yongbin},
  booktitle = {International Conference on Machine Learning},
  year      = {2024},
  eprint    = {2311.03099},
}""",
}


@final
@dataclass(frozen=True)
class Entry:
    """A task vector as the card names it."""

    label: str
    kind: str
    coefficient: float


def claims_of(entries: Sequence[Entry], recipe: Recipe) -> tuple[str, ...]:
    """The claims that an edit rests on.

    >>> claims_of([Entry("a", "weights", 1.0), Entry("b", "weights", -0.5)], Recipe(rank=1))
    ('editing.multi-task', 'editing.unlearning', 'editing.low-rank')
    """
    used = {
        "editing.multi-task": any(entry.coefficient > 0 for entry in entries),
        "editing.unlearning": any(entry.coefficient < 0 for entry in entries),
        "editing.low-rank": recipe.rank is not None,
        "editing.sparsity": recipe.keep_rows is not None,
    }
    return tuple(claim for claim, rests in used.items() if rests)


def card(base: Checkpoint, entries: Sequence[Entry], recipe: Recipe) -> tuple[str, tuple[str, ...]]:
    """The text of README.md, and the claims that it names."""
    claims = claims_of(entries, recipe)
    cited = ["li2025task"] + ["yadav2023ties"] * (recipe.ties is not None) + ["yu2024dare"] * (recipe.dare is not None)
    # A bar would end a cell of the table.
    names = [_code(entry.label).replace("|", r"\|") for entry in entries]
    rows = [
        f"| {name} | {_KINDS[entry.kind]} | {entry.coefficient:+.10g} |"
        for name, entry in zip(names, entries, strict=True)
    ]
    parts = [
        _front_matter(base),
        f"# {_line(base.label)}, edited",
        f"Made by `lemmata edit` from the base {_code(base.label)}, without training: the weights of the base plus "
        "these task vectors, each times its coefficient.",
        "\n".join(["| task vector | from | coefficient |", "|---|---|---|", *rows]),
        _kept(recipe),
        "The sum was taken in float64 and rounded once, to the dtype of the base. Configuration, tokenizer and other "
        "small files are the base's; see there for its licence and its own card.",
        "## What it rests on",
        "The theorems are about a one-layer Transformer on a model of data; for other models they are a guide, and "
        "whether the edit did what it should has to be measured.",
        "\n".join(f"- `{claim}`: {PROMISES[claim]}" for claim in claims) or "No claim: every coefficient is 0.",
        "## Citation",
        "```bibtex\n" + "\n\n".join(CITATIONS[key] for key in cited) + "\n```",
    ]
    return "\n\n".join(parts) + "\n", claims


_KINDS = {"weights": "full weights", "adapter": "LoRA adapter"}


def _line(label: str) -> str:
    """A name in one line."""
    return " ".join(label.split())


def _code(label: str) -> str:
    """A name as code, whatever is in it.

    >>> _code("ft"), _code("a`b")
    ('`ft`', '``a`b``')
    """
    ticks = "`" * (1 + max(map(len, re.findall("`+", label)), default=0))
    return f"{ticks}{_line(label)}{ticks}"


def _front_matter(base: Checkpoint) -> str:
    """What the Hugging Face hub reads; strings are quoted as JSON, which YAML understands."""
    library = ["library_name: transformers"] if {"model_type", "architectures"} & base.config.keys() else []
    lines = [
        "---",
        *library,
        f"base_model: {json.dumps(base.label, ensure_ascii=False)}",
        "tags:",
        "- merge",
        "- task-vectors",
        f"- {MARK}",
    ]
    return "\n".join([*lines, "---"])


def _kept(recipe: Recipe) -> str:
    """The recipe in words."""
    said = []
    if recipe.rank is not None:
        said.append(f"the best approximation of rank {recipe.rank} of each matrix")
    if recipe.keep_rows is not None:
        said.append(f"the {recipe.keep_rows:g} of the rows of each matrix that have the largest norms")
    if recipe.ties is not None:
        said.append(
            f"the {recipe.ties:g} of the entries of each tensor that have the largest magnitudes. For each entry the "
            "sign of the sum was elected, and the vectors of that sign averaged (TIES)"
        )
    if recipe.dare is not None:
        share, seed = f"{1 - recipe.dare:.10g}", recipe.seed or 0
        said.append(f"each entry with probability {share}, divided by it (DARE, seed {seed})")
    return f"Kept of each task vector: {', and of that '.join(said) or 'all of it'}."
