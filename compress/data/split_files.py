"""The files of a split, listed explicitly, so that no library guesses splits or classes from names.

A split `test` of a folder is one of these, in the folder itself or in its `data` folder:

    test.csv                        one table (parquet, csv, tsv, jsonl, json, txt, conll, iob2; text also gzipped)
    test-00000-of-00002.parquet ... all its shards
    test/                           tables of one kind, or pictures: in class folders, or listed in one table

Two of them together are ambiguous and an error. Only table suffixes ignore case. Hidden files are ignored, as are
README, LICENSE and checksums at the top of the folder. Any other unsupported file is an error.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.base.config import InputError
from compress.base.errors import some
from compress.base.reading import irregular

KINDS = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".txt", ".conll", ".iob2")
PACKED = ".gz"
IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff")
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")
"""Suffixes of sound, which a table names."""
SHARD = re.compile(
    r"(?P<stem>.+?)-(?P<index>\d{1,9})(?:-of-(?P<total>\d{1,9})(?:-[0-9a-f]{16})?)?",  # a hash: from older push_to_hub
    re.DOTALL,
)
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words that name a split, and the split."""
NAMES_SPLIT = re.compile(rf"(?:.*[-_.])?({'|'.join(SPLIT_NAMES)})(?:[-_.]?\d.*)?", re.IGNORECASE | re.DOTALL)
BYSTANDER = re.compile(r"(readme|license|licence|md5sums|sha256sums)(\.(md|txt|rst))?|_success", re.IGNORECASE)
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
UNREAD = (".arrow", ".feather", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".7z", ".avro", ".orc", ".xlsx", ".ndjson")
"""Suffixes of unsupported tables: a shard with one of them counts as missing."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split: tables of one kind, pictures, or pictures listed in one table."""

    tables: tuple[Path, ...]
    """Empty if class folders hold the pictures."""
    pictures: tuple[Path, ...] = ()
    """Every one of them must be evaluated."""
    folder: Path | None = None
    """Parent of the class folders."""

    @property
    def all(self) -> frozenset[Path]:
        """Every file of the split."""
        return frozenset((*self.tables, *self.pictures))


def kind(path: Path) -> str:
    """Return the kind of a table as one of KINDS, or an empty string for other files."""
    suffix = _unpacked(path.name.lower())[1]
    return suffix if suffix in KINDS else ""


def is_packed(path: Path) -> bool:
    """Return whether the file is gzipped text."""
    return path.name.lower().endswith(PACKED)


def unknown_kind(path: Path) -> str:
    """Return the error text for a file that is not a table."""
    return f"files of kind {path.suffix or '(no suffix)'} are not supported; expected {', '.join(KINDS)}"


def listing(folder: Path) -> list[Path]:
    """Return all files below a folder except hidden ones, sorted. Raises InputError for links to folders."""
    files = []
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_symlink() and not path.is_file():
            what = "a link to a folder" if path.is_dir() else "a broken link"
            raise InputError(f"{path}: is {what}, which is not followed; put the files themselves there")
        if path.is_dir():
            continue
        _refuse_irregular(path)
        files.append(path)
    return files


def _refuse_irregular(path: Path) -> None:
    """Raise InputError for a fifo or a device, since reading it could block forever."""
    if kind := irregular(path):
        raise InputError(f"{path}: is {kind}; expected a regular file")


def split_files(folder: Path, split: str) -> SplitFiles | None:
    """Return the files of a split in a folder, or None. Raises InputError where they are ambiguous or incomplete."""
    options = candidates(folder, split)
    tables = [option for option in options if option.tables and option.folder is None]
    pictures = [option for option in options if option.pictures and not option.tables]
    if len(options) == 2 and len(tables) == len(pictures) == 1:  # train.csv and train/: the table lists the pictures
        return SplitFiles(tables[0].tables, pictures[0].pictures)
    if len(options) > 1:
        listed = ", ".join(_shown(option, folder) for option in options)
        raise InputError(
            f"{folder}: split {split!r} is ambiguous: {listed}; remove all but one, or set dataset.train and "
            "dataset.test to files"
        )
    return options[0] if options else None


def holds(folder: Path, split: str) -> bool:
    """Return whether a folder has a split, even an ambiguous or incomplete one."""
    try:
        return split_files(folder, split) is not None
    except InputError:
        return True  # reading it reports the error


def candidates(folder: Path, split: str) -> list[SplitFiles]:
    """Return every candidate for the split in a folder. Raises InputError for incomplete ones."""
    if (folder / split).is_file():
        if not kind(folder / split):
            raise InputError(f"{folder / split}: {unknown_kind(folder / split)}")
        _refuse_linked(folder, folder / split)
        return [SplitFiles((folder / split,))]
    options: list[SplitFiles] = []
    for parent in (folder, folder / "data"):
        place = parent / split
        if place.parent.is_dir():
            options += _named(place)
        if place.is_dir():
            _refuse_linked(folder, place)
            _refuse_saved(place)
            inside = _inside(place)
            options += [inside] if inside else []
    if not options:
        _refuse_saved(folder)
    for option in options:
        for table in option.tables[:1]:
            _refuse_linked(folder, table)
    return options


def _refuse_saved(folder: Path) -> None:
    """Raise InputError for a folder written by `save_to_disk` of `datasets`."""
    several = (folder / "dataset_dict.json").is_file()
    if several or ((folder / "state.json").is_file() and any(folder.glob("*.arrow"))):
        chosen = "[SPLIT]" if several else ""
        raise InputError(
            f"{folder}: is a folder of datasets' save_to_disk, which is not supported; export each split: "
            f"datasets.load_from_disk(FOLDER){chosen}.to_parquet('test.parquet')"
        )


def _refuse_linked(folder: Path, path: Path) -> None:
    """Raise InputError if the path passes through a linked folder: the data's hash would not cover its content."""
    steps = [path, *path.parents][: len(path.relative_to(folder).parts)]
    for step in steps:
        if step.is_symlink() and step.is_dir():
            raise InputError(f"{step}: is a link to a folder, which is not followed; put the files themselves there")


def _named(place: Path) -> list[SplitFiles]:
    """Return tables `place.csv` and sets of shards `place-00000-of-00003.csv`, one entry each."""
    splits: list[SplitFiles] = []
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
            splits.append(SplitFiles((path,)))
        elif shard and shard["stem"] == place.name:
            key = kind(path), shard["total"] or ""
            shards.setdefault(key, []).append((int(shard["index"]), path))
    for (_, total), members in shards.items():
        indices = sorted(index for index, _ in members)
        distinct = sorted(set(indices))
        if total:
            _refuse_gaps(indices, int(total), members[0][1])
        elif distinct not in (list(range(len(distinct))), list(range(1, len(distinct) + 1))):
            continue  # test-2019.csv is not a shard
        elif indices != distinct:
            raise InputError(f"{members[0][1]}: a shard occurs twice ({_names(p for _, p in members)}); remove one")
        unreadable = [path for path in unread if re.match(rf"{re.escape(place.name)}-\d+[-.]", path.name)]
        if unreadable:
            raise InputError(f"{unreadable[0]}: is a shard of an unsupported kind: {unknown_kind(unreadable[0])}")
        splits.append(SplitFiles(tuple(path for _, path in sorted(members))))
    return splits


def _refuse_gaps(indices: list[int], total: int, example: Path) -> None:
    """Raise InputError unless each of the shards 0 to total - 1 exists exactly once."""
    lacking = sorted(set(range(min(total, len(indices) + 10))) - set(indices))
    if lacking or len(indices) != total:
        missing = f"; missing: {', '.join(map(str, lacking[:6]))}" if lacking else ""
        raise InputError(
            f"{example}: the split has {len(indices)} of {total} shards{missing}; expected all of them, once each"
        )


def _inside(place: Path) -> SplitFiles | None:
    """Return the files of a split's folder; None if it is empty."""
    files = [path for path in listing(place) if not _is_bystander(path, place)]
    pictures = tuple(path for path in files if path.suffix.lower() in IMAGES)
    tables = tuple(path for path in files if kind(path))
    sounds = {path for path in files if path.suffix.lower() in SOUNDS}
    others = [path for path in files if path not in {*pictures, *tables, *(sounds if tables else ())}]
    if pictures:
        listings = tuple(path for path in tables if path.parent == place and kind(path) != ".txt")
        others += [path for path in tables if path not in listings]
        if others or len(listings) > 1:
            names = ", ".join(path.relative_to(place).as_posix() for path in (others or listings)[:4])
            what = "are neither pictures nor a table that names them" if others else "are several tables"
            raise InputError(
                f"{place}: {names} {what}; expected pictures ({', '.join(IMAGES)}) in class folders, or beside one "
                "table that names them"
            )
        return SplitFiles(listings, pictures, place)
    if not files:
        return None
    if not tables:
        raise InputError(f"{others[0]}: {unknown_kind(others[0])}, or pictures ({', '.join(IMAGES)})")
    if others:
        raise InputError(
            f"{place}: {_names(others)} are not supported; expected tables of one kind ({', '.join(KINDS)}): convert "
            "or unpack those files, or move them away"
        )
    if len({kind(path) for path in tables}) > 1:
        raise InputError(
            f"{place}: holds tables of several kinds: {', '.join(path.name for path in tables[:6])}; expected one kind"
        )
    _refuse_other_splits(tables, place)
    shards = [(path, shard) for path in tables if (shard := SHARD.fullmatch(_unpacked(path.name)[0]))]
    for path, shard in shards:
        if shard["total"]:
            same = [s for p, s in shards if (p.parent, s["stem"], s["total"]) == (path.parent, *shard.group(1, 3))]
            _refuse_gaps([int(s["index"]) for s in same], int(shard["total"]), path)
    return SplitFiles(tables, (), place)


def _refuse_other_splits(tables: Sequence[Path], place: Path) -> None:
    """Raise InputError for tables of several splits, or of another split than the folder's name says."""
    named: dict[str, Path] = {}
    for path in tables:
        parts = path.relative_to(place).parts
        for split in filter(None, map(_split_in, (*parts[:-1], _unpacked(path.name)[0]))):
            named.setdefault(split, path)
    own = _split_in(place.name)
    if len(named) > 1 or (own and set(named) - {own}):
        files = ", ".join(path.relative_to(place).as_posix() for path in named.values())
        example = named.get(own or "test", tables[0]).relative_to(place.parent).as_posix()
        raise InputError(
            f"{place}: its files name {'several splits' if len(named) > 1 else 'another split'} ({files}); set "
            f"dataset.train and dataset.test to one file each, such as {example}, or move the other files away"
        )


def _split_in(name: str) -> str | None:
    """Return the split in a name: train for train, train-00000-of-00002 and news_train; None without one."""
    match = NAMES_SPLIT.fullmatch(name)
    return SPLIT_NAMES[match[1].lower()] if match else None


def _is_bystander(path: Path, place: Path) -> bool:
    """Return whether a file only describes the split, or belongs to the operating system."""
    return path.name.lower() in SYSTEM_FILES or (path.parent == place and BYSTANDER.fullmatch(path.name) is not None)


def _names(paths: Iterable[Path]) -> str:
    """Return the first file names as text for an error."""
    return some([path.name for path in paths], 4)


def _unpacked(name: str) -> tuple[str, str]:
    """Return stem and suffix of a file name without `.gz`: ("test", ".csv") for "test.csv.gz"."""
    plain = name[: -len(PACKED)] if name.lower().endswith(PACKED) else name
    path = Path(plain)
    return path.stem, path.suffix


def _shown(option: SplitFiles, folder: Path) -> str:
    first = option.folder if option.folder else option.tables[0]
    more = f" and {len(option.tables) - 1} more" if not option.folder and len(option.tables) > 1 else ""
    return f"{first.relative_to(folder).as_posix()}{'/' if option.folder else ''}{more}"
