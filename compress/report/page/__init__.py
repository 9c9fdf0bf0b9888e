"""`pareto.html`: one file that needs nothing else, neither network nor server.

    page.html            the frame                   page.css   light, dark, phone and paper
    table.js             the table                   chart.js, names.js   the scatter and what is written in it
    start.js             menus, themes, and what is drawn when
    cards.js             a card a recipe             parts.js, plots.js   its tables and its charts
    plotly.min.js        from the installed plotly package (MIT)

Values go in as JSON and come out as text nodes; no text of a result is ever read as HTML.
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
SCRIPTS = ("text.js", "table.js", "chart.js", "names.js", "cards.js", "parts.js", "plots.js", "start.js")


def page_html(tables: "Sequence[Table]", folder: Path | None = None, terms: "Terms | None" = None) -> bytes:
    """The whole of pareto.html. `folder` holds the results' traces; `terms` say where the electricity comes from."""
    from compress.report.page.data import as_json, page_data

    parts = {
        b"style": (HERE / "page.css").read_bytes(),
        b"data": as_json(page_data(tables, folder, terms)).encode("ascii"),
        b"script": b"\n".join((HERE / name).read_bytes() for name in SCRIPTS),
        b"plotly": plotly().read_bytes(),
    }
    pieces = (HERE / "page.html").read_bytes().split(b"@@")  # text, slot, text, slot ... text
    return b"".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def plotly() -> Path:
    """The file of the charts' library in its Python package, which is not imported. Raises InputError without it."""
    spec = find_spec("plotly")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(place) / "package_data" / "plotly.min.js"
        if file.is_file():
            return file
    raise InputError("pareto.html needs the plotly package, which is not installed whole: pip install plotly")
