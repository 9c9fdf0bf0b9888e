"""The command line: parses and prints, never computes. Each file holds a group of commands, as thin functions.

Exit codes: 0 success, 1 a recipe failed or a result could not be written, 2 bad input, 130 interrupted (Ctrl-C),
143 terminated, 141 the reader closed the output.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NoReturn

# --help lists commands in the order of these imports.
# isort: off
from compress.cli import running, reading, metering, publishing, listing

# isort: on
from compress.base.errors import InputError, NotWritten
from compress.base.interrupts import CLOSED
from compress.base.processes import limited
from compress.base.quiet import quiet_libraries
from compress.base.terminal import guard_usage_errors, print_errors
from compress.cli import completion, streams
from compress.cli.options import app

__all__ = ["app", "command", "main", "running", "reading", "metering", "publishing", "listing"]


def main() -> NoReturn:
    """Exit with the code of the command line; `compress.__main__` handles signals too."""
    sys.exit(command())


def command() -> int:
    """Run the command line and return its exit code. Bad input prints one message on standard error and returns 2."""
    streams.prepare()
    quiet_libraries()
    for name, value in limited().items():
        os.environ.setdefault(name, value)
    guard_usage_errors(sys.argv)
    try:
        _refuse_empty(sys.argv[1:])
        app(prog_name=completion.program(sys.argv))
    except InputError as error:
        return _print_problems(error.problems, 2)
    except NotWritten as error:
        return _print_problems(error.problems, 1)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer and rich exit with 1 for it
            return CLOSED
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BrokenPipeError:
        return CLOSED
    except OSError as error:  # a full disk for a temporary file or the output, or a path that cannot be opened
        return _print_problems([f"{error.filename or 'a file or the output'}: {error.strerror or error}"], 1)
    return 0


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Raise InputError for an empty argument, which Path would take for this folder."""
    for before, argument in pairwise(["", *arguments]):
        option, equals, value = argument.partition("=") if argument.startswith("--") else (before, "", argument)
        if not value and (equals or not argument):
            after = f" after {option}" if option.startswith("--") else ""
            raise InputError(f"empty text{after}; expected a value, or nothing: is a variable of the shell unset?")


def _print_problems(problems: Iterable[str], code: int) -> int:
    """Print the problems, one line each, and return the exit code."""
    with suppress(OSError):  # standard error is full or closed: only the exit code reports the failure
        print_errors(problems)
    return code
