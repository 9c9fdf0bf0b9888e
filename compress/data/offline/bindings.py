"""Names of Python functions, typed by where they are bound, from the syntax tree.

    import os

    def join(parts):                    def join ( parts ) :              B-GLOBAL          B-PARAM
        path = os.path.join(*parts)     path = os . path . join           B-LOCAL  B-IMPORT I I I I
        return str(path)                ( * parts ) return str ( path )   B-PARAM  B-BUILTIN  B-LOCAL

PARAM    a parameter, also of an enclosing function or a lambda
LOCAL    any other name bound in a function: assignments, loops, comprehensions, nested functions and classes
GLOBAL   bound in the module, or declared global; also a name that nothing binds, which Python looks up there
IMPORT   bound by an import statement, in the module or a function
BUILTIN  bound by none of these, and a name of `builtins`

A dotted reference is one span, dots included: an entity has no gaps. O are attributes of other expressions, keyword
arguments, modules after `from`, modules that `as` renames, and names bound in a class body (they are attributes). If a
module has `from x import *`, a name that nothing else binds is IMPORT. If one scope binds a name twice, PARAM comes
before IMPORT, and IMPORT before the rest. Strings are single words, so names in f-strings have no tag.
"""

import ast
import io
import tokenize
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compress.data.offline.scopes import Scope, ScopeKind

KINDS = ("PARAM", "LOCAL", "GLOBAL", "IMPORT", "BUILTIN")
TAGS = ("O", *(f"{prefix}-{kind}" for kind in KINDS for prefix in "BI"))
STRING = '""'
"""Stands for every string: its text does not bind names."""
SPACE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
OPENING, CLOSING = ("FSTRING_START", "TSTRING_START"), ("FSTRING_END", "TSTRING_END")
"""Tokens around f-strings since Python 3.12; before, an f-string is one token."""
Place = tuple[int, int]
"""Line from 1, and byte from 0, as in the syntax tree."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """The words of a function, and a tag for each."""

    words: list[str]
    tags: list[str]


def functions(text: str) -> Iterator[Function]:
    """Yield the functions and methods of a module, nested ones inside theirs. Raises SyntaxError."""
    tree = ast.parse(text)
    words = _Words(text)
    names = _Names(words)
    names.visit(tree)
    found = names.kinds()
    kinds = [found.get(place) for place in words.places]
    for node in outermost(tree):
        first, after = words.range(node)
        if node.decorator_list:
            first = words.range(node.decorator_list[0])[0]
            while words.texts[first] != "@":  # an opening parenthesis may be between
                first -= 1
        own = words.texts[first:after]
        yield Function(own, tags(own, kinds[first:after]))


def tags(words: Sequence[str], kinds: Sequence[str | None]) -> list[str]:
    """Return the tags of words: each kind begins a span, which dots and the names after them continue."""
    found = ["O"] * len(words)
    for start, kind in enumerate(kinds):
        if kind is None:
            continue
        found[start] = f"B-{kind}"
        place = start + 1
        while words[place : place + 1] == ["."] and words[place + 1 : place + 2]:
            found[place : place + 2] = [f"I-{kind}"] * 2
            place += 2
    return found


def outermost(node: ast.AST) -> Iterator[Definition]:
    """Yield the functions and methods below a node that lie in no other function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield child
        else:
            yield from outermost(child)


class _Words:
    """The tokens of a module without space and comments, and where each begins."""

    def __init__(self, text: str) -> None:
        self.texts: list[str] = []
        self.places: list[Place] = []
        lines, depth = text.split("\n"), 0
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            name = tokenize.tok_name[token.type]
            depth -= name in CLOSING
            if depth == 0 and token.type not in SPACE and name not in CLOSING:
                row, column = token.start
                self.texts.append(STRING if name == "STRING" or name in OPENING else token.string)
                self.places.append((row, len(lines[row - 1][:column].encode())))
            depth += name in OPENING

    def at(self, place: Place) -> int:
        """Return the index of the first word at or after a place."""
        return bisect_left(self.places, place)

    def range(self, node: "ast.stmt | ast.expr | ast.pattern | ast.alias | ast.excepthandler") -> tuple[int, int]:
        """Return the index of the first word of a node, and that after its last word."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.at((node.lineno, node.col_offset)), self.at((node.end_lineno, node.end_col_offset))


class _Names(ast.NodeVisitor):
    """Collects scopes, bindings and references of a module; `kinds()` returns their kinds by place."""

    def __init__(self, words: _Words) -> None:
        self.words = words
        self.module = self.scope = Scope("module")
        self.references: dict[Place, tuple[str, Scope]] = {}
        self.hidden = False
        """Whether the visitor is in an f-string: that is one word, without a place for each name."""

    def kinds(self) -> dict[Place, str]:
        """Return the kinds of all references. Attributes of classes are left out."""
        found = {place: scope.lookup(name) for place, (name, scope) in self.references.items()}
        return {place: kind for place, kind in found.items() if kind is not None}

    def _refer(self, name: str, word: int) -> None:
        """Record a reference in the current scope at a word, which must be the name."""
        if not self.hidden and self.words.texts[word] == name:
            self.references[self.words.places[word]] = (name, self.scope)

    @contextmanager
    def _inside(self, kind: ScopeKind) -> Iterator[None]:
        outer, self.scope = self.scope, Scope(kind, self.scope)
        yield
        self.scope = outer

    def _visit_all(self, *nodes: object) -> None:
        for node in nodes:
            for each in node if isinstance(node, list) else [node]:
                if isinstance(each, ast.AST):
                    self.visit(each)

    # scopes

    def _define(self, node: Definition | ast.ClassDef) -> None:
        """Bind the name after def or class, and visit the decorators."""
        word = self.words.range(node)[0]
        while self.words.texts[word] not in ("def", "class"):
            word += 1  # after async
        self.scope.bind(node.name)
        self._refer(node.name, word + 1)
        self._visit_all(node.decorator_list)

    def _visit_function(self, node: Definition) -> None:
        self._define(node)
        with self._type_parameters(node):
            self._visit_all(node.returns)
            self._signature(node.args)
            with self._inside("function"):
                self._parameters(node.args)
                self._visit_all(node.body)

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._signature(node.args)
        with self._inside("function"):
            self._parameters(node.args)
            self.visit(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._define(node)
        with self._type_parameters(node):
            self._visit_all(node.bases, node.keywords)
            with self._inside("class"):
                self._visit_all(node.body)

    def visit_TypeAlias(self, node: Any) -> None:
        """Visit `type X[T] = value`, since Python 3.12."""
        self.visit(node.name)
        with self._type_parameters(node):
            self.visit(node.value)

    @contextmanager
    def _type_parameters(self, node: Any) -> Iterator[None]:
        """Visit `[T, *Ts, **P]` of a function, class or alias, since Python 3.12: they have a scope of their own."""
        parameters = getattr(node, "type_params", [])
        if not parameters:
            yield
            return
        with self._inside("types"):
            for each in parameters:
                self.scope.bind(each.name)
                self._refer(each.name, self.words.range(each)[0] + (type(each).__name__ != "TypeVar"))
                self._visit_all(getattr(each, "bound", None), getattr(each, "default_value", None))
            yield

    def _signature(self, args: ast.arguments) -> None:
        """Visit defaults and annotations, which belong to the scope around the function."""
        self._visit_all(args.defaults, args.kw_defaults, [each.annotation for each in _all(args)])

    def _parameters(self, args: ast.arguments) -> None:
        for each in _all(args):
            self.scope.bind(each.arg, "PARAM")
            self._refer(each.arg, self.words.at((each.lineno, each.col_offset)))

    def _visit_comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        """Visit a comprehension: a scope of its own, except for what its first loop iterates over."""
        first, *others = node.generators
        self.visit(first.iter)
        with self._inside("comprehension"):
            self._visit_all(first.target, first.ifs)
            self._visit_all(*others)
            self._visit_all(*((node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)))

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension

    def _visit_template(self, node: ast.AST) -> None:
        before, self.hidden = self.hidden, True
        self.generic_visit(node)
        self.hidden = before

    visit_JoinedStr = visit_TemplateStr = _visit_template

    # names

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.scope.bind(node.id)
        self._refer(node.id, self.words.at((node.lineno, node.col_offset)))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Visit `name := value`, which binds in the scope around comprehensions."""
        scope = self.scope
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        scope.bind(node.target.id)
        self._refer(node.target.id, self.words.range(node.target)[0])
        self.visit(node.value)

    def _visit_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.module.star = True
                continue
            first, after = self.words.range(alias)
            name = alias.asname or alias.name.split(".")[0]
            self.scope.bind(name, "IMPORT")
            self._refer(name, after - 1 if alias.asname else first)

    visit_Import = visit_ImportFrom = _visit_import

    def _visit_declaration(self, node: ast.Global | ast.Nonlocal) -> None:
        for name in node.names:
            self.scope.declared[name] = "global" if isinstance(node, ast.Global) else "nonlocal"
        for word in range(*self.words.range(node)):
            if self.words.texts[word] in node.names:
                self._refer(self.words.texts[word], word)

    visit_Global = visit_Nonlocal = _visit_declaration

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None and node.name is not None:
            self.scope.bind(node.name)
            self._refer(node.name, self.words.texts.index("as", self.words.range(node.type)[1]) + 1)
        self.generic_visit(node)

    def _visit_pattern(self, node: ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        """Visit `case x`, `case P as x`, `case [*x]` and `case {**x}`: the name is the last of the pattern."""
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if name is not None:
            self.scope.bind(name)
            first, after = self.words.range(node)
            self._refer(name, max(word for word in range(first, after) if self.words.texts[word] == name))
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _visit_pattern


def _all(args: ast.arguments) -> list[ast.arg]:
    single = [each for each in (args.vararg, args.kwarg) if each is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *single]
