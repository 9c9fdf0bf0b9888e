"""Comparison of two recipes of one session by paired differences of accuracy, latency and energy."""

from dataclasses import dataclass, replace
from pathlib import Path

from compress.analysis import costs, figures
from compress.analysis.judging import unreliable
from compress.analysis.verdict import verdict
from compress.base.config import InputError
from compress.base.places import inside
from compress.records import trace
from compress.records.result import Accuracy, Point, Result, Verdict


@dataclass(frozen=True)
class Comparison:
    """Comparison of a recipe with a second one at their headline point."""

    results: tuple[Result, Result]
    point: Point
    accuracy: Accuracy
    verdict: Verdict

    def lines(self) -> list[str]:
        """Return sentences for people.

        They give the verdict, both ratios with intervals, the least detectable differences, accuracy and grade.
        """
        one, two = self.results
        (ratio,) = self.point.ratios
        limited = [] if one.limit is None else [f"LIMITED: judged on {one.limit} test examples only"]
        lines = [*limited, f"{one.name} against {two.name}: {self.verdict.sentence}"]
        if self.verdict.cause:
            lines.append(f"why: {self.verdict.cause}")
        for name, estimate in (("latency", ratio.latency), ("energy", ratio.energy)):
            if estimate is not None:
                interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
                lines.append(f"{name}: {estimate.value:.3f} times ({interval}), {self.point.extent}")
            else:
                lines.append(f"{name}: not compared: {self.point.energy_reason or 'not measured'}")
        if ratio.net is not None:
            interval = f"{ratio.net.low:.3f} to {ratio.net.high:.3f}"
            lines.append(f"energy net of idle: {ratio.net.value:.3f} times ({interval})")
        for axis, least in (("latency", ratio.min_detectable), ("energy", ratio.min_detectable_energy)):
            if least is not None:
                lines.append(f"smallest detectable difference of {axis}: {100 * least:.1f} %")
        if self.accuracy.mcnemar_p is not None and self.accuracy.flip_rate is not None:
            several = bool(self.accuracy.seeds) or (two.accuracy is not None and bool(two.accuracy.seeds))
            of_artifacts = " of the models of the first seeds" if several else ""
            lines.append(
                f"answers{of_artifacts}: {100 * self.accuracy.flip_rate:.1f} % differ, exact McNemar p "
                f"{self.accuracy.mcnemar_p:.2g}"
            )
        grade = ratio.grade or self.point.grade
        if grade is not None:
            reasons = dict.fromkeys((*self.point.grade_reasons, *ratio.grade_reasons))
            lines.append(f"energy of grade {grade}: {'; '.join(reasons) or 'nothing flagged'}")
        return lines


def compared(one: Result, two: Result, root: Path) -> Comparison:
    """Compare two results that were measured together, from their raw samples.

    `root` is the folder of the results. Raises InputError if they were measured in different sessions.
    """
    if not one.traces or one.traces != two.traces:
        raise InputError(f"{one.name} and {two.name} were not measured in one session; run them together")
    first, *further = (trace.read(inside(root, stated, f"{one.name}: its trace")) for stated in one.traces)
    raw = replace(costs.from_trace(first, further), references=(two.name,), against=two.name)
    point = figures.points(raw, one.name)[0]
    accuracy, reference = figures.accuracy(raw, one.name), figures.accuracy(raw, two.name)
    judgement = verdict(
        accuracy,
        reference,
        point.ratios[0],
        energy_source=point.energy_source,
        kernel=one.kernel,
        unreliable=unreliable(point, two.name, figures.points(raw, two.name)[:1]),
        margin=one.margin,
    )
    return Comparison((one, two), point, accuracy, judgement)
