"""What `lemmata edit` prints of what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lemmata.tools.edit import Added, Edited
    from lemmata.tools.recipes import Recipe

__all__ = ["lines", "record"]


def record(edited: Edited) -> dict[str, Any]:
    """What `--json` prints; its schema is in docs/schemas."""
    return {
        "output": str(edited.output),
        "base": str(edited.base),
        "vectors": [
            {
                "path": str(added.path),
                "name": added.label,
                "kind": added.kind,
                "coefficient": added.coefficient,
                "dtypes": list(added.dtypes),
                "norm": added.norm,
                "kept": added.kept,
                "changed": added.changed,
                "buffers": list(added.buffers),
            }
            for added in edited.vectors
        ],
        "recipe": {
            "rank": edited.recipe.rank,
            "keep_rows": edited.recipe.keep_rows,
            "ties": edited.recipe.ties,
            "dare": edited.recipe.dare,
            "seed": None if edited.recipe.dare is None else edited.recipe.seed or 0,
        },
        "tensors": edited.tensors,
        "parameters": edited.parameters,
        "bytes": edited.bytes,
        "dtypes": edited.dtypes,
        "files": list(edited.files),
        "copied": list(edited.copied),
        "left_out": list(edited.left_out),
        "claims": list(edited.claims),
    }


def lines(edited: Edited) -> list[str]:
    """The same for reading."""
    from lemmata.show.words import count

    of_each = [count(number, f"tensor in {dtype}", f"tensors in {dtype}") for dtype, number in edited.dtypes.items()]
    rows = [
        ("base", str(edited.base)),
        *((f"{added.coefficient:+g}", _of(added, edited.recipe)) for added in edited.vectors),
        ("wrote", f"{edited.output}: {', '.join(of_each)}, {count(len(edited.files), 'file')} of weights"),
        ("beside", ", ".join(["README.md, the model card", *edited.copied])),
    ]
    if edited.left_out:
        rows.append(("not", f"{', '.join(edited.left_out)}: too large, or weights in another format"))
    for added in edited.vectors:
        if added.buffers:
            rows.append(("note", f"as in the base, unlike in {added.path}: {', '.join(added.buffers)}"))
    rows.append(("rests on", ", ".join(edited.claims) or "no claim: every coefficient is 0"))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {text}" for name, text in rows]


def _of(added: Added, recipe: Recipe) -> str:
    """A task vector, and how much the recipe kept of it."""
    from lemmata.show.words import count, number

    what = "LoRA adapter" if added.kind == "adapter" else "full weights"
    text = f"{added.path} ({what}), which changes {count(added.changed, 'tensor')} by a norm of {number(added.norm)}"
    whole = (recipe.rank, recipe.keep_rows, recipe.ties, recipe.dare) == (None,) * 4
    return text if whole else f"{text}; kept {number(added.kept)} of its square"
