"""The verb neighbours: which distances of a graph carry the label. What it prints is in `hops`."""

from __future__ import annotations

from pathlib import Path

import click

from lemmata.cli import options
from lemmata.cli.errors import INTERRUPTED
from lemmata.cli.options import Number, Whole
from lemmata.cli.output import print_json, say, to_json, write
from lemmata.lab.errors import InputError

__all__ = ["neighbours"]


@click.command()
@click.option(
    "--graph",
    "name",
    required=True,
    metavar="NAME|FILE",
    help="PubMed, Cora, Actor, PascalVOC-SP or superpixels, from --data; or a file .npz or .pt.",
)
@click.option("--max-hops", type=Whole(1), default=12, show_default=True, help="The farthest distance.")
@click.option("--size", type=Whole(1), default=4, show_default=True, help="Nodes sampled at each distance.")
@click.option("--labelled", type=Number(), default=0.6, show_default=True, help="Share of the labels to train on.")
@click.option("--seeds", type=Whole(2), default=3, show_default=True, help="Fits; intervals are over them.")
@click.option("--steps", type=Whole(1), default=300, show_default=True, help="Gradient steps of a fit.")
@click.option("--advise", is_flag=True, help="Say which distances to sample from. --compare and --output do it too.")
@click.option("--compare", is_flag=True, help="Check them against other ways to sample.")
@options.output("Write the sampler's setting, as .json.", required=False)
@options.force
@options.data
@options.as_json
def neighbours(
    name: str,
    max_hops: int,
    size: int,
    labelled: float,
    seeds: int,
    steps: int,
    advise: bool,
    compare: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Tell which neighbours of a node carry its label, by their distance.

    At each distance it measures the majority-vote margin: nodes with one's own label, less
    those with the strongest other one, over all. Then a graph transformer with a bias for
    each distance is fitted, and the biases are told. The theorem of arXiv 2406.01977 wants
    one distance at which the vote is right for every node; it says for how many it is.

    A distance is advised that carries more of the label than chance, and to whose nodes the
    network gives at least a tenth of the weight of those that get most. With --compare sampling
    there is compared with sampling uniformly, with the whole neighbourhood and with none, on
    the same seeds.

    FILE.npz has arrays edges (2, E), features (N, C) and labels (N,), -1 for none; FILE.pt
    the tensors edge_index, x and y.

      lemmata neighbours --graph PubMed --max-hops 12 --advise --data DIR
      lemmata neighbours --graph mine.npz --max-hops 4 --compare
      lemmata neighbours --graph mine.pt --advise -o sampler.json
    """
    from lemmata.cli.hops import lines, record, setting
    from lemmata.cli.progress import Meter
    from lemmata.show.output import check_output
    from lemmata.show.words import duration
    from lemmata.tools import neighbours as tool
    from lemmata.tools.graph_files import read_graph

    if output is not None:
        check_output(output, endings=(".json",), force=force)
    if not 0 < labelled < 1:
        raise InputError("a share of labels between 0 and 1 to train on", f"{labelled:g}", "for example --labelled 0.6")
    graph = read_graph(name)
    for repair in graph.repairs:
        say(f"{name}: {repair}")
    try:
        with Meter("nodes searched from") as meter:
            studied = tool.study(graph, max_hops=max_hops, told=meter)
        config = tool.network(studied, size=size, labelled=labelled, steps=steps)
        with Meter("fits") as meter:
            learned = tool.learn(config, seeds, told=meter)
        hops = tool.advised(studied, learned) if advise or compare or output else None
        arms = None
        if compare and hops:
            say(f"comparison: about {duration(tool.expected_seconds(config, hops, seeds, learned))}")
            with Meter("fits") as meter:
                arms = tool.compare(config, hops, seeds, told=meter)
    except KeyboardInterrupt:
        say("stopped: nothing is kept of what was measured")
        click.get_current_context().exit(INTERRUPTED)
    if as_json:
        print_json(record(studied, learned, hops, arms, size=size))
    else:
        click.echo("\n".join(lines(studied, learned, hops, arms, size=size)))
    if not hops and (compare or output):
        say("no distance is advised: nothing is compared, and nothing written")
    elif hops and output:
        write(output, (to_json(setting(graph, hops, size)) + "\n").encode())
