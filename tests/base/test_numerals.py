"""Numbers in text, and the limits that people write: ASCII digits in plain decimal notation."""

import pytest

from compress.base.errors import InputError
from compress.base.limits import hundredths, parse_limit, parse_margin
from compress.base.numerals import number, plain

REFUSED = ("1_0", "\u0661", "\uff11", "\u00bd", "nan", "inf", "0x1", "1,5", "1 0", "", ".", "+", "1.2.3", "9" * 41)


@pytest.mark.parametrize("text", REFUSED)
def test_text_that_is_no_number_in_ascii_digits_is_none(text: str) -> None:
    assert number(text) is plain(text) is None


def test_a_plain_number_has_no_sign_below_0_and_no_exponent() -> None:
    assert [plain(text) for text in ("0.5", "+3", ".25", "7.", "1e3", "-1", "-0")] == [
        0.5,
        3,
        0.25,
        7,
        None,
        None,
        None,
    ]
    assert [number(text) for text in ("1e3", "-1.5", "+2.5E-1", "-0")] == [1000, -1.5, 0.25, 0]


@pytest.mark.parametrize("text", [*REFUSED, "-0", "-1", "1e-320", "1e3", "1000001", "9" * 300])
@pytest.mark.parametrize("suffix", ["pt", "%"])
def test_a_limit_that_is_not_in_plain_decimal_notation_is_one_error(text: str, suffix: str) -> None:
    assert hundredths(f"{text}{suffix}", suffix) is None
    for parse in (parse_limit, parse_margin):
        with pytest.raises(InputError, match=r"^--limit .*: expected points such as 1pt") as error:
            parse(f"{text}{suffix}", "--limit")
        assert len(str(error.value)) < 400


def test_limits_in_plain_decimal_notation_are_fractions() -> None:
    assert parse_limit("0.5pt", "") == (pytest.approx(0.005), "points")
    assert parse_limit(" +2 % ", "") == (pytest.approx(0.02), "percent")
    assert parse_limit("1000000%", "") == (10_000, "percent")
    assert parse_margin("0pt", "") == (0, "points")
    with pytest.raises(InputError, match="expected at most 100 points"):
        parse_margin("101pt", "--margin")
