"""The options that the verbs share, and what they ask of the laboratory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lemmata.lab.errors import InputError

if TYPE_CHECKING:
    from lemmata.lab.claim import Claim, Options, Progress
    from lemmata.lab.grid import Profile
    from lemmata.lab.trainee import Value

__all__ = [
    "Asked",
    "Number",
    "Whole",
    "as_json",
    "asked",
    "compiled",
    "data",
    "device",
    "engine",
    "force",
    "how",
    "output",
    "what",
    "where",
    "workers",
]

F = TypeVar("F", bound=Callable[..., Any])


class Whole(click.ParamType):
    """A whole number of at least `low`, in 64 bits."""

    name = "N"
    most = 2**63 - 1

    def __init__(self, low: int) -> None:
        """Where the numbers begin."""
        self.low = low

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or an `InputError` that names the option."""
        option = param.opts[0] if param else "the option"
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or not self.low <= number <= self.most:
            most = f" and at most {self.most}" if number is not None and number > self.most else ""
            expected = f"a whole number of at least {self.low}{most} for {option}"
            raise InputError(expected, str(value), f"for example {option} {max(10, self.low)}")
        return number


class Number(click.ParamType):
    """A finite number."""

    name = "X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or an `InputError` that names the option."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            option = param.opts[0] if param else "the option"
            raise InputError(f"a number for {option}", str(value), f"for example {option} 0.5")
        return number


@dataclass
class Asked:
    """What the shared options of one call asked for; click fills it in option by option."""

    quick: bool = False
    full: bool = False
    seeds: int | None = None
    settings: tuple[str, ...] = ()
    store: Path = Path("lemmata-store")
    workers: int | None = None
    device: str = "cpu"
    compile: bool = False
    engine: str = "local"
    address: str | None = None
    slurm: tuple[str, ...] = ()

    @property
    def profile(self) -> Profile | None:
        """The profile asked for by name; None without a word about it.

        Raises:
            InputError: two profiles at once.
        """
        if self.quick and self.full:
            raise InputError("one of --quick and --full", "both", "leave one of them out")
        return "quick" if self.quick else "full" if self.full else None

    def options(self, claims: Sequence[Claim], *, progress: Progress | None = None) -> Options:
        """The laboratory's own options for these claims, at the default profile where none was named."""
        from lemmata.lab.claim import Options

        return Options(
            profile=self.profile or "default",
            seeds=self.seeds,
            changes=self._changes(claims),
            store=self.store,
            workers=self.workers,
            device=self.device,
            compile=self.compile,
            engine=self.engine,
            address=self.address,
            slurm=dict(_pair("--slurm", text, "--slurm minutes=30") for text in self.slurm),
            progress=progress,
        )

    def _changes(self, claims: Sequence[Claim]) -> dict[str, Value]:
        kinds = {name: kind for claim in claims for e in claim.experiments for name, kind in e.changeable().items()}
        changes: dict[str, Value] = {}
        for text in self.settings:
            name, value = _pair("--set", text, "--set beta=1.5")
            changes[name] = _read(value, kinds.get(name, str))
        return changes


def _pair(option: str, text: str, example: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise InputError(f"{option} NAME=VALUE", text, f"for example {example}")
    return name, value


def _read(text: str, kind: type) -> Value:
    """The text as a constant of this kind; what cannot be read stays text, which the trainee refuses."""
    words = {"true": True, "false": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        return text


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    setattr(ctx.ensure_object(Asked), str(param.name), value)


def _set_data_root(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Kept in the environment, where `lab.needs` and the worker processes look."""
    if value is None:
        return
    if not value.is_dir():
        raise InputError("an existing folder for --data", str(value), "name the folder that holds the data")
    os.environ["LEMMATA_DATA"] = str(value.resolve())


def _option(*names: str, **about: Any) -> Callable[[F], F]:
    """A shared option: kept in `Asked`, not passed to the verb."""
    return click.option(*names, expose_value=False, callback=_keep, **about)


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(verb: F) -> F:
        for option in reversed(options):
            verb = option(verb)
        return verb

    return decorate


asked = click.make_pass_decorator(Asked, ensure=True)

what = _together(
    _option("--quick", is_flag=True, help="Few seeds and a coarse grid: minutes."),
    _option("--full", is_flag=True, help="Many seeds and a fine grid."),
    _option("--seeds", type=Whole(1), help="Seeds of each condition, in place of the profile's."),
    _option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Another value of a constant; may be repeated. `lemmata list CLAIM` names them.",
    ),
)

data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    envvar="LEMMATA_DATA",
    show_envvar=True,
    expose_value=False,
    callback=_set_data_root,
    help="The root folder of local data.",
)

where = _together(
    _option(
        "--store",
        type=click.Path(path_type=Path),
        metavar="DIR",
        default=Path("lemmata-store"),
        show_default=True,
        envvar="LEMMATA_STORE",
        show_envvar=True,
        help="The folder that keeps every measurement.",
    ),
    data,
)

workers = _option("--workers", type=Whole(1), help="Processes to train in, or jobs at once.  [default: one a core]")

compiled = _option("--compile", is_flag=True, help="Compile the training step where that saves time: in long runs.")

device = _together(
    _option("--device", metavar="cpu|cuda", default="cpu", show_default=True, help="Where to train."),
    compiled,
)

engine = _together(
    _option(
        "--engine",
        type=click.Choice(["local", "ray", "slurm"]),
        default="local",
        show_default=True,
        help="Processes here, or a cluster.",
    ),
    _option("--address", metavar="HOST:PORT", help="The Ray cluster, with --engine ray."),
    _option(
        "--slurm",
        multiple=True,
        metavar="NAME=VALUE",
        help="account, partition, cpus, gb or minutes of a job, with --engine slurm; may be repeated.",
    ),
)

how = _together(workers, device, engine)

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")

force = click.option("--force", is_flag=True, help="Replace an existing file.")


def output(what: str, *, required: bool = True) -> Callable[[F], F]:
    """The option -o: where a file is written."""
    path = click.Path(path_type=Path)
    return click.option("-o", "--output", type=path, metavar="FILE", required=required, help=what)
