"""The picture of the rooms: read from the imports of `compress/**/*.py`, in the order of `tests/test_rooms.py`."""

import ast
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "compress"
ORDER = ROOT / "tests" / "test_rooms.py"
WIDTH, PITCH, MARGIN = 760, 44, 24
BOX_WIDTH, BOX_HEIGHT = 190, 28
MIDDLE = WIDTH / 2
DIRECT, IMPLIED = "#0072B2", "#B8B8B8"
"""Colours of an arrow that no chain of other arrows replaces, and of one that a chain replaces."""


def order(file: Path = ORDER) -> tuple[str, ...]:
    """Return the rooms in order: the tuple ROOMS of the test of imports."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["ROOMS"]:
            return tuple(ast.literal_eval(node.value))
    raise ValueError(f"{file}: no tuple ROOMS")


def arrows(rooms: Sequence[str], package: Path = PACKAGE) -> dict[str, set[str]]:
    """Return the rooms that each room imports, also inside functions and for type checking."""
    found = {room: {target for file in (package / room).rglob("*.py") for target in _imported(file)} for room in rooms}
    return {room: targets & set(rooms) - {room} for room, targets in found.items()}


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("compress."))


def direct(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows that no chain of other arrows replaces (the transitive reduction)."""

    def reached(room: str) -> set[str]:
        return found[room].union(*(reached(target) for target in found[room]))

    return {
        room: targets.difference(*(reached(target) for target in targets)) if targets else set()
        for room, targets in found.items()
    }


def draw() -> str:
    """Return the SVG: a box a room; to its right the direct arrows, to its left the arrows that a chain implies."""
    rooms = order()
    found = arrows(rooms)
    kept = direct(found)
    height = 2 * MARGIN + PITCH * len(rooms)
    middle = {room: MARGIN + PITCH * (place + 0.5) for place, room in enumerate(rooms)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f"<defs>{_head('direct', DIRECT)}{_head('implied', IMPLIED)}</defs>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for room, targets in found.items():
        for target in sorted(targets - kept[room]):
            parts.append(_arc(middle[room], middle[target], -1, "implied", IMPLIED))
        for target in sorted(kept[room]):
            parts.append(_arc(middle[room], middle[target], 1, "direct", DIRECT))
    for room in rooms:
        files = sum(1 for _ in (PACKAGE / room).rglob("*.py"))
        parts.append(_box(room, f"{files} files", middle[room]))
    return "\n".join([*parts, "</svg>"])


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
    )


def _arc(start: float, end: float, side: int, kind: str, colour: str) -> str:
    """An arc beside the boxes, wider the farther it goes; it leaves a box above its middle and arrives below it."""
    edge = MIDDLE + side * BOX_WIDTH / 2
    start, end = start - 6, end + 6
    bend = edge + side * (18 + 0.62 * abs(start - end))
    path = f"M{edge:.0f},{start:.0f} C{bend:.0f},{start:.0f} {bend:.0f},{end:.0f} {edge:.0f},{end:.0f}"
    width = 1.6 if kind == "direct" else 1
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" marker-end="url(#{kind})"/>'


def _box(name: str, note: str, middle: float) -> str:
    left, top = MIDDLE - BOX_WIDTH / 2, middle - BOX_HEIGHT / 2
    return (
        f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4" fill="#eef3f7" stroke="#444444"/>'
        f'<text x="{left + 12}" y="{middle + 5}" font-size="15" font-weight="bold" fill="#222222">{escape(name)}</text>'
        f'<text x="{left + BOX_WIDTH - 12}" y="{middle + 5}" font-size="12" text-anchor="end" fill="#555555">'
        f"{escape(note)}</text>"
    )
