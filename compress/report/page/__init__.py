"""`pareto.html`: a single self-contained file that needs neither network nor server.

    page.html            the frame                   page.css, parts.css, media.css   colours, parts, phone and paper
    top.js               recommendation, notes       table.js    the table
    chart.js             the scatter plot            scales.js, names.js   its axes and names
    start.js             menus, themes, paper and the order of drawing
    cards.js             one card per recipe         parts.js, plots.js   its tables and its charts
    plotly.min.js        from the installed plotly package (MIT)

Values enter as JSON and are shown as text nodes. No text of a result is ever parsed as HTML.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from compress.base.config import InputError

if TYPE_CHECKING:
    from compress.analysis.carbon import Terms
    from compress.analysis.pareto import Table

HERE = Path(__file__).parent
STYLES = ("page.css", "parts.css", "media.css")
SCRIPTS = (
    "text.js", "top.js", "table.js", "scales.js", "chart.js", "names.js", "cards.js", "parts.js", "plots.js",
    "start.js",
)  # fmt: skip


def page_html(tables: "Sequence[Table]", folder: Path | None = None, terms: "Terms | None" = None) -> bytes:
    """Return the whole of pareto.html. `folder` holds the results' traces; `terms` are the user's terms of carbon."""
    from compress.report.page.data import as_json, page_data

    parts = {
        b"style": _joined(STYLES),
        b"data": as_json(page_data(tables, folder, terms)).encode("ascii"),
        b"script": _joined(SCRIPTS),
        b"plotly": plotly().read_bytes(),
    }
    pieces = (HERE / "page.html").read_bytes().split(b"@@")  # text, slot, text, slot ... text
    return b"".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def _joined(names: Sequence[str]) -> bytes:
    return b"\n".join((HERE / name).read_bytes() for name in names)


def plotly() -> Path:
    """Return the path of plotly.min.js in its package, without importing it. Raises InputError if it is missing."""
    spec = find_spec("plotly")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(place) / "package_data" / "plotly.min.js"
        if file.is_file():
            return file
    raise InputError("pareto.html needs the plotly package, which is missing or incomplete: pip install plotly")
