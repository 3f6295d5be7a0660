"""What `lemmata tokens` prints of what it measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmata.cli.output import ends

if TYPE_CHECKING:
    from lemmata.tools.sparsity import Condition, Measured

__all__ = ["lines", "record"]

WENT = {
    "attention": "those with the least attention",
    "merge": "by merging those with the most similar keys",
    "random": "drawn at random",
    "noise": "those farthest from their nearest neighbour",
}


def record(found: Measured, model: Path, images: Path) -> dict[str, Any]:
    """What `--json` prints; its schema is in docs/schemas."""
    from lemmata.tools.relevance import holds

    condition, advised = found.condition, found.advised
    return {
        "model": {
            "path": str(model),
            "layers": found.layers,
            "heads": found.heads,
            "patches": found.patches,
            "prefix": found.prefix,
        },
        "images": {"path": str(images), "classes": found.classes, "probe": found.fit, "held_out": found.held},
        "policy": found.policy,
        "seed": found.seed,
        "layer": found.layer,
        "keep": found.keep,
        "kept": found.left,
        "speed": {
            "ratio": ends(found.speed.ratio),
            "before": found.speed.before,
            "after": found.speed.after,
            "rounds": found.speed.ratio.n,
            "batch": found.speed.batch,
            "threads": found.speed.threads,
        },
        "accuracy": {"before": found.before, "after": found.after, "drop": ends(found.drop)},
        "condition": {
            "relevance": "removal" if condition.by_removal else "mask",
            "images": condition.images,
            "share": condition.share,
            "holds": holds(condition.mass[found.layer - 1], condition.excess[found.layer - 1]),
            "layers": [
                {"layer": number, "mass": ends(mass), "excess": ends(excess), "holds": holds(mass, excess)}
                for number, (mass, excess) in enumerate(zip(condition.mass, condition.excess, strict=True), 1)
            ],
        },
        "advice": None
        if advised is None
        else {
            "keep": advised.keep,
            "mass": advised.mass,
            "images": advised.images,
            "carried": ends(advised.carried),
            "curve": [{"share": share, "mass": mass} for share, mass in advised.curve],
        },
    }


def lines(found: Measured, model: Path, images: Path) -> list[str]:
    """The same for reading."""
    from lemmata.show.words import count, shown

    speed, (ratio, of_ratio), (drop, of_drop) = found.speed, shown(found.speed.ratio), shown(found.drop)
    prefix = f"{count(found.prefix, 'prefix token')} that always stay" if found.prefix else "no prefix token"
    rows = [
        ("model", f"{model}: {count(found.layers, 'layer')}, {count(found.patches, 'patch token')}, {prefix}"),
        (
            "images",
            f"{images}: {found.fit} to fit the probe, {found.held} held out, "
            f"{count(found.classes, 'class', 'classes')}",
        ),
    ]
    if found.advised is not None:
        curve = ", ".join(f"{mass:.2f} in {share:.0%}" for share, mass in found.advised.curve if share < 1)
        carried, of_carried = shown(found.advised.carried)
        other = "" if found.policy == "attention" else f"; the policy {found.policy} does not keep those, but as many"
        slow = "" if found.speed.ratio.lo > 1 else "; it makes the model no faster here"
        rows += [
            (
                "advice",
                f"keep {found.keep:g}: the smallest share of patch tokens that carries {found.advised.mass:.0%} of the "
                f"attention of layer {found.layer}, over {count(found.advised.images, 'image')} of the probe{other}",
            ),
            ("held out", f"there it carries {carried} {of_carried} of the attention{slow}"),
            ("attention", f"{curve} of the patch tokens"),
        ]
    gone = found.patches - found.left
    what = f"{gone} of {found.patches} patch tokens after layer {found.layer}, {WENT[found.policy]}"
    rows += [
        ("gone", what if gone else f"none of {found.patches} patch tokens"),
        (
            "speed",
            f"{ratio} {of_ratio} times the images a second: {speed.after:.3g}, not {speed.before:.3g} ({speed.ratio.n} "
            f"rounds of {count(speed.batch, 'image')} by turns, {count(speed.threads, 'thread')})",
        ),
        (
            "accuracy",
            f"{found.after:.3f} of a linear probe on held-out images, and {found.before:.3f} with all tokens: a drop "
            + (f"of {drop} {of_drop}, for this one probe" if gone else "of exactly 0"),
        ),
        *_condition(found.condition, found.layer),
    ]
    mass = found.condition.mass[found.layer - 1]
    of = {"speed": found.speed.ratio, "accuracy": found.drop, "attention on relevant": mass}
    rows += [(f"note on {name}", "; ".join(e.objections)) for name, e in of.items() if e.objections]
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {text}" for name, text in rows]


def _condition(condition: Condition, layer: int) -> list[tuple[str, str]]:
    """What is relevant, and whether attention goes there."""
    from lemmata.show.words import count, shown
    from lemmata.tools.relevance import holds

    mass, excess = condition.mass[layer - 1], condition.excess[layer - 1]
    how = "those that move the probe most, more than half in all" if condition.by_removal else "as the masks say"
    (number, interval), (beyond, of_beyond) = shown(mass), shown(excess)
    verdict = {
        True: "holds: relevant tokens carry most of the attention, and more than their share",
        False: "does not hold: relevant tokens carry less than half of the attention"
        if excess.hi >= 0
        else "does not hold: relevant tokens carry less of the attention than their share",
        None: "not told by these images: a half, or their share, is inside an interval",
    }
    return [
        (
            "relevant",
            f"{condition.share:.0%} of the patch tokens ({how}; {count(condition.images, 'image')}) get {number} "
            f"{interval} of the attention in layer {layer}, {beyond} {of_beyond} beyond their share",
        ),
        ("condition", verdict[holds(mass, excess)]),
    ]
