"""The command line: parses and prints, never computes. A file a group of commands; each is a thin function.

Exit codes: 0 fine, 1 a recipe failed or a result could not be written, 2 bad input, 130 interrupted (Ctrl-C).
"""

import sys
from collections.abc import Iterable
from contextlib import suppress

# Commands stand in --help as their files are imported.
# isort: off
from compress.cli import running, reading, metering, publishing, listing

# isort: on
from compress.cli import streams
from compress.cli.options import app
from compress.errors import InputError, NotWritten
from compress.quiet import quiet_libraries

__all__ = ["app", "main", "running", "reading", "metering", "publishing", "listing"]


def main() -> None:
    """Runs the command line; bad input is one message on standard error and exit code 2."""
    streams.prepare()
    quiet_libraries()
    sys.exit(streams.flushed(_exit_code()))


def _exit_code() -> int:
    try:
        app()
    except InputError as error:
        return _said(error.problems, 2)
    except NotWritten as error:
        return _said(error.problems, 1)
    except SystemExit as ended:
        if ended.code == 130:  # what typer makes of Ctrl-C
            _said(["finished results and artifacts are whole, run the same command to go on"], 130, "interrupted; ")
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except OSError as error:  # a full disk under a temporary file or under the output, and paths that cannot be opened
        return _said([f"{error.filename or 'a file or the output'}: {error.strerror or error}"], 1)
    return 0


def _said(problems: Iterable[str], code: int, kind: str = "error: ") -> int:
    """Return the exit code after the problems were printed, a line each."""
    with suppress(OSError):  # a full or closed standard error: the exit code tells
        for problem in problems:
            print(f"{kind}{problem}", file=sys.stderr)
    return code
