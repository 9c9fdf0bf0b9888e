"""Names of the standard library have the kinds that Python's compiler gives them."""

import ast
import builtins
import dis
import io
import keyword
import re
import subprocess
import symtable
import sys
import tokenize
import types
from collections import Counter
from collections.abc import Iterator

import pytest
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from compress.data.offline import text as offline_text
from compress.data.offline.bindings import KINDS, TAGS, Function, functions
from tests.helpers import ROOT


def test_builtins_are_those_of_python_whatever_was_added_to_them() -> None:
    """As gettext adds `_`, and a notebook `display`."""
    script = (
        "import builtins, sys\n"
        "builtins._ = builtins.display = lambda: None\n"
        "from compress.data.offline.scopes import BUILTINS\n"
        "print(*sorted(BUILTINS))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = (name for name in dir(builtins) if not keyword.iskeyword(name))
    known = {name for name in listed if name not in vars(types.ModuleType("m")) and name != "_"}
    assert set(done.stdout.split()) == known


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
        nodes = outermost(ast.parse(text))
        found = {(node.name, node.lineno): function for node, function in zip(nodes, functions(text), strict=True)}
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


def test_kinds_agree_with_the_compilers_opcodes(sources: list[str]) -> None:
    """In every scope: LOAD_FAST and LOAD_DEREF read names of functions, LOAD_GLOBAL those of modules and builtins."""
    of_functions, of_modules = {"PARAM", "LOCAL", "IMPORT"}, {"GLOBAL", "IMPORT", "BUILTIN"}
    compared: Counter[tuple[str, str]] = Counter()
    for text in sources:
        compiled = opcodes(compile(text, "module", "exec"))
        for place, name, tag in tagged_names(text):
            for opcode in compiled.get((place, name), ()):
                is_global = "_GLOBAL" in opcode
                compared["global" if is_global else "function", tag] += 1
                assert tag.removeprefix("B-") in (of_modules if is_global else of_functions), (name, opcode, text)
    kinds = [("function", kind) for kind in of_functions] + [("global", kind) for kind in of_modules]
    assert min(compared[scope, f"B-{kind}"] for scope, kind in kinds) > 50


def opcodes(code: types.CodeType) -> dict[tuple[tuple[int, int], str], set[str]]:
    """Return ((line, byte), name) -> instructions that read, write or delete the name, of all code inside."""
    found: dict[tuple[tuple[int, int], str], set[str]] = {}
    for each in dis.get_instructions(code):
        if each.positions is None or not re.search("_(FAST|DEREF|GLOBAL)", each.opname):
            continue
        for name in each.argval if isinstance(each.argval, tuple) else (each.argval,):
            place = (each.positions.lineno or 0, each.positions.col_offset or 0)
            found.setdefault((place, str(name)), set()).add(each.opname)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            for key, names in opcodes(constant).items():
                found.setdefault(key, set()).update(names)
    return found


def tagged_names(text: str) -> Iterator[tuple[tuple[int, int], str, str]]:
    """Yield (place, name, tag) of names in functions, in the order of a module's names that are no attributes."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    named = {(node.lineno, node.col_offset): node.id for node in nodes}
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.NAME]
    for function, node in zip(functions(text), outermost(ast.parse(text)), strict=True):
        first, last = min(each.lineno for each in (node, *node.decorator_list)), node.end_lineno or 0
        own = [token for token in tokens if first <= token.start[0] <= last and token.line.isascii()]
        words = [(word, tag) for word, tag in zip(function.words, function.tags, strict=True) if word.isidentifier()]
        if [token.string for token in own] != [word for word, _ in words]:
            continue  # other letters, or names in f-strings since Python 3.12
        for token, (word, tag) in zip(own, words, strict=True):
            if named.get(token.start) == word and word != "__class__":
                yield token.start, word, tag


def outermost(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the outermost functions, in order of their nodes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from outermost(child)


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
    is_builtin = hasattr(builtins, name) and name not in vars(types.ModuleType("any"))  # a module has its own __name__
    return "BUILTIN" if is_builtin else "IMPORT" if star else "GLOBAL"


def globals_of(table: symtable.SymbolTable) -> list[symtable.Symbol]:
    """Return the symbols that bind a name of the module: its own, and those of `global` statements."""
    own = [
        symbol
        for symbol in table.get_symbols()
        if (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace())
        and (table.get_type() == "module" or symbol.is_declared_global())
    ]
    return own + [symbol for child in table.get_children() for symbol in globals_of(child)]
