"""How a call ends that cannot succeed: a message of three parts on stderr, and an exit status."""

from __future__ import annotations

import os
import traceback

import click

from lemmata.lab.errors import EngineError, InputError, LemmataError, nearest

__all__ = ["DIFFERENT", "FAILED", "INTERRUPTED", "REFUSED", "explain"]

FAILED, REFUSED, DIFFERENT, INTERRUPTED = 1, 2, 3, 130


def explain(error: BaseException) -> tuple[int, str]:
    """The exit status of an error, and what is said about it."""
    if isinstance(error, click.UsageError):
        error = _usage(error)
    if isinstance(error, LemmataError):
        return FAILED if isinstance(error, EngineError) else REFUSED, str(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        text = "stopped: the store keeps what was finished; the same command goes on from there"
        return INTERRUPTED, text
    if os.environ.get("LEMMATA_TRACEBACK"):
        return FAILED, "".join(traceback.format_exception(error)).rstrip()
    text = " ".join(str(error).split())
    return FAILED, f"{type(error).__name__}: {text} (LEMMATA_TRACEBACK=1 shows where it happened)"


def _usage(error: click.UsageError) -> InputError:
    """Click's own errors, in three parts like ours."""
    command = error.ctx.command_path if error.ctx else "lemmata VERB"
    fix = f"{command} --help shows what it takes"
    if isinstance(error, click.NoSuchOption):
        if error.possibilities:
            fix = nearest(error.option_name, error.possibilities)
        return InputError(f"an option of {command}", error.option_name, fix)
    if isinstance(error, click.MissingParameter) and error.param:
        names = error.param.opts
        wanted = names[-1].upper() if error.param.param_type_name == "argument" else " or ".join(names)
        return InputError(f"{wanted} after {command}", "none", fix)
    got = error.format_message().removeprefix("Got ").rstrip(".")
    return InputError(f"a call that {command} understands", got[:1].lower() + got[1:], fix)
