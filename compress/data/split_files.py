"""Which files form a split, listed by ourselves: no library guesses splits or classes from names.

A split `test` of a folder is one of these, in the folder itself or in its `data` folder:

    test.csv                        one table (parquet, csv, tsv, jsonl, json, txt; text also gzipped)
    test-00000-of-00002.parquet ... all its shards
    test/                           tables of one kind, or pictures: below class folders, or named by one table

Two of them at once are ambiguous and refused. Only the suffix of a table ignores case. Hidden files do not count, nor
do README, LICENSE and sums at the top of the folder; any other file that is not read is an error.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from compress.base.config import InputError
from compress.base.reading import irregular

KINDS = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".txt")
PACKED = ".gz"
IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff")
SHARD = re.compile(
    r"(?P<stem>.+?)-(?P<index>\d{1,9})(?:-of-(?P<total>\d{1,9})(?:-[0-9a-f]{16})?)?",  # a hash: as older push_to_hub
    re.DOTALL,
)
BYSTANDER = re.compile(r"(readme|license|licence|md5sums|sha256sums)(\.(md|txt|rst))?|_success", re.IGNORECASE)
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
UNREAD = (".arrow", ".feather", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".7z", ".avro", ".orc", ".xlsx", ".ndjson")
"""Suffixes of tables that are not read: a shard of such a kind is missing."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split: tables of one kind, pictures, or pictures that one table names."""

    tables: tuple[Path, ...]
    """Empty where class folders hold the pictures."""
    pictures: tuple[Path, ...] = ()
    """All of them must be judged."""
    folder: Path | None = None
    """Class folders are the first level below it."""

    @property
    def all(self) -> frozenset[Path]:
        """Every file of the split."""
        return frozenset((*self.tables, *self.pictures))


def kind(path: Path) -> str:
    """Return the kind of a table as one of KINDS, or an empty string for another file."""
    suffix = _unpacked(path.name.lower())[1]
    return suffix if suffix in KINDS else ""


def is_packed(path: Path) -> bool:
    """Return whether the file is gzipped text."""
    return path.name.lower().endswith(PACKED)


def unknown_kind(path: Path) -> str:
    """Return the sentence for a file that is no table."""
    return f"files of kind {path.suffix or '(no suffix)'} are not read; expected {', '.join(KINDS)}"


def listing(folder: Path) -> list[Path]:
    """Return all files below a folder except hidden ones, sorted. Raises InputError for links to folders."""
    found = []
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_symlink() and not path.is_file():
            what = "a link to a folder" if path.is_dir() else "a broken link"
            raise InputError(f"{path}: is {what}, which is not followed; put the files themselves there")
        if path.is_dir():
            continue
        _refuse_irregular(path)
        found.append(path)
    return found


def _refuse_irregular(path: Path) -> None:
    """Raise InputError for a fifo or a device, which whoever reads it would wait for."""
    if kind := irregular(path):
        raise InputError(f"{path}: is {kind}; expected a regular file")


def split_files(folder: Path, split: str) -> SplitFiles | None:
    """Return the files of a split in a folder, or None. Raises InputError where they are ambiguous or incomplete."""
    found = candidates(folder, split)
    tables = [one for one in found if one.tables and one.folder is None]
    pictures = [one for one in found if one.pictures and not one.tables]
    if len(found) == 2 and len(tables) == len(pictures) == 1:  # train.csv beside train/: the table names the pictures
        return SplitFiles(tables[0].tables, pictures[0].pictures)
    if len(found) > 1:
        listed = ", ".join(_shown(one, folder) for one in found)
        raise InputError(
            f"{folder}: split {split!r} is ambiguous: {listed}; remove all but one, or set dataset.train and "
            "dataset.test to files"
        )
    return found[0] if found else None


def holds(folder: Path, split: str) -> bool:
    """Return whether a folder has a split, also an ambiguous or incomplete one."""
    try:
        return split_files(folder, split) is not None
    except InputError:
        return True  # whoever reads it is told why not


def candidates(folder: Path, split: str) -> list[SplitFiles]:
    """Return everything in a folder that could be the split. Raises InputError for what is incomplete."""
    if (folder / split).is_file():
        if not kind(folder / split):
            raise InputError(f"{folder / split}: {unknown_kind(folder / split)}")
        _refuse_linked(folder, folder / split)
        return [SplitFiles((folder / split,))]
    found: list[SplitFiles] = []
    for parent in (folder, folder / "data"):
        place = parent / split
        if place.parent.is_dir():
            found += _named(place)
        if place.is_dir():
            _refuse_linked(folder, place)
            _refuse_saved(place)
            inside = _inside(place)
            found += [inside] if inside else []
    if not found:
        _refuse_saved(folder)
    for one in found:
        for table in one.tables[:1]:
            _refuse_linked(folder, table)
    return found


def _refuse_saved(folder: Path) -> None:
    """Raise InputError for what `save_to_disk` of `datasets` wrote."""
    several = (folder / "dataset_dict.json").is_file()
    if several or ((folder / "state.json").is_file() and any(folder.glob("*.arrow"))):
        chosen = "[SPLIT]" if several else ""
        raise InputError(
            f"{folder}: is a folder of datasets' save_to_disk, which is not read; export each split: "
            f"datasets.load_from_disk(FOLDER){chosen}.to_parquet('test.parquet')"
        )


def _refuse_linked(folder: Path, path: Path) -> None:
    """Raise InputError where a folder on the way is a link: its content would not be part of the data's hash."""
    on_the_way = [path, *path.parents][: len(path.relative_to(folder).parts)]
    for step in on_the_way:
        if step.is_symlink() and step.is_dir():
            raise InputError(f"{step}: is a link to a folder, which is not followed; put the files themselves there")


def _named(place: Path) -> list[SplitFiles]:
    """Return tables `place.csv` and sets of shards `place-00000-of-00003.csv`, one entry each."""
    found: list[SplitFiles] = []
    shards: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    unread: list[Path] = []
    for path in sorted(place.parent.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        if kind(path) and path.exists():
            _refuse_irregular(path)
        if not path.is_file():
            continue
        if not kind(path):
            unread += [path] if path.suffix.lower() in UNREAD else []
            continue
        stem = _unpacked(path.name)[0]
        shard = SHARD.fullmatch(stem)
        if stem == place.name:
            found.append(SplitFiles((path,)))
        elif shard and shard["stem"] == place.name:
            key = kind(path), shard["total"] or ""
            shards.setdefault(key, []).append((int(shard["index"]), path))
    for (_, total), members in shards.items():
        indices = sorted(index for index, _ in members)
        different = sorted(set(indices))
        if total:
            _refuse_gaps(indices, int(total), members[0][1])
        elif different not in (list(range(len(different))), list(range(1, len(different) + 1))):
            continue  # test-2019.csv is no shard
        elif indices != different:
            raise InputError(f"{members[0][1]}: a shard is there twice ({_names(p for _, p in members)}); remove one")
        lacking = [path for path in unread if re.match(rf"{re.escape(place.name)}-\d+[-.]", path.name)]
        if lacking:
            raise InputError(f"{lacking[0]}: is a shard that is not read: {unknown_kind(lacking[0])}")
        found.append(SplitFiles(tuple(path for _, path in sorted(members))))
    return found


def _refuse_gaps(indices: list[int], total: int, example: Path) -> None:
    """Raise InputError unless shards 0 to total - 1 are there, once each."""
    lacking = sorted(set(range(min(total, len(indices) + 10))) - set(indices))
    if lacking or len(indices) != total:
        missing = f"; missing: {', '.join(map(str, lacking[:6]))}" if lacking else ""
        raise InputError(
            f"{example}: the split has {len(indices)} of {total} shards{missing}; expected all of them, once each"
        )


def _inside(place: Path) -> SplitFiles | None:
    """Return what a split's folder holds; None where it is empty."""
    files = [path for path in listing(place) if not _is_bystander(path, place)]
    pictures = tuple(path for path in files if path.suffix.lower() in IMAGES)
    tables = tuple(path for path in files if kind(path))
    others = [path for path in files if path not in {*pictures, *tables}]
    if pictures:
        top = tuple(path for path in tables if path.parent == place and kind(path) != ".txt")
        others += [path for path in tables if path not in top]
        if others or len(top) > 1:
            strange = ", ".join(path.relative_to(place).as_posix() for path in (others or top)[:4])
            what = "are neither pictures nor a table that names them" if others else "are several tables"
            raise InputError(
                f"{place}: {strange} {what}; expected pictures ({', '.join(IMAGES)}) in class folders, or beside one "
                "table that names them"
            )
        return SplitFiles(top, pictures, place)
    if not files:
        return None
    if not tables:
        raise InputError(f"{others[0]}: {unknown_kind(others[0])}, or pictures ({', '.join(IMAGES)})")
    if others:
        raise InputError(
            f"{place}: {_names(others)} are not read; expected tables of one kind ({', '.join(KINDS)}): convert or "
            "unpack those files, or move them away"
        )
    if len({kind(path) for path in tables}) > 1:
        raise InputError(
            f"{place}: holds tables of several kinds: {', '.join(path.name for path in tables[:6])}; expected one kind"
        )
    totals = [(path, shard) for path in tables if (shard := SHARD.fullmatch(_unpacked(path.name)[0]))]
    for path, shard in totals:
        if shard["total"]:
            same = [s for p, s in totals if (p.parent, s["stem"], s["total"]) == (path.parent, *shard.group(1, 3))]
            _refuse_gaps([int(s["index"]) for s in same], int(shard["total"]), path)
    return SplitFiles(tables, (), place)


def _is_bystander(path: Path, place: Path) -> bool:
    """Return whether a file is about the split, or the system's, and so no part of it."""
    return path.name.lower() in SYSTEM_FILES or (path.parent == place and BYSTANDER.fullmatch(path.name) is not None)


def _names(paths: Iterable[Path]) -> str:
    """Return the first names of files, in a sentence."""
    names = [path.name for path in paths]
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")


def _unpacked(name: str) -> tuple[str, str]:
    """Return stem and suffix of a file name, `.gz` aside: ("test", ".csv") of "test.csv.gz"."""
    plain = name[: -len(PACKED)] if name.lower().endswith(PACKED) else name
    path = Path(plain)
    return path.stem, path.suffix


def _shown(one: SplitFiles, folder: Path) -> str:
    first = one.folder if one.folder else one.tables[0]
    more = f" and {len(one.tables) - 1} more" if not one.folder and len(one.tables) > 1 else ""
    return f"{first.relative_to(folder).as_posix()}{'/' if one.folder else ''}{more}"
