"""A terminal table whose cells are whole at any width: it folds names, and becomes a list if that does not suffice.

★ bert_int8   0.91 (0.89 to 0.93)          bert_int8
  bert_prune  0.89 (0.87 to 0.91)   or       accuracy: 0.91 (0.89 to 0.93)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compress.report.widths import fitted, folded

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


def grid(
    titles: Sequence[str], rows: Sequence[Sequence["Text"]], width: int, named: int = 0, **looks: Any
) -> "RenderableType":
    """Return rows below their titles, for `width` columns of a terminal; `looks` are those of rich's Table.

    The column `named` holds the names of rows. They are whole if there is space, because people search for them, else
    folded. If no column can be narrower, each row becomes a block: its name, then `title: cell` line by line.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(**looks)
    count = len(titles)
    frame = 2 * count - (0 if table.pad_edge else 2) + (count + 1 if table.box else 0)
    cells = [[title, *(row[i].plain for row in rows)] for i, title in enumerate(titles)]
    uncut = [i == named or not title for i, title in enumerate(titles)]
    widths = fitted(cells, uncut, width - frame) or fitted(cells, uncut, width - frame, folding=True)
    if widths is None:
        return _blocks(titles, rows, named)
    for title, keep, columns in zip(titles, uncut, widths, strict=True):
        table.add_column(Text(title), no_wrap=keep, overflow="fold", width=columns)
    for row in rows:
        name = Text(folded(row[named].plain, widths[named]), row[named].style)
        table.add_row(*row[:named], name, *row[named + 1 :])
    return table


def _blocks(titles: Sequence[str], rows: Sequence[Sequence["Text"]], named: int) -> "RenderableType":
    """Return a block of lines per row. Names are one line each, which the terminal wraps itself."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    lines: list[RenderableType] = []
    for row in rows:
        name, *others = (row[named], *row[:named], *row[named + 1 :])
        lines.append(Text(" ".join(name.plain.split()), name.style or "bold", no_wrap=True, overflow="ignore"))
        for title, cell in zip((*titles[:named], *titles[named + 1 :]), others, strict=True):
            if words := cell.plain.split():
                line = " ".join([f"{title}:", *words] if title else words)
                lines.append(Padding(Text(line, cell.style), (0, 0, 0, 2), expand=False))
    return Group(*lines)
