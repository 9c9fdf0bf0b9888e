"""Writing of result tables as files. The drawing process starts before the rest of this package is loaded."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np  # noqa: F401  both processes need it: loaded once, before the fork

from compress.base.forked import Forked

if TYPE_CHECKING:
    from compress.analysis.carbon import Terms
    from compress.analysis.pareto import Table
    from compress.report.charts.marks import Panel


class Writer:
    """Writes tables of results: Markdown, CSV, the page, a PNG and an SVG per table, and LaTeX on request.

    with Writer() as writer:      the drawing process loads its libraries
        writer.draw(tables)       it draws, while this one prints
        writer.bind(folder)       a second one makes the page, with all libraries that printing has loaded
        writer.write(out)
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._drawn = self._stack.enter_context(Forked("the picture", _pictures, prepare=_warm))

    def draw(self, tables: "Sequence[Table]") -> None:
        """Begins to draw the pictures."""
        from compress.report.charts.panel import panels

        self._tables = tables
        self._drawn.start(panels(tables))

    def bind(self, folder: Path, terms: "Terms | None" = None) -> None:
        """Begins to make the page. `folder` holds the results' traces; `terms` are those of carbon."""
        from compress.report.page import page_html, plotly

        plotly()  # its absence is one error here, not in the other process
        page: Forked[None, bytes] = Forked("the page", lambda _: page_html(self._tables, folder, terms))
        self._page = self._stack.enter_context(page)
        self._page.start(None)

    def write(
        self, out: Path, problems: Sequence[str] = (), answers: Sequence[str] = (), paper: bool = False
    ) -> list[Path]:
        """Write all files into `out`, for a `paper` pareto.tex too, and return their paths.

        Old pictures that are not drawn again are removed.
        """
        from compress.base.files import SPELLED, write_atomic
        from compress.base.owners import sweep
        from compress.report import sheet
        from compress.report.charts.place import place_pictures
        from compress.report.document import markdown

        drawn = self._drawn.result()
        files = {
            "pareto.md": markdown(self._tables, problems, answers).encode(errors=SPELLED),
            "pareto.csv": sheet.csv_text(self._tables).encode(errors=SPELLED),
            "pareto.html": self._page.result(),
        }
        if paper:
            from compress.report.paper.document import latex

            files["pareto.tex"] = latex(self._tables).encode()
        sweep(out)  # temporary files of a killed call
        for name, data in files.items():
            write_atomic(out / name, data)
        return [*(out / name for name in files), *place_pictures(out, drawn)]

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _pictures(panels: "Sequence[Panel]") -> dict[str, bytes]:
    from compress.report.charts import plot

    return plot.pictures(panels)


def _warm() -> None:
    """Load the drawing libraries and find the font, which do not depend on the pictures."""
    from compress.report.charts import canvas, plot  # noqa: F401

    canvas.svg(canvas.new_figure(1, 1))
