"""Small pieces for an interactive terminal, as `rich` prints them; the pieces of HTML say the same in a notebook."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from compress.records.result import Result
from compress.report.html import summary
from compress.report.text import plain

if TYPE_CHECKING:
    from rich.syntax import Syntax

    from compress.spec.recipe import Recipe


def result_table(result: Result) -> Table:
    """What a result says, a line each."""
    head, rows = summary(result)
    grid = Table(title=Text(plain(head), style="bold"), title_justify="left", show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(plain(name)), Text(plain(value)))
    return grid


def recipe_yaml(recipe: "Recipe") -> "Syntax":
    """The recipe as YAML in colours."""
    from rich.syntax import Syntax

    return Syntax(recipe.dump().rstrip(), "yaml", background_color="default")
