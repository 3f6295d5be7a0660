"""Numbers, spans of time and commands in plain words, the same in the report and in the terminal."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping

from lemmata.lab.check import Result
from lemmata.lab.claim import Options
from lemmata.lab.estimate import Estimate
from lemmata.lab.trainee import Value

__all__ = ["command", "count", "duration", "number", "setting", "shown"]


def number(value: object) -> str:
    """Up to four significant digits, with a true minus sign; words stay as they are.

    >>> number(-0.66666), number(float("inf")), number(20.0), number("iid"), number(123456)
    ('−0.6667', '∞', '20', 'iid', '123456')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _plain(value)
    if math.isnan(value):
        return "none"
    text = str(value) if isinstance(value, int) else f"{value:.4g}"
    return text.replace("inf", "∞").replace("-", "−")


def shown(estimate: Estimate | None) -> tuple[str, str]:
    """An estimate and its interval, to a hundredth of the interval's length; open ends are infinite.

    >>> shown(Estimate(0.00083017, -0.0010381, 0.0026985, n=3))
    ('0.00083', '[−0.00104, 0.00270]')
    >>> shown(Estimate(1.0, 1.0, 1.0, n=3)), shown(None)
    (('1', '[1, 1]'), ('', ''))
    """
    if estimate is None:
        return "", ""
    length = estimate.hi - estimate.lo
    ends = (estimate.value, estimate.lo, estimate.hi)
    if 1e-6 < length < math.inf:
        decimals = max(2 - math.floor(math.log10(length)), 0)
        value, lo, hi = (f"{end:.{decimals}f}".replace("-", "−") if end else "0" for end in ends)
    else:
        value, lo, hi = map(number, ends)
    return value, f"[{lo}, {hi}]"


def count(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "seed"), count(12, "seed"), count(2, "hypothesis", "hypotheses")
    ('1 seed', '12 seeds', '2 hypotheses')
    """
    return f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") + f" {one if n == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """A span of time in the unit that suits it.

    >>> duration(8), duration(200), duration(9000)
    ('8 seconds', '3 minutes', '2.5 hours')
    """
    if seconds < 90:
        return count(math.ceil(seconds), "second")
    if seconds < 5400:
        return count(round(seconds / 60), "minute")
    return f"{number(round(seconds / 3600, 1))} hours"


def setting(changes: Mapping[str, Value]) -> str:
    """Changed constants as one writes them.

    >>> setting({"beta": 1.5, "m": 200})
    'beta=1.5, m=200'
    """
    return ", ".join(f"{name}={_plain(value)}" for name, value in changes.items())


def command(verb: str, result: Result, *rest: str) -> str:
    """The command that gives this result again, ready for a shell.

    >>> from types import SimpleNamespace as Fake
    >>> options = Options(profile="quick", seeds=7, changes={"beta": 1.5})
    >>> command("check", Fake(claim=Fake(id="icl.pruning"), options=options))
    'lemmata check icl.pruning --quick --seeds 7 --set beta=1.5'
    """
    options = result.options
    words = ["lemmata", verb, result.claim.id]
    words += [] if options.profile == "default" else [f"--{options.profile}"]
    words += [] if options.seeds is None else ["--seeds", str(options.seeds)]
    for name, value in options.changes.items():
        words += ["--set", f"{name}={_plain(value)}"]
    words += [] if options.store == Options().store else ["--store", str(options.store)]
    return shlex.join([*words, *rest])


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
