"""Names of functions have the kinds that Python's scopes give them; expected kinds are written by hand."""

import ast
import builtins
import symtable
from collections import Counter
from textwrap import dedent

import pytest
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from compress.data.offline import text as offline_text
from compress.data.offline.bindings import KINDS, STRING, TAGS, Function, functions

MODULE = """
import os, os.path
import xml.dom as dom
from json import dumps as write, loads
limit = 3
class Base: pass
"""


def spans(source: str, module: str = MODULE) -> str:
    """Return the spans of the first function of a module, as `text:KIND` in their order."""
    function = next(functions(module + dedent(source)))
    assert len(function.words) == len(function.tags)
    return " ".join(
        f"{''.join(function.words[start : end + 1])}:{kind}" for kind, start, end in get_entities(function.tags)
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            """
            def f(a, /, b, *rest, c=limit, **others):
                return a, b, rest, c, others
            """,
            "f:GLOBAL a:PARAM b:PARAM rest:PARAM c:PARAM limit:GLOBAL others:PARAM "
            "a:PARAM b:PARAM rest:PARAM c:PARAM others:PARAM",
            id="star-args",
        ),
        pytest.param(
            """
            def f(x):
                path = os.path.join(*x)
                return str(path)
            """,
            "f:GLOBAL x:PARAM path:LOCAL os.path.join:IMPORT x:PARAM str:BUILTIN path:LOCAL",
            id="dotted-references",
        ),
        pytest.param(
            """
            def f(x):
                return x.a().b + x[0].c + (x).d + f(y=x).e
            """,
            "f:GLOBAL x:PARAM x.a:PARAM x:PARAM x:PARAM f:GLOBAL x:PARAM",
            id="attributes-of-other-expressions",
        ),
        pytest.param(
            """
            def f():
                import re, sys as system, email.parser, email.policy as policy
                from . import local as near
                from html.parser import HTMLParser
                return re.sub, system, email.parser, policy, near, HTMLParser, write, loads, dom
            """,
            "f:GLOBAL re:IMPORT system:IMPORT email.parser:IMPORT policy:IMPORT near:IMPORT HTMLParser:IMPORT "
            "re.sub:IMPORT system:IMPORT email.parser:IMPORT policy:IMPORT near:IMPORT HTMLParser:IMPORT "
            "write:IMPORT loads:IMPORT dom:IMPORT",
            id="imports-with-as",
        ),
        pytest.param(
            """
            def f(a):
                b = 1
                def g(c, d=b):
                    nonlocal b
                    b = a + c + e
                    return g
                class C:
                    b = 2
                e = lambda a: a + b
                return g, C
            """,
            "f:GLOBAL a:PARAM b:LOCAL g:LOCAL c:PARAM d:PARAM b:LOCAL b:LOCAL b:LOCAL a:PARAM c:PARAM e:LOCAL "
            "g:LOCAL C:LOCAL e:LOCAL a:PARAM a:PARAM b:LOCAL g:LOCAL C:LOCAL",
            id="nested-functions",
        ),
        pytest.param(
            """
            def f(x):
                y = [x for x in x if limit]
                return x, {k: v for k, v in y for y in k}, y, k
            """,
            "f:GLOBAL x:PARAM y:LOCAL x:LOCAL x:LOCAL x:PARAM limit:GLOBAL "
            "x:PARAM k:LOCAL v:LOCAL k:LOCAL v:LOCAL y:LOCAL y:LOCAL k:LOCAL y:LOCAL k:GLOBAL",
            id="comprehension-scopes",
        ),
        pytest.param(
            """
            def f(x):
                if any((last := y) for y in x) and (n := len(x)):
                    return last, n, y
            """,
            "f:GLOBAL x:PARAM any:BUILTIN last:LOCAL y:LOCAL y:LOCAL x:PARAM n:LOCAL len:BUILTIN x:PARAM "
            "last:LOCAL n:LOCAL y:GLOBAL",
            id="walrus",
        ),
        pytest.param(
            """
            def f():
                global limit, count, os
                limit = count = os
                return limit
            """,
            "f:GLOBAL limit:GLOBAL count:GLOBAL os:IMPORT limit:GLOBAL count:GLOBAL os:IMPORT limit:GLOBAL",
            id="global",
        ),
        pytest.param(
            """
            def f(input):
                print(list, input)
                list = [input]
            """,
            "f:GLOBAL input:PARAM print:BUILTIN list:LOCAL input:PARAM list:LOCAL input:PARAM",
            id="builtins-shadowed-by-a-local",
        ),
        pytest.param(
            """
            def f(x):
                try:
                    for i, (j, *k) in x: pass
                except (ValueError, OSError) as error:
                    raise Base from error
                except KeyError: pass
                with open(x) as file, x.y as x.z: del i
            """,
            "f:GLOBAL x:PARAM i:LOCAL j:LOCAL k:LOCAL x:PARAM ValueError:BUILTIN OSError:BUILTIN error:LOCAL "
            "Base:GLOBAL error:LOCAL KeyError:BUILTIN open:BUILTIN x:PARAM file:LOCAL x.y:PARAM x.z:PARAM i:LOCAL",
            id="except-as",
        ),
        pytest.param(
            """
            @write(limit)
            @os.wraps
            async def f(x: int = limit) -> Base:
                y: dict[str, x] = await x
            """,
            "write:IMPORT limit:GLOBAL os.wraps:IMPORT f:GLOBAL x:PARAM int:BUILTIN limit:GLOBAL Base:GLOBAL "
            "y:LOCAL dict:BUILTIN str:BUILTIN x:PARAM x:PARAM",
            id="decorators-and-annotations",
        ),
        pytest.param(
            """
            class C(Base):
                size = 1
                @size.setter
                def f(self, n=size, m=limit):
                    return size, self.size, __class__, super().f(n=m)
            """,
            "self:PARAM n:PARAM m:PARAM limit:GLOBAL size:GLOBAL self.size:PARAM super:BUILTIN m:PARAM",
            id="class-attributes",
        ),
        pytest.param(
            """
            def f(x):
                match x:
                    case [a, *b] | {"k": a, **b}: return a, b
                    case Base(limit=c) as d: return c, d
                    case os.sep | 1: return match
                    case _: return x
            """,
            "f:GLOBAL x:PARAM x:PARAM a:LOCAL b:LOCAL a:LOCAL b:LOCAL a:LOCAL b:LOCAL Base:GLOBAL c:LOCAL d:LOCAL "
            "c:LOCAL d:LOCAL os.sep:IMPORT match:GLOBAL x:PARAM",
            id="patterns",
        ),
        pytest.param(
            """
            def f(x):
                'Join x. é'
                é = f"{x} and {(z := x)}", b"x"  # x
                return é, z, (x
                    .y)
            """,
            "f:GLOBAL x:PARAM é:LOCAL é:LOCAL z:LOCAL x.y:PARAM",
            id="strings-and-comments",
        ),
    ],
)
def test_names_have_the_kind_of_their_binding(source: str, expected: str) -> None:
    assert spans(source).split() == expected.split()


def test_a_name_bound_twice_is_a_parameter_before_an_import_before_the_rest() -> None:
    twice = """
    def f(a):
        import a, b
        b = None
    """
    assert spans(twice) == "f:GLOBAL a:PARAM a:PARAM b:IMPORT b:IMPORT"
    tried = "try:\n    import fast\nexcept ImportError:\n    fast = None\n"
    assert spans("def f(): return fast", tried) == "f:GLOBAL fast:IMPORT"


def test_names_that_nothing_binds_are_global_or_of_the_imported_star() -> None:
    assert spans("def f(): return unknown, len, __name__") == "f:GLOBAL unknown:GLOBAL len:BUILTIN __name__:GLOBAL"
    star = "from tkinter import *\nknown = 1\n"
    assert spans("def f(): return unknown, len, known", star) == ("f:GLOBAL unknown:IMPORT len:BUILTIN known:GLOBAL")


def test_a_declared_global_binds_in_the_module() -> None:
    other = "def g():\n    global late, len\n    import late\n    len = 1\n"
    found = list(functions(other + "def f(): return late, len\n"))
    assert found[1].words == ["def", "f", "(", ")", ":", "return", "late", ",", "len"]
    assert [tag for tag in found[1].tags if tag != "O"] == ["B-GLOBAL", "B-IMPORT", "B-GLOBAL"]


def test_words_are_tokens_without_space_and_comments_and_dots_belong_to_spans() -> None:
    source = (
        "def f(x):\n    # a comment\n    return x.a.b(\n        'text', f'{x!r:>{x}}' 'y', 1.5,\n    )\n\n\ny = 1\n"
    )
    words = ["def", "f", "(", "x", ")", ":", "return", "x", ".", "a", ".", "b", "("]
    strings = [STRING, ",", STRING, STRING, ",", "1.5", ",", ")"]
    tags = ["O", "B-GLOBAL", "O", "B-PARAM", "O", "O", "O", "B-PARAM", *["I-PARAM"] * 4]
    assert list(functions(source)) == [Function([*words, *strings], [*tags, *["O"] * 9])]


def test_every_function_is_given_once_with_those_inside_it() -> None:
    source = """
    class C:
        def one(self):
            def two(): pass
    if C:
        def three(): lambda: 0
    """
    found = list(functions(dedent(source)))
    assert [function.words[1] for function in found] == ["one", "three"]
    assert "two" in found[0].words


def test_a_file_that_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        list(functions("def f(:\n"))


@pytest.fixture(scope="module")
def sources() -> list[str]:
    return [text for text, _ in offline_text.files()][::3]


def test_spans_of_the_standard_library_are_valid_for_seqeval(sources: list[str]) -> None:
    found = [function for text in sources for function in functions(text)]
    assert len(found) > 1000
    strict = Entities([function.tags for function in found], IOB2).entities
    kinds = Counter(entity.tag for entities in strict for entity in entities)
    assert set(kinds) == set(KINDS)
    for function, entities in zip(found, strict, strict=True):
        assert set(function.tags) <= set(TAGS)
        assert {(entity.tag, entity.start, entity.end - 1) for entity in entities} == set(get_entities(function.tags))
        for entity in entities:
            words = function.words[entity.start : entity.end]
            assert all(word.isidentifier() for word in words[::2])
            assert set(words[1::2]) <= {"."}


def test_kinds_agree_with_the_compilers_symbol_tables(sources: list[str]) -> None:
    """Functions without inner scopes, decorators, defaults and annotations: all names are of their own scope."""
    compared: Counter[str] = Counter()
    for text in sources:
        tables = symtable.symtable(text, "module", "exec")
        found = {
            (function.words[1], line): function for function, line in zip(functions(text), lines(text), strict=True)
        }
        for table, owner in leaves(tables):
            function = found.get((table.get_name(), table.get_lineno()))
            if function is None or is_signed(function):
                continue
            for word, tag in list(zip(function.words, function.tags, strict=True))[2:]:
                if tag.startswith("B-"):
                    compared[tag] += 1
                    assert tag == f"B-{expected(table, mangled(word, owner), tables, 'import *' in text)}", (
                        function.words,
                        word,
                    )
    assert min(compared[f"B-{kind}"] for kind in KINDS) > 100


def lines(text: str) -> list[int]:
    """Return the lines of the outermost functions, in order of their nodes."""
    found: list[int] = []

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append(child.lineno)
            else:
                walk(child)

    walk(ast.parse(text))
    return found


def leaves(table: symtable.SymbolTable, owner: str = "") -> list[tuple[symtable.SymbolTable, str]]:
    """Return the tables of functions without inner scopes, and the class that each is in."""
    found = []
    for child in table.get_children():
        if child.get_type() == "class":
            found += leaves(child, child.get_name())
        elif child.get_type() == "function" and not child.get_children():
            found.append((child, owner))
    return found


def is_signed(function: Function) -> bool:
    signature = function.words[: function.words.index(":") + 1]
    return signature[0] != "def" or bool({"=", "->"} & set(signature)) or signature[-2:] != [")", ":"]


def mangled(name: str, owner: str) -> str:
    private = owner and name.startswith("__") and not name.endswith("__")
    return f"_{owner.lstrip('_')}{name}" if private else name


def expected(table: symtable.SymbolTable, name: str, module: symtable.SymbolTable, star: bool) -> str:
    symbol = table.lookup(name)
    if symbol.is_parameter():
        return "PARAM"
    if symbol.is_local():
        return "IMPORT" if symbol.is_imported() else "LOCAL"
    assert symbol.is_global()
    bindings = [each for each in globals_of(module) if each.get_name() == name]
    if bindings:
        return "IMPORT" if any(each.is_imported() for each in bindings) else "GLOBAL"
    return "BUILTIN" if hasattr(builtins, name) else "IMPORT" if star else "GLOBAL"


def globals_of(table: symtable.SymbolTable) -> list[symtable.Symbol]:
    """Return the symbols that bind a name of the module: its own, and those of `global` statements."""
    own = [
        symbol
        for symbol in table.get_symbols()
        if (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace())
        and (table.get_type() == "module" or symbol.is_declared_global())
    ]
    return own + [symbol for child in table.get_children() for symbol in globals_of(child)]
