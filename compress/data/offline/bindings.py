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
import builtins
import io
import tokenize
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

KINDS = ("PARAM", "LOCAL", "GLOBAL", "IMPORT", "BUILTIN")
TAGS = ("O", *(f"{prefix}-{kind}" for kind in KINDS for prefix in "BI"))
STRING = '""'
"""Stands for every string: its text does not bind names."""
BUILTINS = frozenset(dir(builtins))
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
    for node in _outermost(tree):
        first, after = words.range(node)
        while node.decorator_list and words.texts[first] != "@":
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


def _outermost(node: ast.AST) -> Iterator[Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield child
        else:
            yield from _outermost(child)


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


@dataclass
class _Scope:
    """A scope, and the kinds of the names that it binds."""

    kind: Literal["module", "class", "function", "comprehension"]
    parent: "_Scope | None" = None
    bound: dict[str, str | None] = field(default_factory=dict)
    declared: dict[str, "_Scope | None"] = field(default_factory=dict)
    """Names of `global` statements with the module's scope, those of `nonlocal` with None."""


class _Names(ast.NodeVisitor):
    """Collects scopes, bindings and references of a module; `kinds()` returns their kinds by place."""

    def __init__(self, words: _Words) -> None:
        self.words = words
        self.module = self.scope = _Scope("module")
        self.references: dict[Place, tuple[str, _Scope]] = {}
        self.star = False
        self.hidden = False
        """Whether the visitor is in an f-string, where places are wrong before Python 3.12."""

    def kinds(self) -> dict[Place, str]:
        """Return the kinds of all references. Names bound in a class body are left out."""
        found = {place: self._lookup(*reference) for place, reference in self.references.items()}
        return {place: kind for place, kind in found.items() if kind is not None}

    def _lookup(self, name: str, scope: _Scope) -> str | None:
        """Return the kind of a name as read in a scope: class bodies are invisible to the functions inside them."""
        within: _Scope | None = scope
        while within is not None:
            declared = within.declared.get(name, within)
            if declared is self.module:
                break
            if declared is within and name in within.bound and (within is scope or within.kind != "class"):
                return within.bound[name]
            if name == "__class__" and within.kind == "class":
                return None  # the class that every method can read
            within = within.parent
        other = "BUILTIN" if name in BUILTINS else "IMPORT" if self.star else "GLOBAL"
        return self.module.bound.get(name, other)

    def _bind(self, name: str, kind: str, scope: _Scope | None = None) -> None:
        """Bind a name in a scope, the current one unless given. PARAM precedes IMPORT, and IMPORT the rest."""
        scope = scope or self.scope
        owner = scope.declared.get(name, scope)
        if owner is None:
            return  # nonlocal: bound elsewhere
        own: str | None = {"module": "GLOBAL", "class": None}.get(owner.kind, "LOCAL") if kind == "LOCAL" else kind
        if owner.bound.get(name) not in ("PARAM", "IMPORT"):
            owner.bound[name] = own

    def _refer(self, name: str, word: int) -> None:
        """Record a reference in the current scope at a word, which must be the name."""
        if not self.hidden and self.words.texts[word] == name:
            self.references[self.words.places[word]] = (name, self.scope)

    @contextmanager
    def _inside(self, kind: Literal["class", "function", "comprehension"]) -> Iterator[None]:
        self.scope = _Scope(kind, self.scope)
        yield
        assert self.scope.parent is not None
        self.scope = self.scope.parent

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
        self._bind(node.name, "LOCAL")
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

    @contextmanager
    def _type_parameters(self, node: Definition | ast.ClassDef) -> Iterator[None]:
        """Visit def f[T, *Ts, **P], since Python 3.12: they have a scope of their own."""
        parameters = getattr(node, "type_params", [])
        if not parameters:
            yield
            return
        with self._inside("function"):
            for each in parameters:
                self._bind(each.name, "LOCAL")
                self._refer(each.name, self.words.range(each)[0] + (type(each).__name__ != "TypeVar"))
                self._visit_all(getattr(each, "bound", None))
            yield

    def _signature(self, args: ast.arguments) -> None:
        """Visit defaults and annotations, which belong to the scope around the function."""
        self._visit_all(args.defaults, args.kw_defaults, [each.annotation for each in _all(args)])

    def _parameters(self, args: ast.arguments) -> None:
        for each in _all(args):
            self._bind(each.arg, "PARAM")
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
            self._bind(node.id, "LOCAL")
        self._refer(node.id, self.words.at((node.lineno, node.col_offset)))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Visit `name := value`, which binds in the scope around comprehensions."""
        scope = self.scope
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        self._bind(node.target.id, "LOCAL", scope)
        self._refer(node.target.id, self.words.range(node.target)[0])
        self.visit(node.value)

    def _visit_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.star = True
                continue
            first, after = self.words.range(alias)
            name = alias.asname or alias.name.split(".")[0]
            self._bind(name, "IMPORT")
            self._refer(name, after - 1 if alias.asname else first)

    visit_Import = visit_ImportFrom = _visit_import

    def _visit_declaration(self, node: ast.Global | ast.Nonlocal) -> None:
        owner = self.module if isinstance(node, ast.Global) else None
        self.scope.declared.update(dict.fromkeys(node.names, owner))
        for word in range(*self.words.range(node)):
            if self.words.texts[word] in node.names:
                self._refer(self.words.texts[word], word)

    visit_Global = visit_Nonlocal = _visit_declaration

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None and node.name is not None:
            self._bind(node.name, "LOCAL")
            self._refer(node.name, self.words.texts.index("as", self.words.range(node.type)[1]) + 1)
        self.generic_visit(node)

    def _visit_pattern(self, node: ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        """Visit `case x`, `case P as x`, `case [*x]` and `case {**x}`: the name is the last of the pattern."""
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if name is not None:
            self._bind(name, "LOCAL")
            first, after = self.words.range(node)
            self._refer(name, max(word for word in range(first, after) if self.words.texts[word] == name))
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _visit_pattern


def _all(args: ast.arguments) -> list[ast.arg]:
    single = [each for each in (args.vararg, args.kwarg) if each is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *single]
