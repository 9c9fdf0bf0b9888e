"""Compare two recipes from one session: paired differences of accuracy, latency and energy."""

from dataclasses import dataclass, replace
from pathlib import Path

from compress.analysis import figures
from compress.analysis.verdict import verdict
from compress.base.config import InputError
from compress.base.places import inside
from compress.records import trace
from compress.records.result import Accuracy, Point, Result, Verdict


@dataclass(frozen=True)
class Comparison:
    """The first recipe judged against the second at their headline point."""

    results: tuple[Result, Result]
    point: Point
    accuracy: Accuracy
    verdict: Verdict

    def lines(self) -> list[str]:
        """What a person reads: the verdict, both ratios with their intervals, what could have been found, accuracy."""
        one, two = self.results
        (ratio,) = self.point.ratios
        limited = [] if one.limit is None else [f"LIMITED: judged on {one.limit} test examples only"]
        said = [*limited, f"{one.name} against {two.name}: {self.verdict.sentence}"]
        if self.verdict.cause:
            said.append(f"why: {self.verdict.cause}")
        for name, estimate in (("latency", ratio.latency), ("energy", ratio.energy)):
            if estimate is not None:
                interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
                said.append(f"{name}: {estimate.value:.3f} times ({interval}), {estimate.n} rounds")
            else:
                said.append(f"{name}: not compared: {self.point.energy_reason or 'not measured'}")
        for axis, least in (("latency", ratio.min_detectable), ("energy", ratio.min_detectable_energy)):
            if least is not None:
                said.append(f"these rounds find a difference of {axis} of {100 * least:.1f} % or more")
        if self.accuracy.mcnemar_p is not None and self.accuracy.flip_rate is not None:
            said.append(
                f"answers: {100 * self.accuracy.flip_rate:.1f} % differ, exact McNemar p {self.accuracy.mcnemar_p:.2g}"
            )
        grade = ratio.grade or self.point.grade
        if grade is not None:
            why = dict.fromkeys((*self.point.grade_reasons, *ratio.grade_reasons))
            said.append(f"energy of grade {grade}: {'; '.join(why) or 'nothing flagged'}")
        return said


def compared(one: Result, two: Result, root: Path) -> Comparison:
    """The comparison that the raw samples of their common session give."""
    if one.trace is None or one.trace != two.trace:
        raise InputError(f"{one.name} and {two.name} were not measured in one session; run them together")
    raw = replace(
        figures.from_trace(trace.read(inside(root, one.trace, f"{one.name}: its trace"))),
        references=(two.name,),
        against=two.name,
    )
    point = figures.points(raw, one.name)[0]
    accuracy, theirs = figures.accuracy(raw, one.name), figures.accuracy(raw, two.name)
    said = verdict(accuracy, theirs, point.ratios[0], energy_source=point.energy_source, kernel=one.kernel)
    return Comparison((one, two), point, accuracy, said)
