"""Every error a user can meet, each in three parts: what was expected, what came, the usual fix.

LemmataError
├── InputError            the call is wrong
│   ├── ConstantError     a constant of an experiment has no such name or cannot take this value
│   ├── UnknownNameError  no such paper, claim, cell or profile
│   └── OutputError       a file cannot be written there, or not in this format
├── DataError             the inputs exist, but no data or statistic of the asked kind do
├── StoreError            the store cannot be read or written
├── DeviceError           the device is not there
├── EngineError           the training itself broke down (a worker was killed again and again, or no cluster answers)
└── RegistryError         a paper or claim is registered wrongly
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ConstantError",
    "DataError",
    "DeviceError",
    "EngineError",
    "InputError",
    "LemmataError",
    "OutputError",
    "RegistryError",
    "StoreError",
    "UnknownNameError",
    "nearest",
]


class LemmataError(Exception):
    """The root of all errors that Lemmata raises on purpose.

    >>> raise InputError("a number of seeds of at least 1", "0", "pass --seeds 1 or more")
    Traceback (most recent call last):
    lemmata.lab.errors.InputError: expected a number of seeds of at least 1
    got      0
    fix      pass --seeds 1 or more
    """

    def __init__(self, expected: str, got: str, fix: str) -> None:
        """Keep the three parts apart, so that a caller can print them its own way."""
        super().__init__(expected, got, fix)
        self.expected, self.got, self.fix = expected, got, fix

    def __str__(self) -> str:
        """The three parts, a line each."""
        return f"expected {self.expected}\ngot      {self.got}\nfix      {self.fix}"


class InputError(LemmataError):
    """The call is wrong."""


class ConstantError(InputError):
    """A constant of an experiment has no such name, or cannot take this value."""


class UnknownNameError(InputError):
    """No paper, claim, cell or profile has this name."""


class OutputError(InputError):
    """A file cannot be written there, or not in this format."""


class DataError(LemmataError):
    """No data, or no statistic, of the asked kind exist."""


class StoreError(LemmataError):
    """The store cannot be read or written."""


class DeviceError(LemmataError):
    """The device is not there."""


class EngineError(LemmataError):
    """The training itself broke down."""


class RegistryError(LemmataError):
    """A paper or a claim is registered wrongly."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The usual fix of a misspelt name: the nearest one, or all of them.

    >>> nearest("icl.prunning", ["icl.pruning", "icl.layers"])
    'did you mean icl.pruning?'
    >>> nearest("zebra", ["icl.pruning", "icl.layers"])
    'choose one of icl.layers, icl.pruning'
    """
    names = sorted(names)
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"
