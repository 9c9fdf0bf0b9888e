"""Results of one session on a simulated board, with its raw samples on disk: what a real run with a meter leaves."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.analysis import costs, figures
from compress.analysis.judging import judged
from compress.records import trace
from compress.records.result import Layer, Result
from compress.records.session import Example
from tests import factory
from tests.simulated import Load, session, with_outcomes

LABELS = ("negative", "positive")
EXAMPLES = 120
HOSTILE = "<script>document.title='run'</script><b>%{x}"
LOADS: Mapping[str, Load] = {
    factory.FP32: Load(300.0, 0.020, noise=0.004),
    "bert_int8": Load(210.0, 0.010, noise=0.004),
    "bert_prune": Load(290.0, 0.018, noise=0.004),
    HOSTILE: Load(320.0, 0.021, noise=0.004),
}
LAYERS = (
    Layer("bert.encoder.layer.0.output.dense", "int8", 8, stored_bytes=590_000),
    Layer("bert.encoder.layer.1.output.dense", "int4", 4, stored_bytes=310_000),
    Layer("bert.encoder.layer.2.output.dense", rank=115, shape=(384, 1536), stored_bytes=880_000),
    Layer("bert.encoder.layer.3.output.dense", sparsity=0.5, shape=(384, 1536), stored_bytes=2_360_000),
)


def measured_results(patch: Any, root: Path, name: str = "20260101T000000-abcdef") -> list[Result]:
    """A result for every load but the first, which is their reference; their trace lies below `root`."""
    outcomes = {name: _answers(every) for name, every in zip(LOADS, (0, 30, 12, 9), strict=True)}
    samples = replace(
        with_outcomes(session(patch, LOADS, rounds=6, window_s=5.0), outcomes),
        labels=LABELS,
        examples=tuple(Example(n, f"text {n} {HOSTILE}") for n in range(EXAMPLES) if n % 3 == 0),
    )
    raw = costs.from_trace(samples)
    place = Path("stdlib-bert") / trace.FOLDER / name
    trace.write(root / place, samples)
    reference = replace(
        factory.reference(energy_source="nvml"),
        points=figures.points(raw, factory.FP32),
        accuracy=figures.accuracy(raw, factory.FP32),
    )
    made = []
    for each in list(LOADS)[1:]:
        plain = factory.result(each, energy_source="nvml", session=name, references=(reference,))
        points = figures.points(raw, each)
        transform = replace(plain.transform, energy_boundary=points[0].energy_boundary) if plain.transform else None
        result = replace(
            plain, points=points, accuracy=figures.accuracy(raw, each), transform=transform, trace=str(place)
        )
        made.append(judged(replace(result, layers=LAYERS)))
    return made


def _answers(every: int) -> dict[str, list[float]]:
    """Outcomes that differ from the reference's at each so many examples."""
    gold = [float(n % 2) for n in range(EXAMPLES)]
    right = [1 - g if n % 10 == 0 else g for n, g in enumerate(gold)]
    flipped = [1 - v if every and n % every == 3 else v for n, v in enumerate(right)]
    return {"prediction": flipped, "reference": gold}
