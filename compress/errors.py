"""The one error for bad input. On its own, so that `--help` need not import what checks input."""

from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, met before anything was loaded or written: one sentence per problem."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
