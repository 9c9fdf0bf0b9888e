"""A reader of escaped LaTeX, made by LaTeX's manual: what a text prints, and the cells of tabulars."""

import re
from collections.abc import Iterator

import pytest

TEX = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"\textasciigrave{}": "`", r"\symbol{34}": '"', r"$\star$": "★",
    r"$\infty$": "∞", r"$\sim$": "~", "---": "—", r"\,\%": " %", r"\&": "&", r"\%": "%", r"\$": "$", r"\#": "#",
    r"\_": "_", r"\{": "{", r"\}": "}", "{[}": "[", "{]}": "]", "{*}": "*", "{}": "",
}  # fmt: skip
"""LaTeX -> what it prints, by LaTeX's own manual."""
TOKEN = re.compile("|".join(map(re.escape, sorted(TEX, key=len, reverse=True))) + r"|\$([^$]*)\$|([\\&%$#_{}~^<>|`])")
COMMENT = re.compile(r"(?<!\\)%[^\n]*")


def printed(tex: str) -> str:
    """Return what LaTeX prints of escaped text; fails at a character with a meaning that is not escaped."""

    def character(found: re.Match[str]) -> str:
        if found.group(2) is not None:
            pytest.fail(f"{found.group(2)!r} is not escaped in {tex!r}")
        if (formula := found.group(1)) is not None:
            return formula.replace("{,}", ",").replace(r"\infty", "∞")
        return TEX[found.group()]

    return TOKEN.sub(character, tex)


def environments(tex: str) -> list[str]:
    """Return the environments of a document in order; fails if one is not ended where it should be."""
    opened, found = [], []
    for what, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", COMMENT.sub("", tex)):
        if what == "begin":
            opened.append(name)
            found.append(name)
        else:
            assert opened and opened.pop() == name, name
    assert not opened
    return found


def braces(tex: str) -> None:
    """Fail if the braces of a document are not balanced."""
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", COMMENT.sub("", tex).replace(r"\{", "").replace(r"\}", "")):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


def split(line: str, at: str) -> list[str]:
    """Split at a separator outside of braces."""
    parts, depth, index = [""], 0, 0
    while index < len(line):
        if depth == 0 and line.startswith(at, index):
            parts.append("")
            index += len(at)
            continue
        size = 2 if line[index] == "\\" else 1
        letter = line[index : index + size]
        depth += (letter == "{") - (letter == "}")
        parts[-1] += letter
        index += size
    return parts


def cell(tex: str) -> str:
    """Return what a cell prints, its lines joined by spaces."""
    tex = tex.strip()
    inner = re.fullmatch(r"\\compresscell\{(.*)\}", tex)
    lines = split(inner.group(1), r" \\ ") if inner else [tex]
    small = (re.fullmatch(r"\{\\scriptsize (.*)\}", line) for line in lines)
    return " ".join(printed(found.group(1) if found else line) for found, line in zip(small, lines, strict=True))


def tabulars(tex: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the columns and the rows of printed cells of every tabular."""
    for columns, body in re.findall(
        r"\\begin\{tabular\}\{((?:l|p\{[^}]*\})+)\}\n(.*?)\\end\{tabular\}", tex.partition("\n\n")[2], re.DOTALL
    ):
        lines = [
            line for line in body.splitlines() if not re.fullmatch(r"\\(top|mid|bottom)rule|\\addlinespace.*", line)
        ]
        assert all(line.endswith(r" \\") for line in lines)
        yield re.sub(r"p\{[^}]*\}", "p", columns), [list(map(cell, split(line[:-3], " & "))) for line in lines]


def items(tex: str) -> list[str]:
    """Return what the items of all lists print."""
    return [printed(line.removeprefix(r"\item ")) for line in tex.splitlines() if line.startswith(r"\item ")]
