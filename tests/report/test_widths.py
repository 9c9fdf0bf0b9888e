"""Widths of a terminal table's columns."""

from compress.report.widths import fitted


def test_every_column_gets_its_longest_word_and_the_narrowest_is_widened_first() -> None:
    cells = [["recipe", "bert_int8"], ["verdict", "NO MEASURABLE DIFFERENCE", "SAVES\n(0.5 to 0.6)"], ["x", "a b"]]
    assert fitted(cells, [False, False, False], 20) == [9, 10, 1]
    assert fitted(cells, [False, False, False], 25) == [9, 13, 3]
    assert fitted(cells, [False, False, False], 1000) == [9, 24, 3]
    assert fitted(cells, [False, False, False], 19) is None


def test_lines_of_names_are_not_cut_and_wide_characters_count_double() -> None:
    assert fitted([["", "reference:\nfp32 eager"], ["", "1"]], [True, False], 11) == [10, 1]
    assert fitted([["", "fp32 eager"], ["", "1"]], [True, False], 10) is None
    assert fitted([["", "名前"]], [False], 4) == [4] and fitted([["", "名前"]], [False], 3) is None


def test_titles_wrap_at_words() -> None:
    assert fitted([["energy per inference", "1 mJ"], ["x", "a b"]], [False, False], 100) == [9, 3]
