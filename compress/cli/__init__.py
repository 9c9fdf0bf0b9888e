"""The command line: parses and prints, never computes. A file a group of commands; each is a thin function.

Exit codes: 0 fine, 1 a recipe failed or a result could not be written, 2 bad input, 130 interrupted (Ctrl-C),
143 terminated, 141 nobody reads the output any more.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

# Commands stand in --help as their files are imported.
# isort: off
from compress.cli import running, reading, metering, publishing, listing

# isort: on
from compress.base.errors import InputError, NotWritten
from compress.base.interrupts import CLOSED
from compress.base.processes import limited
from compress.base.quiet import quiet_libraries
from compress.base.terminal import guard_usage_errors, print_errors
from compress.cli import streams
from compress.cli.options import app

__all__ = ["app", "command", "main", "running", "reading", "metering", "publishing", "listing"]


def main() -> NoReturn:
    """End this process with the code of the command line; `compress.__main__` handles signals too."""
    sys.exit(command())


def command() -> int:
    """Return the exit code of the command line; bad input is one message on standard error and exit code 2."""
    streams.prepare()
    quiet_libraries()
    for name, value in limited().items():
        os.environ.setdefault(name, value)
    guard_usage_errors(sys.argv)
    try:
        app()
    except InputError as error:
        return _told(error.problems, 2)
    except NotWritten as error:
        return _told(error.problems, 1)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer and rich end with 1 then
            return CLOSED
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BrokenPipeError:
        return CLOSED
    except OSError as error:  # a full disk under a temporary file or under the output, and paths that cannot be opened
        return _told([f"{error.filename or 'a file or the output'}: {error.strerror or error}"], 1)
    return 0


def _told(problems: Iterable[str], code: int) -> int:
    """Return the exit code after printing the problems, one line each."""
    with suppress(OSError):  # a full or closed standard error: the exit code tells
        print_errors(problems)
    return code
