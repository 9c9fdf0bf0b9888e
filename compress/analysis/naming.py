"""Names of results that differ only in their split, limit or device."""

from collections.abc import Sequence

from compress.records.result import Result


def labelled(result: Result, among: Sequence[Result]) -> str:
    """Return the name of a result's workload, with its split, limit or device if namesakes differ in it."""
    name = str(result.workload.get("name", ""))
    alike = [each for each in among if each.name == result.name and each.workload.get("name") == name]
    own, others = _where(result), [_where(each) for each in alike]
    parts = [part for place, part in enumerate(own) if len({other[place] for other in others}) > 1]
    return f"{name} ({', '.join(parts)})" if parts else name


def _where(result: Result) -> tuple[str, str, str]:
    """Return the split, the limit and the device of a result as words."""
    split = (result.workload.get("dataset") or {}).get("test")
    limit = "all examples" if result.limit is None else f"{result.limit} examples"
    return f"split {split}", limit, result.machine.device_name
