"""`python -m compress`, and the command `compress`."""

from compress.interrupts import run
from compress.startup import seldom_collect


def main() -> None:
    """Runs the command line. Signals are handled before the rest is imported."""
    seldom_collect()
    run(_command)


def _command() -> int:
    from compress.cli import command

    return command()


if __name__ == "__main__":
    main()
