"""Names of workloads: results of two different ones never share a folder."""

from pathlib import Path

from compress.base.config import InputError
from compress.base.reading import resolved
from compress.data.source import Source
from compress.data.workload import Workload
from compress.records import files as result_files

RESERVED = (result_files.SHIPPED, "traces")


def checked_name(workload: Workload) -> Workload:
    """Return the workload; raise InputError for a reserved name, whose results would not be read."""
    if workload.name in RESERVED:
        raise InputError(f"workload {workload.name}: the name is reserved for a folder of results; rename the file")
    return workload


def name_conflicts(folder: Path, source: Source) -> list[str]:
    """Return the problem of a result folder that already holds results of another workload of the same name."""
    for path in sorted(folder.glob("*.json")):
        try:
            stored = result_files.read(path).workload
        except InputError:
            continue  # unreadable: it is measured again and replaced
        parts = {
            "model": (stored.get("model"), source.workload.model),
            "dataset": (stored.get("dataset", {}).get("path"), source.workload.dataset.path),
        }
        for part, (there, here) in parts.items():
            content = f"{part}_content"
            same = stored.get("resolved", {}).get(content) == source.resolved[content]
            if not same and not _same_place(str(there), here):  # content at the same path may have changed since
                return [
                    f"workload {source.workload.name}: {path} holds the result of another workload of that name, whose "
                    f"{part} is {there}; give yours another name (a line `name:` in its file), or other folders with "
                    "--out and --artifacts"
                ]
    return []


def _same_place(stored: str, here: str) -> bool:
    """Return whether a path in a result can be `here`; it may be relative to the folder the result was made in."""
    if stored == here or resolved(Path(stored)) == resolved(Path(here)):
        return True
    parts = tuple(part for part in Path(stored).parts if part not in (".", ".."))
    return len(parts) > 1 and resolved(Path(here)).parts[-len(parts) :] == parts
