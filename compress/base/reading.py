"""Files that anyone may have put there, read whole: looked at before they are opened, so that nothing blocks.

A fifo without a writer blocks whoever opens it, and a device such as /dev/zero never ends.
"""

import errno
import os
import stat
from pathlib import Path

from compress.base.errors import InputError

KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def content(path: Path, what: str, most_bytes: int) -> bytes:
    """Return the bytes of a regular file. Raises InputError, one sentence, for anything else; `what` was expected."""
    try:
        if (kind := irregular(path)) is not None:
            raise InputError(f"{path}: is {kind}; expected a {what} file")
        if (size_bytes := path.stat().st_size) > most_bytes:
            raise InputError(f"{path}: {size_bytes} bytes; a {what} has at most {most_bytes}")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what} file") from None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{shortened(str(path))}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # a NUL, or half of a pair of surrogates
        raise InputError(f"{str(path)!r}: names no file ({error})") from None


def irregular(path: Path) -> str | None:
    """Return what a path is, such as `a fifo`, or None for a regular file. Raises OSError where there is nothing."""
    return KINDS.get(stat.S_IFMT(path.stat().st_mode))


def exists(path: Path) -> bool:
    """Return whether there is anything of this name; a name that is too long, or has a NUL, is of nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is such a folder; a path that cannot be one (a NUL, too long) is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def resolved(path: Path) -> Path:
    """Return the absolute path without links; what is in a loop of links, or no path (a NUL), stays as it is."""
    try:
        return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError in a loop
    except ValueError:
        return path.absolute()


def leads_round(path: Path) -> bool:
    """Return whether a path ends in a loop of links."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def expanded(path: str | Path) -> Path:
    """Return the path with `~` and `~user` replaced by their folders. Raises InputError for an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: no user of this name has a home folder here; write the whole path") from None


def shortened(text: str, most: int = 120) -> str:
    """Return at most so many letters of a text: its beginning and its end."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"
