"""Scopes of Python, and the kind of each name that they bind.

    import os                     module           os IMPORT, f and limit GLOBAL
    def f(a):                       function       a PARAM, b LOCAL
        b = [c for c in a]            comprehension  c LOCAL
        global limit
        limit = len(b)            len is bound nowhere: BUILTIN

Source: the Python reference, "Naming and binding" and "Annotation scopes".
"""

import builtins
from dataclasses import dataclass, field
from types import BuiltinFunctionType
from typing import Literal

ScopeKind = Literal["module", "class", "function", "comprehension", "types"]
"""`types` holds the type parameters of a function, a class or an alias, since Python 3.12."""

SITE = {"copyright", "credits", "exit", "help", "license", "quit"}
CONSTANTS = {"Ellipsis", "NotImplemented", "__debug__"}
BUILTINS = frozenset(
    {"open", *SITE, *CONSTANTS}
    | {
        name
        for name, value in vars(builtins).items()
        if isinstance(value, BuiltinFunctionType | type) and value.__module__ == "builtins"
    }
)
"""Names of `builtins` by Python's version alone: without a module's own (`__name__`), and without what a notebook or
gettext adds."""


@dataclass(eq=False)
class Scope:
    """A scope, and the kinds of the names that it binds. A name bound in a class body is an attribute: None."""

    kind: ScopeKind
    parent: "Scope | None" = None
    bound: dict[str, str | None] = field(default_factory=dict)
    declared: dict[str, Literal["global", "nonlocal"]] = field(default_factory=dict)
    star: bool = False
    """Whether a module has `from x import *`."""

    @property
    def module(self) -> "Scope":
        """The module's scope."""
        return self if self.parent is None else self.parent.module

    def bind(self, name: str, kind: Literal["PARAM", "IMPORT", "LOCAL"] = "LOCAL") -> None:
        """Bind a name here, or where it is declared. PARAM precedes IMPORT, and IMPORT the rest."""
        declared = self.declared.get(name)
        if declared == "nonlocal":
            return  # an enclosing function binds it
        owner = self.module if declared == "global" else self
        if owner.kind == "class":
            owner.bound[name] = None
        elif owner.bound.get(name) not in ("PARAM", "IMPORT"):
            owner.bound[name] = "GLOBAL" if owner.kind == "module" and kind == "LOCAL" else kind

    def lookup(self, name: str) -> str | None:
        """Return the kind of a name as read here, once all names are bound; None for attributes of classes."""
        scope: Scope | None = self
        sees_classes = True  # functions and comprehensions do not see the names of the classes around them
        while scope is not None:
            if sees_classes or scope.kind != "class":
                if scope.declared.get(name) == "global":
                    break
                if name in scope.bound:
                    return scope.bound[name]
            if name == "__class__" and scope.kind == "class":
                return None  # the class that every method can read
            sees_classes = sees_classes and scope.kind == "types"
            scope = scope.parent
        module = self.module
        unbound = "BUILTIN" if name in BUILTINS else "IMPORT" if module.star else "GLOBAL"
        return module.bound.get(name, unbound)
