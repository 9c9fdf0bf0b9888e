"""Checks of names and paths from untrusted files: they must stay inside their folder.

A result may come from anybody. Its names become file names, and the path of its trace is read and copied. Neither may
leave the folder through `..`, an absolute path or a link.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from compress.base.errors import InputError
from compress.base.reading import exists, is_folder, leads_round, resolved, shortened, unusable

LONGEST = 150
"""Limit of one name in characters and bytes: file systems allow 255 bytes, and a file name combines two."""


def one_name(name: object, place: str) -> str:
    """Return the name as one part of a path. Raises InputError if it is empty, hidden, unprintable or several parts."""
    text = str(name)
    if not text or text.startswith(".") or not text.isprintable() or "/" in text or "\\" in text:
        raise InputError(f"{place} {text[:LONGEST]!r}: expected the name of a file, without '/', '\\' or a leading '.'")
    if len(text) > LONGEST or len(text.encode()) > LONGEST:
        raise InputError(f"{place} {text[:40]!r}...: has {len(text)} characters; expected at most {LONGEST}")
    return text


def inside(root: Path, stated: str, place: str) -> Path:
    """Return the path `stated` below `root`. Raises InputError if it leads outside, even by a link, or in a loop."""
    relative = PurePosixPath(stated)
    if not stated.isprintable():
        raise InputError(f"{place} has a name that cannot be printed ({stated!r:.200}); rename it")
    if relative.is_absolute() or ".." in relative.parts or "\\" in stated:
        raise InputError(f"{place} lies outside of the folder ({stated!r:.200})")
    target = root / relative
    if (problem := unusable(target)) is not None:
        raise InputError(f"{place} is no path ({problem}): {shortened(stated)!r}")
    if leads_round(target):
        raise InputError(f"{place} cannot be read: {target} is a link to itself, or below such a link")
    if not resolved(target).is_relative_to(resolved(root)):
        raise InputError(f"{place} lies outside of the folder: {target} leads to {resolved(target)}, behind a link")
    return target


def check_writable(folder: Path, option: str) -> None:
    """Raise InputError, early, if a folder cannot be made or written."""
    if (problem := unusable(folder)) is not None:
        raise InputError(f"{option} {shortened(str(folder))}: is no path ({problem}); choose another with {option}")
    place = folder
    while not exists(place) and place != place.parent:  # its nearest existing parent: checks make no folders
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another with {option}") from None


def own_file(file: Path) -> Path:
    """Return the file. Raises InputError for symbolic and hard links."""
    if file.is_symlink() or file.stat(follow_symlinks=False).st_nlink > 1:
        raise InputError(f"{file}: is a link to another file; put a copy in its place")
    return file


def new_file(out: Path, option: str, suffixes: Sequence[str], inputs: Sequence[Path] = ()) -> Path:
    """Return the output file of an option. Raises InputError for a wrong suffix, a folder, or one of the inputs."""
    if out.suffix.lower() not in suffixes:
        raise InputError(f"{option} {out}: expected a name that ends in {' or '.join(suffixes)}")
    if is_folder(out):
        raise InputError(f"{option} {out}: is a folder; expected the name of a file")
    for path in inputs if exists(out) else ():
        if exists(path) and out.samefile(path):
            raise InputError(f"{option} {out}: is {path}, which is read here; choose another name")
    return out
