"""Reading of untrusted files: checks of type and size before they are opened.

Opening a fifo without a writer blocks, and reading a device such as /dev/zero never ends.
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
    """Return the bytes of a regular file. Raises InputError for anything else; `what` names the expected kind."""
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
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise InputError(f"{str(path)!r}: not a valid path ({error})") from None


def irregular(path: Path) -> str | None:
    """Return the kind of a path, such as `a fifo`, or None for a regular file. Raises OSError if it does not exist."""
    return KINDS.get(stat.S_IFMT(path.stat().st_mode))


def exists(path: Path) -> bool:
    """Return whether a path exists; False for an invalid one (too long, or with a NUL)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False for an invalid one (too long, or with a NUL)."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def resolved(path: Path) -> Path:
    """Return the absolute path without links; a loop of links and an invalid path (with a NUL) stay unresolved."""
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


def unusable(path: Path) -> str | None:
    """Return why no file can have this path, such as a name that is too long; None for any other path."""
    try:
        path.lstat()
    except OSError as error:
        return error.strerror if error.errno == errno.ENAMETOOLONG else None
    except ValueError as error:  # a NUL
        return str(error)
    return None


def expanded(path: str | Path) -> Path:
    """Return the path with `~` and `~user` replaced by their folders. Raises InputError for an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: unknown user, or no home folder; write the full path") from None


def shortened(text: str, most: int = 120) -> str:
    """Return a text cut to about `most` characters: its beginning and its end."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"
