"""The findings of an examination: printed lines, advice, and the profile for sessions."""

from dataclasses import dataclass, field

from compress.energy.profile import Profile


@dataclass
class Report:
    """The findings as printed lines, and the profile for sessions; None if the board cannot be used."""

    lines: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    profile: Profile | None = None

    def say(self, what: str, value: str, bad: str | None = None) -> None:
        """Append one line; `bad` marks it and is the advice."""
        self.lines.append(f"{'!' if bad else ' '} {what}: {value}")
        if bad:
            self.advice.append(bad)
