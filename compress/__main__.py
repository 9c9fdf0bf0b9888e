"""`python -m compress`."""

from compress.startup import seldom_collect

if __name__ == "__main__":
    seldom_collect()

    from compress.cli import main

    main()
