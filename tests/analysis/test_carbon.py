"""Carbon follows the user's words: energy times intensity times PUE, and nothing by default."""

import math

import pytest

from compress.analysis.carbon import GRIDS, grams_per_1000, terms
from compress.analysis.pareto import group
from compress.base.config import InputError
from compress.report import carbon_lines
from tests.factory import result


def test_grams_are_energy_times_intensity_times_pue_by_hand() -> None:
    said = terms("400", 1.2, "marginal")
    made = result("one", energy_source="nvml")
    point = made.headline
    assert point is not None
    assert point.energy_j is not None
    found = grams_per_1000(point, said)
    assert found is not None
    assert found.value == pytest.approx(1000 * point.energy_j.value / 3.6e6 * 400 * 1.2)
    assert "marginal 400 g/kWh (400; stated by the user), PUE 1.2" in str(said)


def test_making_the_device_widens_the_interval_by_its_share_of_the_lifetime() -> None:
    point = result("one", energy_source="nvml").headline
    assert point is not None
    bare, whole = (grams_per_1000(point, terms("FR", 1.0, "average", *more)) for more in ((), ("100..200", 4.0)))
    assert bare is not None
    assert whole is not None
    seconds = 1000 * point.latency_s.value / point.batch_size
    share = seconds / (4 * 365.25 * 86400) * 1000
    assert whole.low - bare.low == pytest.approx(100 * share)
    assert whole.high - bare.high == pytest.approx(200 * share)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("FR", None, "average"), "--pue is missing: expected"),
        (("FR", 0.9, "average"), "1 or more"),
        (("FR", 1.0, None), "--intensity is missing: expected average or marginal"),
        (("FR", 1.0, "marginal"), "holds average intensities"),
        (("Atlantis", 1.0, "average"), "expected grams of CO2 per kWh, or one of"),
        (("FR", 1.0, "average", "100..200"), "give both"),
        (("FR", 1.0, "average", "200..100", 4.0), "lower figure first"),
        (("FR", 1.0, "average", "some", 4.0), "LOW..HIGH"),
        (("FR", 1.0, "average", "100..inf", 4.0), "lower figure first"),
        (("FR", 1.0, "average", "100..200", 0.0), "--lifetime 0: expected years"),
        (("FR", 1.0, "average", "100..200", -4.0), "--lifetime -4: expected years"),
        (("FR", math.nan, "average"), "--pue nan"),
        (("nan", 1.0, "average"), "--grid nan"),
        (("-50", 1.0, "average"), "--grid -50"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_missing_or_unknown_terms_are_refused(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        terms(*arguments)  # type: ignore[arg-type]


def test_every_row_has_its_grams_or_a_reason_and_modelled_ones_a_tilde() -> None:
    (measured,) = group([result("one", energy_source="nvml")])
    (modelled,) = group([result("one")])
    (unknown,) = group([result("one", energy_source=None)])
    said = terms("DE", 1.5, "average")
    assert f"{GRIDS['DE']:g} g/kWh" in carbon_lines(measured, said)[0]
    assert "~" not in "".join(carbon_lines(measured, said)[1:])
    assert all("~" in line for line in carbon_lines(modelled, said)[1:])
    assert all("unknown" in line for line in carbon_lines(unknown, said)[1:])
