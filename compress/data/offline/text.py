"""Real text on every machine: the source of the interpreter's standard library, without its tests.

    package -> files -> pieces of 400 to 500 characters -> regions of ten -> every sixth region is held out

Whole regions are held out, so that no test text continues a function of a training text.
"""

import hashlib
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from compress.base.config import InputError

# In order of preference: packages of different subjects with much source. Distributions omit some of them.
PACKAGES = (
    "asyncio", "email", "xml", "multiprocessing", "tkinter", "unittest", "importlib", "http", "logging", "urllib",
    "concurrent", "ctypes", "json", "html", "wsgiref", "idlelib", "xmlrpc", "collections", "distutils",
    "zoneinfo", "re",
)  # fmt: skip
MOST_PACKAGES, FEWEST_PACKAGES = 12, 10
MIN_PACKAGE_CHARS = 45_000
TEST_FOLDERS = {"test", "tests", "idle_test", "__pycache__", "site-packages", "testmock"}
LOW, HIGH = 400, 500
REGION = 10
HELD_OUT = 6


def stdlib() -> Path:
    """Return the folder of the interpreter's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def package_files(root: Path, package: str) -> list[Path]:
    """Return the Python files of a package without test folders, sorted by path."""
    files = (root / package).rglob("*.py")
    return sorted(f for f in files if f.is_file() and not TEST_FOLDERS & set(f.relative_to(root).parts))


def packages(root: Path | None = None) -> list[str]:
    """Return the packages with enough source, in order of preference. Raises InputError if there are too few."""
    root = root or stdlib()
    sizes = {name: sum(f.stat().st_size for f in package_files(root, name)) for name in PACKAGES}
    chosen = [name for name in PACKAGES if sizes[name] >= MIN_PACKAGE_CHARS][:MOST_PACKAGES]
    if len(chosen) < FEWEST_PACKAGES:
        raise InputError(
            f"{root}: only {len(chosen)} packages of this Python's standard library come with source, and offline "
            f"workloads need {FEWEST_PACKAGES}; use a Python that is not stripped, or a workload of your own"
        )
    return chosen


def source_digest(root: Path | None = None) -> str:
    """Return 16 hex digits of the names and bytes of all source files of the texts."""
    root = root or stdlib()
    total = hashlib.sha256()
    for package in packages(root):
        for file in package_files(root, package):
            total.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def files(root: Path | None = None) -> Iterator[tuple[str, bool]]:
    """Yield (text, held out) of every file of the packages; every sixth is held out."""
    root = root or stdlib()
    of_all = (file for package in packages(root) for file in package_files(root, package))
    for position, file in enumerate(of_all):
        yield file.read_text(encoding="utf-8", errors="replace"), position % HELD_OUT == 0


def regions(root: Path | None = None, seed: int = 0) -> Iterator[tuple[str, bool]]:
    """Yield (text, held out) of every region: about REGION consecutive pieces of a file."""
    root = root or stdlib()
    rng = random.Random(seed)
    for package in packages(root):
        position = rng.randrange(HELD_OUT)  # counted across files: small files are held out in turn
        for file in package_files(root, package):
            pieces = cut(file.read_text(encoding="utf-8", errors="replace"))
            for start in range(0, len(pieces), REGION):
                yield "".join(pieces[start : start + REGION]), position % HELD_OUT == 0
                position += 1


def cut(text: str) -> list[str]:
    """Return consecutive pieces of whole lines, LOW to HIGH characters each.

    Longer lines are truncated; a short remainder is dropped.
    """
    pieces, current = [], ""
    for line in text.splitlines(keepends=True):
        current = (current + line)[:HIGH]
        if len(current) >= LOW:
            if current.strip():
                pieces.append(current)
            current = ""
    return pieces
