"""The group that all verbs belong to, and what `lemmata --help` says."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version

import click

from lemmata.lab.errors import UnknownNameError, nearest

__all__ = ["verbs"]


class Verbs(click.Group):
    """The verbs in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a verb whose docstring is its help, examples and all."""
        cmd.help = _keep_examples(cmd.help or "")
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that was called.

        Raises:
            UnknownNameError: there is no such verb; the message names the nearest.
        """
        verb = args[0]
        if not verb.startswith("-") and verb not in self.commands:
            raise UnknownNameError("a verb of lemmata", verb, nearest(verb, self.commands))
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 it ran, 2 the call or the input is wrong, 3 verdicts differ from those "
    "expected, 130 stopped by Ctrl-C, 1 anything else.",
)
@click.version_option(version("lemmata"), prog_name="lemmata", message="%(prog)s %(version)s")
@click.pass_context
def verbs(ctx: click.Context) -> None:
    """A laboratory for the theory of how Transformers learn: theorems in, verdicts out.

    Each claim of a paper is a prediction with a rule that was fixed before the run. Lemmata trains
    what the claim needs, keeps every measurement in a store and judges the prediction by its rule.
    A first session, in order:

      lemmata list                        which papers and claims there are
      lemmata list icl.pruning            what one of them predicts, and its constants
      lemmata plan icl --quick            how much there is to train, and for how long
      lemmata check icl --quick           train it, and judge
      lemmata show icl.pruning -o f.pdf   the claim's figure
      lemmata table icl.pruning --csv     the numbers behind it
      lemmata report -o report.html       everything that was found, as one page
      lemmata cite icl.pruning            whom to cite

    An interrupted check goes on where it stopped. `lemmata VERB --help` explains each verb.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _keep_examples(text: str) -> str:
    r"""Mark indented paragraphs, which click would otherwise fill like prose.

    >>> _keep_examples("Prose.\n\n  lemmata list\n\nMore.")
    'Prose.\n\n\x08\n  lemmata list\n\nMore.'
    """
    return re.sub(r"\n\n(?=  )", "\n\n\b\n", inspect.cleandoc(text))


verbs.help = _keep_examples(verbs.help or "")
