"""The command line: parses and prints, never computes. A file a group of commands; each is a thin function.

Exit codes: 0 fine, 1 a recipe failed or a result could not be written, 2 bad input, 130 interrupted (Ctrl-C).
"""

import sys

# Commands stand in --help as their files are imported.
# isort: off
from compress.cli import running, reading, metering, publishing, listing

# isort: on
from compress.cli.options import app
from compress.errors import InputError, NotWritten
from compress.quiet import quiet_libraries
from compress.terminal import guard_usage_errors, print, print_errors

__all__ = ["app", "main", "running", "reading", "metering", "publishing", "listing"]


def main() -> None:
    """Runs the command line; bad input is one message on standard error and exit code 2."""
    quiet_libraries()
    guard_usage_errors(sys.argv)
    try:
        app()
    except InputError as error:
        print_errors(error.problems)
        sys.exit(2)
    except NotWritten as error:
        print_errors(error.problems)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == 130:  # what typer makes of Ctrl-C
            print("interrupted; finished results and artifacts are whole, run the same command to go on",
                  file=sys.stderr)  # fmt: skip
        raise
