"""`pareto.html`: one file that needs nothing else, neither network nor server.

    page.html            the frame                   page.css   light, dark, phone and paper
    table.js             the table                   chart.js, names.js   the scatter and what is written in it
    start.js             menus, themes, and what is drawn when
    cards.js             a card a recipe             parts.js, plots.js   its tables and its charts
    plotly.min.js        from the installed plotly package (MIT)

Values go in as JSON and come out as text nodes; no text of a result is ever read as HTML.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from compress.base.config import InputError
from compress.base.processes import follow

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


class Binder:
    """Makes the page in a forked process while this one prints and writes tables; here where it cannot fork safely."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        import multiprocessing
        import os
        import threading

        plotly()  # what is missing is said here, not by the other process
        self._make, self._pipe = make, None
        if "fork" not in multiprocessing.get_all_start_methods() or threading.active_count() > 1:
            return
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe(duplex=False)

        parent = os.getpid()

        def bind() -> None:
            import gc

            follow(parent)
            gc.disable()  # it ends soon, and what it shares with its parent stays shared
            with theirs:
                theirs.send_bytes(make())

        self._child = context.Process(target=bind, daemon=True)
        self._child.start()
        theirs.close()

    def page(self) -> bytes:
        """The page's bytes."""
        if self._pipe is None:
            return self._make()
        try:
            with self._pipe as pipe:
                return bytes(pipe.recv_bytes())
        except EOFError:
            self._child.join()  # until it has said why
            raise RuntimeError("the page could not be made; the message of its process is above") from None
