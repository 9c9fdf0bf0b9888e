"""The card of an export: the card of its artifact, with the lines that serve the export. No torch is needed."""

from collections.abc import Sequence
from pathlib import Path

from compress.base.files import SPELLED, write_atomic
from compress.records.result import Result
from compress.report.card import CARD, card
from compress.report.serving import Leaving
from compress.spec.exports import Target


def write_export_card(
    result: Result, folder: Path, target: Target, checks: Sequence[str], remarks: Sequence[str] = (), recipes: int = 1
) -> Path:
    """Write the card of an export into its folder and return its path."""
    made = card(result, plain=True, leaving=Leaving(target, checks, remarks), recipes=recipes)
    write_atomic(folder / CARD, made.encode(errors=SPELLED))
    return folder / CARD
