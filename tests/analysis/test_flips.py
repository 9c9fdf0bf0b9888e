"""The sentence of a map, checked on all maps of two by three points and on planted ones, by a reader of its own."""

import re
from itertools import product

import pytest

from compress.analysis.flips import corner, flips, sentence
from compress.analysis.mapping import maps
from compress.records.result import Result
from tests import mapped

Signs = dict[tuple[int, int | None], bool]
BATCHES, LENGTHS = (1, 8), (32, 128, 512)
EVERY: list[Signs] = [
    {place: sign for place, sign in zip(product(BATCHES, LENGTHS), signs, strict=True) if sign is not None}
    for signs in product((True, False, None), repeat=6)
]
"""Decided signs of all 729 maps of six points."""
RATIOS = {"+": 0.5, "-": 1.5, "?": 1.001}


def drawn(*rows: str, batches: tuple[int, ...] = (1, 8, 32), lengths: tuple[int, ...] = LENGTHS) -> Result:
    """A map with a row of signs per batch size."""
    return mapped.result(
        {
            (b, n): RATIOS[sign]
            for b, row in zip(batches, rows, strict=True)
            for n, sign in zip(lengths, row, strict=True)
        }
    )


def said(*rows: str, **sizes: tuple[int, ...]) -> str:
    """The sentence of such a map."""
    return sentence(maps([drawn(*rows, **sizes)])[0])


def is_within(place: tuple[int, int | None], words: str) -> bool:
    """Whether a point is in the corner that these words describe: read independently of how they were written."""
    value = {"batch": place[0], "length": place[1]}
    for kind, part in re.findall(r"(from|up to) ((?:(?:batch|length) \d+(?: x )?)+)", words):
        for name, edge in re.findall(r"(batch|length) (\d+)", part):
            of = value[name] or 0
            if (of < int(edge)) if kind == "from" else (of > int(edge)):
                return False
    return True


def test_flips_are_the_pairs_of_one_line_with_other_signs_and_nothing_decided_between() -> None:
    for signs in EVERY:
        expected = set()
        for a, b in product(signs, repeat=2):
            for along in (0, 1):
                if a[1 - along] != b[1 - along] or not (a[along] or 0) < (b[along] or 0):
                    continue
                between = [
                    p for p in signs
                    if p[1 - along] == a[1 - along] and (a[along] or 0) < (p[along] or 0) < (b[along] or 0)
                ]  # fmt: skip
                if signs[a] != signs[b] and not between:
                    expected.add((a, b))
        assert set(flips(signs)) == expected


def test_a_corner_holds_exactly_the_points_of_one_sign() -> None:
    found = 0
    for signs, saves in product(EVERY, (True, False)):
        members = {place for place, sign in signs.items() if sign is saves}
        if not members:
            continue
        exact = [  # brute force: every decided point as the corner of each of the four quadrants
            place
            for place, up, right in product(members, (1, -1), (1, -1))
            if members == {p for p in signs if up * p[0] >= up * place[0] and right * p[1] >= right * place[1]}  # type: ignore[operator]
        ]
        made = corner(signs, saves)
        assert (made is not None) == bool(exact)
        assert made is None or made[1] in exact
        found += made is not None
    assert found > 300


def test_what_a_sentence_says_holds_at_every_decided_point() -> None:
    """The words of all 729 maps are read again, and compared with the planted signs."""
    seen = {"corner": 0, "rows": 0, "one sign": 0, "none": 0}
    for signs in EVERY:
        planted = {
            place: 0.5 if signs.get(place) else 1.5 if place in signs else 1.001 for place in product(BATCHES, LENGTHS)
        }
        text = sentence(maps([mapped.result(planted)])[0])
        undecided = [place for place in planted if place not in signs]
        for place in undecided:
            assert signs == {} or f"batch {place[0]} x length {place[1]}" in text.partition("Undecided: ")[2]
        assert bool(undecided) == ("ndecided:" in text or "no point of the map" in text)
        both = len(set(signs.values())) == 2
        assert ("the sign flips " in text) == both
        assert ("does not flip" in text) == (len(set(signs.values())) == 1)
        if not signs:
            seen["none"] += 1
        elif not both:
            seen["one sign"] += 1
            assert ("saves latency" in text) == next(iter(signs.values()))
        elif "at every other decided point" in text:
            seen["corner"] += 1
            inside = "saves latency" in text
            words = text.partition(" at every other")[0]
            assert all((is_within(place, words)) == (sign is inside) for place, sign in signs.items()), text
        else:
            seen["rows"] += 1
            for batch, words in re.findall(r"at batch (\d+) (.*?)(?:;| \(latency)", text):
                for verb, lengths in re.findall(r"(saves|costs more) at length ([\d, and]+\d)", words):
                    for length in re.findall(r"\d+", lengths):
                        assert signs[int(batch), int(length)] is (verb == "saves"), text
    assert seen["none"] == 1 and seen["one sign"] == 2 * (2**6 - 1) and min(seen["corner"], seen["rows"]) > 50


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            ("---", "-++", "-++"),
            "bert_int8 saves latency from batch 8 x length 128 on and costs more at every other decided point, against "
            "fp32 eager: the sign flips between batch 1 and 8 at length 128 and 512, between length 32 and 128 at "
            "batch 8 and 32.",
        ),
        (
            ("---", "?++", "+++"),
            "bert_int8 saves latency from batch 8 on and costs more at every other decided point, against fp32 eager: "
            "the sign flips between batch 1 and 32 at length 32, between batch 1 and 8 at length 128 and 512. "
            "Undecided: batch 8 x length 32.",
        ),
        (
            ("++-", "++-", "++-"),
            "bert_int8 saves latency up to length 128 and costs more at every other decided point, against fp32 eager: "
            "the sign flips between length 128 and 512 at batch 1, 8 and 32.",
        ),
        (
            ("+-+", "?-?", "+-+"),
            "bert_int8 at batch 1 saves at length 32 and 512 and costs more at length 128; at batch 8 costs more at "
            "length 128; at batch 32 saves at length 32 and 512 and costs more at length 128 (latency), against fp32 "
            "eager: the sign flips between length 32 and 128 at batch 1 and 32, between length 128 and 512 at batch 1 "
            "and 32. Undecided: batch 8 x length 32, batch 8 x length 512.",
        ),
        (
            ("+++", "+++", "+++"),
            "bert_int8 saves latency at all 9 points of the map against fp32 eager: the sign does not flip.",
        ),
        (
            ("---", "---", "-?-"),
            "bert_int8 costs more latency at the 8 decided of 9 points of the map against fp32 eager: the sign does "
            "not flip. Undecided: batch 32 x length 128.",
        ),
        (("???",) * 3, "bert_int8: no point of the map shows a difference of latency against fp32 eager."),
    ],
    ids=["corner", "undecided corner", "columns", "no corner", "saves", "costs more", "undecided"],
)  # fmt: skip
def test_the_sentence_of_a_planted_map(rows: tuple[str, ...], expected: str) -> None:
    assert said(*rows) == expected


def test_pictures_and_language_models_have_their_own_words() -> None:
    (pictures,) = maps([mapped.result({(1, None): 1.5, (8, None): 0.5, (32, None): 0.5}, "vit_int8")])
    assert sentence(pictures) == (
        "vit_int8 saves latency from batch 8 on and costs more at every other decided point, against fp32 eager: the "
        "sign flips between batch 1 and 8."
    )
    planted = {(1, 64): 0.5, (8, 64): 1.5, (1, 256): 0.5, (8, 256): 1.5}
    (decode,) = maps([mapped.result(planted, "llama_int8", phase="decode")])
    assert sentence(decode).startswith("llama_int8 saves latency per token up to batch 1 and costs more")
    assert "at context 64 and 256" in sentence(decode)


def test_points_without_figures_are_named_with_the_reason() -> None:
    planted = {(1, 96): 0.5, (8, 96): None, (32, 96): 0.5}
    (found,) = maps([mapped.result(planted, unreliable=[(32, 96)])])
    assert sentence(found).endswith("Not measured: batch 8 x length 96. Not reliable: batch 32 x length 96.")
    (nothing,) = maps([mapped.result({(1, 64): None})])
    assert sentence(nothing) == (
        "bert_int8: no point of the map is decided against fp32 eager. Not measured: batch 1 x length 64."
    )
