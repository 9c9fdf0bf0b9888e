"""Tables, pictures and small pieces of HTML, made from result files only; never torch."""

from compress.report.describe import print_methods, print_result, print_workloads
from compress.report.notes import carbon_lines
from compress.report.plot import Painter
from compress.report.table import print_tables, write_tables

__all__ = [
    "Painter",
    "carbon_lines",
    "print_methods",
    "print_result",
    "print_tables",
    "print_workloads",
    "write_tables",
]
