"""Names in errors: the first of many, and a sign that there are more."""

import pytest

from compress.base.errors import some


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(0, 4, ""), (1, 4, "0"), (4, 4, "0, 1, 2, 3"), (5, 4, "0, 1, 2, 3 ..."), (3, 1, "0 ...")],
)
def test_the_first_of_many_names_are_listed(count: int, most: int, expected: str) -> None:
    assert some(range(count), most) == expected
    assert some([str(name) for name in range(count)], most) == expected
