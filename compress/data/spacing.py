"""Evenly spaced rows of a table: the first rows may share a class."""


def spaced_rows(count: int, limit: int | None) -> list[int]:
    """Return `limit` evenly spaced rows of this many; all of them if there are no more, or without a limit."""
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]
