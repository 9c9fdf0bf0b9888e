"""Tables, pictures and HTML from result files only, without torch.

Names are imported on first use, so that the drawing process starts before the rest is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.report.carbon import carbon_lines
    from compress.report.card import write_card
    from compress.report.charts import write_chart
    from compress.report.checks import junit, print_checks
    from compress.report.describe import print_result
    from compress.report.export_card import write_export_card
    from compress.report.listing import print_methods, print_recipes, print_workloads
    from compress.report.machines import print_machines
    from compress.report.mapping import print_maps, write_maps
    from compress.report.publish import push
    from compress.report.table import print_tables
    from compress.report.trackers import track
    from compress.report.write import Writer

_MODULE_OF = {
    "Writer": "write",
    "carbon_lines": "carbon",
    "junit": "checks",
    "print_checks": "checks",
    "print_methods": "listing",
    "print_recipes": "listing",
    "print_result": "describe",
    "print_machines": "machines",
    "print_maps": "mapping",
    "print_tables": "table",
    "print_workloads": "listing",
    "push": "publish",
    "track": "trackers",
    "write_card": "card",
    "write_export_card": "export_card",
    "write_chart": "charts",
    "write_maps": "mapping",
}

__all__ = [
    "Writer",
    "carbon_lines",
    "junit",
    "print_checks",
    "print_methods",
    "print_recipes",
    "print_result",
    "print_machines",
    "print_maps",
    "print_tables",
    "print_workloads",
    "push",
    "track",
    "write_card",
    "write_export_card",
    "write_chart",
    "write_maps",
]


def __getattr__(name: str) -> Any:
    """Import a public name of this package on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'compress.report' has no attribute {name!r}")
    return getattr(import_module(f"compress.report.{_MODULE_OF[name]}"), name)
