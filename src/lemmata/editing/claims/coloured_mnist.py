"""editing.coloured-mnist: tables A and B on MNIST itself."""

from __future__ import annotations

from functools import partial

from lemmata.editing.claims.coloured_digits import predictions as table_a
from lemmata.editing.claims.coloured_digits import published
from lemmata.editing.claims.coloured_ood import panel as reaching
from lemmata.editing.claims.coloured_ood import predictions as table_b
from lemmata.editing.coloured_experiments import MNIST_MLP, MNIST_VIT, NETS
from lemmata.editing.coloured_probes import PAIRS
from lemmata.lab.claim import Claim, Frames
from lemmata.lab.figure import Figure, Mark, Panel, curves, drawable


def panel(frames: Frames, pair: str) -> Panel:
    """Accuracy on both tasks against lambda in both networks, with the published best edits."""
    marks: list[Mark] = []
    for group, (net, of) in enumerate({"vit": MNIST_VIT, "mlp": MNIST_MLP}.items()):
        label, where = "{}, " + NETS[net], {"pair": pair, "part": "test"}
        marks += curves(frames[of.name], "accuracy", by="task", label=label, where=where, first_group=2 * group)
    marks += published(pair)
    return Panel(title=f"{pair} T2", x="lambda", y="accuracy", marks=tuple(marks), y_range=(0.0, 1.0))


def figure(frames: Frames) -> Figure:
    """Both tasks against lambda in both networks, and accuracy on T' over both coefficients."""
    return Figure(
        panels=drawable(*(partial(panel, frames, pair) for pair in PAIRS), partial(reaching, frames, MNIST_VIT, "vit")),
        caption="Accuracy of the edited network on T1 and T2 against lambda, for a T2 that is irrelevant, aligned or "
        "contradictory to T1, with the best edits of the published Table A; last, the vision transformer's accuracy on "
        "an unseen T' over both coefficients. MNIST at 16 x 16 pixels.",
    )


CLAIM = Claim(
    id="editing.coloured-mnist",
    title="Coloured MNIST: adding, unlearning and an unseen task",
    statement="Tables A and B on MNIST, at 16 x 16 pixels, in a small vision transformer and a perceptron that learned "
    "the ten digits in random colours first. Takes about 1.5 minutes with --quick on two cores, and 3 without.",
    source="Tables A and B, figure C (coloured MNIST, ViT-Small/16)",
    cites=("li2025editing",),
    needs=("data:mnist",),
    predictions=(*table_a(MNIST_VIT, "vit"), *table_a(MNIST_MLP, "mlp"), *table_b(MNIST_VIT, "vit")),
    figure=figure,
)
