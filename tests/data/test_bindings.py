"""Names of functions have the kinds that Python's scopes give them; expected kinds are written by hand."""

import sys
from textwrap import dedent

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from compress.data.offline.bindings import STRING, Function, functions

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
            @(write @ limit)
            @os.wraps
            @loads(limit, x=[x for x in limit])
            async def f(x: int = limit) -> Base:
                y: dict[str, x] = await x
            """,
            "write:IMPORT limit:GLOBAL os.wraps:IMPORT loads:IMPORT limit:GLOBAL x:LOCAL x:LOCAL limit:GLOBAL "
            "f:GLOBAL x:PARAM int:BUILTIN limit:GLOBAL Base:GLOBAL "
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
                size = 0
                class C(x.size, key=size):
                    import os.path as near, json
                    global limit, size
                    limit = size = json
                    own = [near for near in near if own]
                    def g(self, limit=size):
                        return size, own, json, near, os, limit
                return lambda x=x: (x, size)
            """,
            "f:GLOBAL x:PARAM size:LOCAL C:LOCAL x.size:PARAM size:LOCAL limit:GLOBAL size:GLOBAL limit:GLOBAL "
            "size:GLOBAL near:LOCAL near:LOCAL own:GLOBAL self:PARAM limit:PARAM size:GLOBAL "
            "size:LOCAL own:GLOBAL json:GLOBAL near:GLOBAL os:IMPORT limit:PARAM x:PARAM x:PARAM x:PARAM size:LOCAL",
            id="class-bodies-are-invisible-inside",
        ),
        pytest.param(
            """
            def f():
                global count
                os = 1
                def g():
                    nonlocal os
                    count, os
                    del os
                    def h(): return count, os
                [count := i for i in range(limit)]
            """,
            "f:GLOBAL count:GLOBAL os:LOCAL g:LOCAL os:LOCAL count:GLOBAL os:LOCAL os:LOCAL h:LOCAL count:GLOBAL "
            "os:LOCAL count:GLOBAL i:LOCAL i:LOCAL range:BUILTIN limit:GLOBAL",
            id="declarations-reach-inner-functions",
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


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters_have_a_scope_of_their_own() -> None:
    assert spans("def f[T: limit, *Ts, **P](x: T) -> P: return T, Ts") == (
        "f:GLOBAL T:LOCAL limit:GLOBAL Ts:LOCAL P:LOCAL x:PARAM T:LOCAL P:LOCAL T:LOCAL Ts:LOCAL"
    )
    source = """
    def f(x):
        class C[T](dict[T]):
            own = 1
            def g[S: own](self, y: own) -> S: return own, T
        type A[T] = list[T, x]
        return A, T
    """
    assert spans(source) == (
        "f:GLOBAL x:PARAM C:LOCAL T:LOCAL dict:BUILTIN T:LOCAL S:LOCAL self:PARAM y:PARAM S:LOCAL own:GLOBAL "
        "T:LOCAL A:LOCAL T:LOCAL list:BUILTIN T:LOCAL x:PARAM A:LOCAL T:GLOBAL"
    )


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
