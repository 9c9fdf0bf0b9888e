"""The sentence of a map: where a recipe saves, where it costs more, and between which points the sign flips.

Only decided points count. A corner of the map is looked for first:

    length      32    128    512
    batch 1      -     -      -
    batch 8      -     +      +        saves from batch 8 x length 128 on, and costs more at every other decided point
    batch 32     ?     +      +

If the points that save, or those that cost more, form no corner, every batch size has its own words.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise, product

from compress.analysis.mapping import Cell, Map, Place
from compress.analysis.verdict import cost_name

MOST_FLIPS = 6
MOST_PLACES = 8
WORDS = {True: "saves", False: "costs more"}
Signs = Mapping[Place, bool]
"""Decided point -> whether the recipe saves there."""


def sentence(of: Map) -> str:
    """Return the sentence of a map."""
    name, unit = of.result.name, noun(of)
    against = f"against {of.reference}"
    signs = {cell.place: cell.word == "SAVES" for cell in of.cells if cell.decided}
    open_words = _open(of.cells, unit)
    costs = " or ".join(cost_name(axis, of.phase) for axis in of.axes)
    if not signs:
        words = sorted({cell.word for cell in of.cells})
        if words == ["UNDECIDED"]:
            return f"{name}: no point of the map shows a difference of {costs} {against}."
        return f"{name}: no point of the map is decided {against}. {open_words}".rstrip()
    if len(set(signs.values())) == 1:
        verb = WORDS[next(iter(signs.values()))]
        of_how_many = "all" if len(signs) == len(of.cells) else f"the {len(signs)} decided of"
        points = f"{of_how_many} {len(of.cells)} points"
        stated = f"{name} {verb} {costs} at {points} of the map {against}: the sign does not flip."
        return f"{stated} {open_words}".rstrip()
    where = _corner_words(signs, True, unit), _corner_words(signs, False, unit)
    if where[0]:
        stated = f"saves {costs} {where[0]} and costs more at every other decided point"
    elif where[1]:
        stated = f"costs more {costs} {where[1]} and saves at every other decided point"
    else:
        stated = f"{_row_words(signs, unit)} ({costs})"
    flips = _flip_words(signs, unit)
    return f"{name} {stated}, {against}: the sign flips {flips}. {open_words}".rstrip()


def noun(of: Map) -> str:
    """Return the word for the length of a map's points: of a decode point it is the context in the cache."""
    return "context" if of.phase == "decode" else "length"


def flips(signs: Signs) -> list[tuple[Place, Place]]:
    """Return neighbouring decided points of one batch size, or of one length, with different signs.

    Undecided points between them are passed over.
    """
    found = []
    for along in (0, 1):
        lines: dict[int | None, list[Place]] = {}
        for place in signs:
            lines.setdefault(place[1 - along], []).append(place)
        for line in lines.values():
            ordered = sorted(line, key=lambda place: place[along] or 0)
            found += [(a, b) for a, b in pairwise(ordered) if signs[a] != signs[b]]
    return found


def corner(signs: Signs, saves: bool) -> tuple[tuple[bool, ...], Place] | None:
    """Return the corner that holds exactly the points that save (or those that do not), or None if none does.

    It is whether batch sizes, and lengths, are those from the place on (or up to it), and the place, which is itself
    one of the points.
    """
    members = [place for place, sign in signs.items() if sign is saves]
    for rising in product((True, False), repeat=2):
        place = tuple((min if up else max)((member[axis] or 0) for member in members) for axis, up in enumerate(rising))
        inside = [p for p in signs if all(_within(p, place, axis, up) for axis, up in enumerate(rising))]
        exact = next((member for member in members if (member[0], member[1] or 0) == place), None)
        if exact is not None and len(inside) == len(members):
            return rising, exact
    return None


def _within(place: Place, edge: Sequence[int], axis: int, up: bool) -> bool:
    value = place[axis] or 0
    return value >= edge[axis] if up else value <= edge[axis]


def _corner_words(signs: Signs, saves: bool, noun: str) -> str:
    """Return `from batch 8 x length 128 on`, without a part that excludes no decided point; empty without a corner."""
    found = corner(signs, saves)
    if found is None:
        return ""
    rising, place = found
    edge = place[0], place[1] or 0
    parts = [
        (up, f"{what} {value}")
        for axis, (up, what, value) in enumerate(zip(rising, ("batch", noun), place, strict=True))
        if not all(_within(other, edge, axis, up) for other in signs)
    ]
    from_, up_to = ([words for up, words in parts if up is wanted] for wanted in (True, False))
    return ", ".join(
        [*([f"from {' x '.join(from_)} on"] if from_ else []), *([f"up to {' x '.join(up_to)}"] if up_to else [])]
    )


def _row_words(signs: Signs, noun: str) -> str:
    """Return what every batch size does at its lengths, or every batch size where there is one length."""
    if len({length for _, length in signs}) == 1:
        return _by_sign(signs, lambda place: place[0], "batch")
    rows = []
    for batch_size in sorted({batch_size for batch_size, _ in signs}):
        row = {place: sign for place, sign in signs.items() if place[0] == batch_size}
        rows.append(f"at batch {batch_size} {_by_sign(row, lambda place: place[1] or 0, noun)}")
    return "; ".join(rows)


def _by_sign(signs: Signs, value: Callable[[Place], int], noun: str) -> str:
    """Return `saves at length 32 and 128, and costs more at length 512`."""
    parts = []
    for saves, verb in WORDS.items():
        if values := sorted(value(place) for place, sign in signs.items() if sign is saves):
            parts.append(f"{verb} at {noun} {_listed(map(str, values))}")
    return " and ".join(parts)


def _flip_words(signs: Signs, noun: str) -> str:
    """Return between which points the sign flips, those of the same step together."""
    steps: dict[tuple[int, int, int], list[str]] = {}
    for one, other in flips(signs):
        along = 0 if one[0] != other[0] else 1
        steps.setdefault((along, one[along] or 0, other[along] or 0), []).append(str(one[1 - along]))
    words = []
    for (along, low, high), others in steps.items():
        several = len({place[1 - along] for place in signs}) > 1
        at = f" at {('batch', noun)[1 - along]} {_listed(others)}" if several else ""
        words.append(f"between {('batch', noun)[along]} {low} and {high}{at}")
    left = len(words) - MOST_FLIPS
    return ", ".join(words[:MOST_FLIPS]) + (f", and at {left} more steps" if left > 0 else "")


def _open(cells: Iterable[Cell], noun: str) -> str:
    """Return the points that are not decided, by the reason; empty without any."""
    groups: dict[str, list[str]] = {}
    for cell in cells:
        if not cell.decided:
            groups.setdefault(cell.word, []).append(place_name(cell.place, noun))
    return " ".join(f"{word.capitalize()}: {_shortened(places)}." for word, places in groups.items())


def place_name(place: Place, noun: str) -> str:
    """Return `batch 8 x length 128`."""
    return f"batch {place[0]}" + ("" if place[1] is None else f" x {noun} {place[1]}")


def _shortened(names: Sequence[str]) -> str:
    left = len(names) - MOST_PLACES
    return ", ".join(names[:MOST_PLACES]) + (f" and {left} more" if left > 0 else "")


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
