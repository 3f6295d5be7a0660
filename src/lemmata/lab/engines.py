"""Which engine: by the name that `--engine` takes."""

from __future__ import annotations

from collections.abc import Mapping

from lemmata.lab.engine import Local
from lemmata.lab.errors import InputError, UnknownNameError, nearest
from lemmata.lab.ray_engine import Ray
from lemmata.lab.slurm_engine import Slurm
from lemmata.lab.work import Engine

__all__ = ["ENGINES", "engine"]

ENGINES = (Local.name, Ray.name, Slurm.name)


def engine(name: str, *, address: str | None = None, slurm: Mapping[str, str | int] | None = None) -> Engine:
    """The engine of this name; `address` is Ray's and `slurm` are settings of Slurm's jobs.

    Nothing is imported for it or connected to until it is asked to work.

    Raises:
        UnknownNameError: there is no such engine.
        InputError: an address or settings for an engine that takes none.

    >>> engine("ray", address="auto")
    Ray(address='auto')
    """
    if name not in ENGINES:
        raise UnknownNameError("an engine", name, nearest(name, ENGINES))
    if address is not None and name != Ray.name:
        raise InputError(f"no --address with --engine {name}", address, "pass --engine ray with it, or leave it out")
    if slurm and name != Slurm.name:
        got = ", ".join(f"{key}={value}" for key, value in slurm.items())
        raise InputError(f"no --slurm with --engine {name}", got, "pass --engine slurm with it, or leave it out")
    if name == Ray.name:
        return Ray(address)
    return Slurm(slurm or {}) if name == Slurm.name else Local()
