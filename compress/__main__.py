"""Entry point of `python -m compress` and of the command `compress`."""

from compress.base.startup import end_at_once, seldom_collect


def main() -> None:
    """Run the command line."""
    end_at_once()
    seldom_collect()

    from compress.base.interrupts import run

    run(_command)


def _command() -> int:
    from compress.cli import command

    return command()


if __name__ == "__main__":
    main()
