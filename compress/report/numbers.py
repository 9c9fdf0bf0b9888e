"""Numbers of rounds as charts show them: from 1, also for older results, whose stored rounds start at 0."""

from compress.records.point import Point

GAPS = "gaps: rounds left out because the processor was slower"
"""Caption of a chart of rounds of which some are missing."""


def shift(*points: Point) -> int:
    """Return what to add to the stored number of a round at these points of a session."""
    return int(any(round_.index == 0 for point in points for round_ in point.rounds))


def has_gaps(*points: Point) -> bool:
    """Return whether rounds between the first and the last one of these points are missing in one of them."""
    stored = [{round_.index for round_ in point.rounds} for point in points]
    numbers = set.union(*stored)
    return any(own != set(range(1 - shift(*points), max(numbers, default=0) + 1)) for own in stored)
