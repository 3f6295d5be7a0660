"""The verb tokens: a vision transformer with fewer tokens. What it prints is in `sparsity`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lemmata.cli import options
from lemmata.cli.errors import INTERRUPTED
from lemmata.cli.options import Number, Whole
from lemmata.cli.output import print_json, say
from lemmata.lab.errors import InputError

__all__ = ["tokens"]

KEEP = 0.7


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="A folder with a subfolder of images for each class, or a .parquet file with images and labels.",
)
@click.option("--keep", type=Number(), metavar="SHARE", help=f"Share of the patch tokens to keep.  [default: {KEEP}]")
@click.option(
    "--policy",
    metavar="attention|merge|random|noise",
    default="attention",
    show_default=True,
    help="Which tokens go.",
)
@click.option("--layer", type=Whole(1), help="After which layer, counted from 1.  [default: a third of the way]")
@click.option("--advise", is_flag=True, help="Propose --keep from the attention, and check it on held-out images.")
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Which pixels are relevant, by the names of images, in place of removing tokens one by one.",
)
@click.option(
    "--limit", type=Whole(4), default=1000, show_default=True, help="Images to use; half of them fit the probe."
)
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Of the images used, and of --policy random.")
@options.as_json
def tokens(
    model: Path,
    images: Path,
    keep: float | None,
    policy: Any,
    layer: int | None,
    advise: bool,
    mask: Path | None,
    limit: int,
    seed: int,
    as_json: bool,
) -> None:
    """Tell what a vision transformer loses and saves with fewer tokens.

    MODEL is the folder of a ViT or DINOv2, as transformers saves it (config.json and
    safetensors), or as timm does. Nothing is trained but a linear probe, and nothing is written.

    After one layer only a share of the patch tokens goes on; CLS and registers always do.

      attention  the patches go that CLS attends to least
      merge      the most similar patches become one
      random     patches drawn at random go
      noise      the patches go that are most unlike all others

    It prints how many more images a second that is, with both measured by turns; how much
    accuracy a linear probe loses on held-out images; and whether relevant tokens carry most
    of the attention, as arXiv 2302.06015 proves of a trained network of one layer; of a deep
    one nothing follows from it. A token is relevant if the probe's output moves when it is
    removed, or where a mask says so.

    With --advise the share to keep is the smallest that carries 95 % of the attention.

      lemmata tokens dinov2 --images photos/ --keep 0.7
      lemmata tokens dinov2 --images train.parquet --policy merge --keep 0.5
      lemmata tokens dinov2 --images photos/ --advise
    """
    from lemmata.cli.progress import Meter
    from lemmata.cli.sparsity import lines, record
    from lemmata.tools.answering import weights_of
    from lemmata.tools.checkpoint import open_checkpoint
    from lemmata.tools.pictures import read_pictures, sight_of
    from lemmata.tools.pretrained import vision_model
    from lemmata.tools.sparsity import masks, measure

    if advise and keep is not None:
        raise InputError("one of --keep and --advise", "both", "leave --keep out: it is what is asked for")
    keep = None if advise else KEEP if keep is None else keep
    marked = None if mask is None else masks(mask)
    pictures = read_pictures(images)
    start = open_checkpoint(model)
    sight = sight_of(start)
    network = vision_model(start, weights_of(start, [], []))
    try:
        with Meter("image passes") as meter:
            found = measure(
                network,
                pictures,
                sight,
                keep=keep,
                policy=policy,
                layer=layer,
                seed=seed,
                limit=limit,
                mask=marked,
                progress=meter,
            )
    except KeyboardInterrupt:
        say("stopped: nothing is kept of what was measured")
        click.get_current_context().exit(INTERRUPTED)
    if as_json:
        print_json(record(found, model, images))
    else:
        click.echo("\n".join(lines(found, model, images)))
