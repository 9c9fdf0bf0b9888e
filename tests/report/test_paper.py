"""pareto.tex: LaTeX that compiles, with the cells and sentences of pareto.md and every setting of the measurement."""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.analysis.pareto import Table, group
from compress.records.files import write
from compress.records.result import Result
from compress.report import text
from compress.report.notes import footnotes
from compress.report.paper.document import latex
from compress.report.paper.escape import figures, literal
from compress.report.table import labels, rows
from compress.report.verdicts import in_full
from tests import factory
from tests.tex import braces, environments, items, printed, tabulars

HOSTILE = "a|b`c`<script>[x](y)*z*\\input{/etc/passwd}$x_{$ 100%&#~^{}}--'' ,,\"\n\x1b[31m=1+1 名前\ud800"


def one(results: Sequence[Result]) -> Table:
    (table,) = group(list(results))
    return table


TABLES: dict[str, Callable[[], list[Result]]] = {
    "a family": factory.family,
    "metered": lambda: factory.family(energy_source="rapl"),
    "hostile": lambda: [factory.result(HOSTILE), factory.result("b", notes=(HOSTILE,))],
    "perplexity": lambda: [factory.result(accuracy=factory.accuracy(8.0, 0.1, metric="perplexity", bits_per_byte=1.5))],
    "failed": lambda: [factory.result(), factory.failed("bad", HOSTILE)],
    "limited": lambda: [factory.result(limit=64)],
    "one round": lambda: [factory.result(ratios=(), half=float("inf"))],
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_every_cell_is_that_of_the_markdown_table_in_two_tables_of_full_rows(make: Callable[[], list[Result]]) -> None:
    table = one(make())
    tex = latex([table])
    braces(tex)
    assert environments(tex).count("table*") == 2 + bool(table.failed)
    found = {}
    for columns, lines in tabulars(tex):
        assert {len(line) for line in lines} == {len(columns)}
        head, *body = lines
        at = next((i for i, title in enumerate(head) if title == "recipe"), None)
        for line in body if at is not None else ():
            found |= {(line[at], title): value for title, value in zip(head, line, strict=True)}
    titles = labels(table)
    for row in rows(table):
        name = text.plain(text.joined(row.cells["recipe"])).encode(errors="backslashreplace").decode()
        for header, value in row.cells.items():
            expected = text.joined(value).encode(errors="backslashreplace").decode()
            assert found.pop((name, titles[header])) == text.plain(expected)
    assert not found


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_verdicts_and_notes_are_those_of_the_markdown_table_and_every_recipe_has_its_steps(
    make: Callable[[], list[Result]],
) -> None:
    table = one(make())
    recipes = [
        f"{result.name}: step 0: quantize (bits=8); runtime {result.runtime}, seed 0." for result in table.results
    ]
    lines = map(text.plain, (*in_full(table), *footnotes(table), *recipes))
    assert items(latex([table])) == [line.encode(errors="backslashreplace").decode() for line in lines]


def test_loud_lines_are_in_the_caption_and_failures_have_a_table() -> None:
    tex = latex(group([factory.result(limit=64), factory.failed("bad", "no_kernel\nTraceback", limit=64)]))
    (caption, more, failed) = re.findall(r"\\caption\{(.*)\}\n", tex)
    assert "LIMITED: judged on 64 test examples only (-{}-limit 64); not the test split." in caption
    assert more == r"Other figures of Table~\ref{tab:compress-1}." and failed.startswith("Failed: stdlib-bert")
    assert r"bad & no\_kernel \\" in tex and "Traceback" not in tex


def test_several_tables_have_labels_of_their_own_and_no_table_is_empty() -> None:
    tex = latex(group([factory.result(), factory.result(machine=factory.machine("m2"))]))
    assert re.findall(r"\\label\{(.*)\}", tex) == [
        "tab:compress-1",
        "tab:compress-1-more",
        "tab:compress-2",
        "tab:compress-2-more",
    ]
    failed = latex(group([factory.failed()]))
    assert environments(failed).count("table*") == 1 and r"\caption{Failed: " in failed


@given(st.text())
def test_any_text_prints_as_it_is(value: str) -> None:
    plain = text.plain(value).encode(errors="backslashreplace").decode()
    assert printed(literal(value)) == plain
    assert "\n" not in literal(value)


@given(st.text(alphabet="+-~% ,.0123456789e∞(ab_"))
def test_figures_print_as_they_are(value: str) -> None:
    plain = text.plain(value)
    if not re.search(r"[+-]\d+(?:,\d{3})*(?:\.\d+)?e[+-]\d", plain):
        assert printed(figures(value)) == plain


@pytest.mark.parametrize(
    ("value", "tex"),
    [
        ("+0.3 points", "$+0.3$ points"), ("(-0.7 to +0.7)", "($-0.7$ to $+0.7$)"), ("~12 mJ", r"$\sim$12 mJ"),
        ("-1,234.5 %", r"$-1{,}234.5$\,\%"), ("(-∞ to +∞)", r"($-\infty$ to $+\infty$)"), ("40 %", r"40\,\%"),
        ("-3.4e-07", r"$-3.4\times10^{-7}$"), ("bert-4", "bert-4"), ("a -4bit", "a -4bit"), ("by +0.7.", "by $+0.7$."),
        ("+0.3, -1.", "$+0.3$, $-1$."), ("--grade C", "-{}-grade C"), ("0.40 (0.39 to 0.41)", "0.40 (0.39 to 0.41)"),
    ],
    ids=str,
)  # fmt: skip
def test_signed_numbers_are_math_and_nothing_else_is(value: str, tex: str) -> None:
    assert figures(value) == tex


def test_the_command_writes_the_file_on_request_only(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "results", factory.result())
    assert run("pareto", "results", "--out", "plain")[0] == 0
    assert not (tmp_path / "plain" / "pareto.tex").exists()
    code, _, err = run("pareto", "results", "--out", "made", "--latex")
    assert code == 0 and "made/pareto.tex" in err
    assert r"\toprule" in (tmp_path / "made" / "pareto.tex").read_text(encoding="utf-8")


COMPILERS = {
    "pdflatex": ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
    "tectonic": ["tectonic", "--only-cached", "paper.tex"],
}
PAPER = r"""\documentclass%s{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs,graphicx}
\begin{document}
\input{pareto}
\end{document}
"""
LATIN = HOSTILE.replace("名前", "é")


@pytest.mark.parametrize("options", ["", "[twocolumn]"], ids=["one column", "two columns"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_paper_with_hostile_names_compiles(compiler: str, options: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    family = factory.family(energy_source="rapl")
    results = [*family, factory.failed("bad", LATIN), factory.result(LATIN, references=family[0].references)]
    (tmp_path / "pareto.tex").write_text(latex(group(results)), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(PAPER % options, encoding="utf-8")
    done = subprocess.run(
        COMPILERS[compiler], cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_characters_that_pdflatex_lacks_are_announced() -> None:
    assert "lualatex or xelatex" in latex(group([factory.result("名前")])).splitlines()[0]
    assert "lualatex" not in latex(group([factory.result(LATIN), *factory.family()]))
