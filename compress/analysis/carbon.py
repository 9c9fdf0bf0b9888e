"""Grams of CO2 equivalent per 1000 inferences, after the Software Carbon Intensity specification (ISO/IEC 21031).

    SCI = (E * I * PUE + M) per R       E energy, I intensity of the grid, M share of making the device, R inferences

Carbon is derived from measured energy, and only on request. The user states the intensity, whether it is average or
marginal, and PUE (power usage effectiveness, the overhead of the building). The share of making the device is an
interval, because makers state intervals.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from compress.base.config import InputError
from compress.records.result import Point
from compress.records.stats import Estimate, widened

Kind = Literal["average", "marginal"]
J_PER_KWH = 3.6e6
YEAR_S = 365.25 * 86400
PER = 1000
SOURCE = "Ember and Energy Institute, through Our World in Data, carbon intensity of electricity generation, 2023"
GRIDS: dict[str, float] = {
    "AT": 111, "AU": 549, "BE": 138, "BR": 98, "CA": 170, "CL": 291, "CN": 582, "CO": 260, "DE": 381, "DK": 152,
    "FI": 79, "FR": 56, "IE": 291, "IN": 713,
}  # fmt: skip
"""Average grams of CO2 equivalent per kWh generated, by country. All are from SOURCE."""


@dataclass(frozen=True)
class Terms:
    """The user's statements about electricity and hardware."""

    grid: str
    grams_per_kwh: float
    source: str
    kind: Kind
    pue: float
    embodied_kg: tuple[float, float] | None = None
    """Least and most CO2 equivalent of making the device, in kg."""
    lifetime_years: float | None = None

    def __str__(self) -> str:
        embodied = ""
        if self.embodied_kg is not None:
            low, high = self.embodied_kg
            embodied = f", {low:g} to {high:g} kg for making the device over {self.lifetime_years:g} years"
        return f"{self.kind} {self.grams_per_kwh:g} g/kWh ({self.grid}; {self.source}), PUE {self.pue:g}{embodied}"


def terms(
    grid: str, pue: float | None, kind: str | None, embodied: str | None = None, lifetime_years: float | None = None
) -> Terms:
    """Return the terms that the options of the command line state.

    None of them has a default: raises InputError with every option that is missing or invalid.
    """
    problems = []
    if pue is None or not 1 <= pue < math.inf:
        problems.append(
            f"{_received('--pue', pue)}: expected the building's power divided by the computers', 1 or more; 1 means "
            "no overhead"
        )
    if kind not in get_args(Kind):
        problems.append(
            f"{_received('--intensity', kind)}: expected average or marginal, the kind of the --grid figure"
        )
    grams, source = GRIDS.get(grid.upper()), SOURCE
    if grams is None:
        try:
            grams, source = float(grid), "stated by the user"
            if not 0 <= grams < math.inf:
                raise ValueError("no intensity")
        except ValueError:
            problems.append(f"--grid {grid}: expected grams of CO2 per kWh, or one of {', '.join(GRIDS)}")
    elif kind == "marginal":
        problems.append(f"--grid {grid}: the table holds average intensities; give the marginal one in g/kWh")
    if (embodied is None) != (lifetime_years is None):
        problems.append("--embodied and --lifetime: give both (kg of CO2 as LOW..HIGH, and years) or neither")
    if lifetime_years is not None and not 0 < lifetime_years < math.inf:
        problems.append(f"--lifetime {lifetime_years:g}: expected years, more than 0")
    embodied_kg = None if embodied is None else _interval(embodied, problems)
    if problems or pue is None or grams is None:
        raise InputError(problems)
    stated: Kind = "marginal" if kind == "marginal" else "average"
    return Terms(grid, grams, source, stated, pue, embodied_kg, lifetime_years)


def _received(option: str, value: object) -> str:
    """Return an option with its value, or `OPTION is missing`."""
    return f"{option} is missing" if value is None else f"{option} {value}"


def _interval(text: str, problems: list[str]) -> tuple[float, float] | None:
    """Return both ends of `LOW..HIGH` in kg; add to `problems` if they are invalid."""
    low, _, high = text.partition("..")
    try:
        ends = (float(low), float(high))
    except ValueError:
        problems.append(f"--embodied {text}: expected kilograms of CO2 as LOW..HIGH, such as 100..200")
        return None
    if not 0 <= ends[0] <= ends[1] < math.inf:
        problems.append(f"--embodied {text}: expected the lower figure first, neither below 0")
    return ends


def grams_per_1000(point: Point, terms: Terms) -> Estimate | None:
    """Return grams of CO2 equivalent per 1000 inferences at a point; None if its energy is unknown.

    The interval is that of the energy, widened by the meter's own error and by the interval of making the device.
    """
    energy = point.energy_j
    if energy is None:
        return None
    per_j = PER * terms.grams_per_kwh * terms.pue / J_PER_KWH
    widened_j = widened(energy, point.energy_gain or 0.0)
    value, low, high = energy.value * per_j, widened_j.low * per_j, widened_j.high * per_j
    if terms.embodied_kg is not None and terms.lifetime_years is not None:
        seconds = PER * point.latency_s.value / point.batch_size
        share = seconds / (terms.lifetime_years * YEAR_S)
        least, most = (1000 * kg * share for kg in terms.embodied_kg)
        low, high, value = low + least, high + most, value + (least + most) / 2
    return Estimate(value, low, high, energy.n)
