"""The folder of an export: where it lies, and what is checked before a model is loaded. No torch."""

import json
import os
from importlib import util
from pathlib import Path

from compress.base.errors import InputError
from compress.base.places import check_writable
from compress.base.reading import exists, is_folder
from compress.spec.exports import HOLDS, Target

RECORD = "export.json"
"""What was exported, and the checks that it passed. Only a folder with this file is replaced."""
CARD = "README.md"


def default_folder(source: Path, target: Target) -> Path:
    """Return where an artifact's export goes: exports/<workload>/<recipe>/<format>."""
    place = source.absolute()
    return Path("exports") / place.parent.name / place.name / target


def check_place(target: Target, out: Path) -> None:
    """Raise InputError if a package is missing, or an export cannot be written to a folder."""
    _check_packages(target)
    _refuse_foreign(out)
    check_writable(out, "--out")


def _check_packages(target: Target) -> None:
    """Raise InputError if a package that writes or checks the format is missing."""
    for package in HOLDS[target].pip:
        if util.find_spec(package.replace("-", "_")) is None:
            raise InputError(
                f"--to {target}: {package} is not installed, and the files could not be checked; install it: "
                f"pip install 'compress[{target}]'"
            )


def _refuse_foreign(out: Path) -> None:
    """Raise InputError for a path that an export must not replace."""
    if os.path.islink(out) or (exists(out) and not out.is_dir()):  # noqa: PTH114  False for a path too long
        raise InputError(f"--out {out}: is not a folder; expected a new folder, or an export to replace")
    if not is_folder(out) or not any(out.iterdir()):
        return
    try:
        listed = {*json.loads((out / RECORD).read_text(encoding="utf-8"))["files"], RECORD, CARD}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"--out {out}: holds files but no {RECORD}; not overwritten, choose another folder") from None
    foreign = [f for f in sorted(out.rglob("*")) if f.is_file() and f.relative_to(out).as_posix() not in listed]
    if foreign:
        raise InputError(f"--out {out}: {foreign[0].name} is not part of the export; not overwritten, move it")
