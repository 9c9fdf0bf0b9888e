"""Makes Results for tests: any recipe, reference, machine or meter, with every figure given by value."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.analysis.judging import judged
from compress.records.natural import Natural, Texts
from compress.records.result import (
    SCHEMA,
    Accuracy,
    Kernel,
    Machine,
    Operator,
    Percentiles,
    Point,
    Ratio,
    Reference,
    Result,
    Round,
    Size,
    StepCost,
    Transform,
)
from compress.records.stats import Estimate

FP32 = "fp32 eager"
BF16 = "bf16 eager"
ONNX = "fp32 onnxruntime"


def near(value: float, spread: float = 0.02, n: int = 5) -> Estimate:
    """`value` with an interval of plus and minus `spread` times itself."""
    half = abs(value) * spread
    return Estimate(value, value - half, value + half, n)


def accuracy(
    value: float = 0.89, delta: float | None = 0.0, half: float = 0.01, metric: str = "accuracy", **fields: Any
) -> Accuracy:
    """An accuracy over 872 examples, `delta` from the reference within plus and minus `half`."""
    return Accuracy(
        metric=metric,
        estimate=Estimate(value, value - 0.02, value + 0.02, 872),
        higher_is_better=fields.pop("higher_is_better", metric != "perplexity"),
        chance=fields.pop("chance", None if metric == "perplexity" else 0.51),
        finite=fields.pop("finite", True),
        reference=fields.pop("reference", FP32),
        delta=None if delta is None else Estimate(delta, delta - half, delta + half, 872),
        **fields,
    )


def ratio(reference: str = FP32, latency: float = 1.0, energy: float | None = None, spread: float = 0.02) -> Ratio:
    """Paired ratios, each with an interval of plus and minus `spread`."""
    least = None if energy is None else 0.03
    return Ratio(reference, near(latency, spread), None if energy is None else near(energy, spread), 0.03, least)


BUSY = (0.98, 0.99, 1.0, 1.01, 1.02)
"""How much slower everything is in each round."""


def point(*ratios: Ratio, latency_s: float = 0.05, energy_j: float | None = None, **fields: Any) -> Point:
    """The headline point, batch 8 x length 64; modelled energy unless `energy_source` says otherwise."""
    source, batch_size = fields.pop("energy_source", "modelled"), fields.pop("batch_size", 8)
    joules = energy_j if energy_j is not None else latency_s * 2.5
    return Point(
        batch_size=batch_size,
        sequence_length=fields.pop("sequence_length", 64),
        phase=None,
        headline=fields.pop("headline", True),
        latency_s=near(latency_s),
        latency_percentiles_s=Percentiles(near(latency_s), near(1.1 * latency_s), None, 120),
        throughput_per_s=near(8 / latency_s),
        energy_j=near(joules) if source else None,
        energy_idle_j=None,
        energy_net_j=None,
        energy_source=source,
        energy_reason=None if source else "no meter on this machine",
        grade="E" if source == "modelled" else "B",
        grade_reasons=(),
        ratios=ratios,
        verdict=None,
        rounds=tuple(
            Round(
                i,
                0,
                10.0 * i,
                30 * latency_s * busy,
                30,
                0.001,
                30 * batch_size * joules * busy if source else None,
                3.0,
            )
            for i, busy in enumerate(BUSY)
        ),
        **fields,
    )


def natural(point: Point, latency: float = 0.7, energy: float | None = None, answer_j: float | None = None) -> Point:
    """A natural point beside a packed one: 4 ms an example, and these ratios to fp32 eager."""
    own = Natural(
        "as_they_come", Texts(8, 25.2), near(0.004), near(0.0045), None if answer_j is None else near(answer_j)
    )
    made = ratio(latency=latency, energy=energy)
    return replace(
        point, headline=False, sequence_length=None, latency_s=near(0.032), natural=own, ratios=(made,), verdict=None
    )


def kernel(label: Any = "real") -> Kernel:
    return Kernel(label, (Operator("aten::addmm", 0.8),))


def reference(name: str = FP32, verdict: bool = True, cost: float = 1.0, **fields: Any) -> Reference:
    """A reference whose latency is `cost` times 50 ms; the verdict's is exactly 1 against itself."""
    source = fields.pop("energy_source", "modelled")
    to = fields.pop("to", FP32)
    ratios = () if verdict else (ratio(to, cost, cost if source in ("nvml", "rapl") else None),)
    return Reference(
        name=name,
        verdict_reference=verdict,
        accuracy=fields.pop("accuracy", accuracy()),
        points=(point(*ratios, latency_s=0.05 * cost, energy_source=source),),
        size=Size(22_700_000, 22_700_000, 90_800_000, 180_000_000, 220_000_000),
        kernel=kernel(),
    )


def stored(folder: Path) -> dict[str, str]:
    """Make the folder of an artifact, with a manifest alone; return the fields of a result that name it."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"kind": "transformers"}')
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return {"artifact": str(folder), "artifact_sha256": digest}


def machine(id: str = "m1", device: str = "cpu") -> Machine:
    return Machine(id, device, "Example CPU, 2 cores", None, {"cores": 2}, {"torch": "2.13.0"})


def result(name: str = "bert_int8", cost: float = 0.5, delta: float | None = 0.0, **fields: Any) -> Result:
    """A judged result: `cost` times the latency (and measured energy) of fp32 eager, `delta` from its accuracy."""
    source = fields.pop("energy_source", "modelled")
    energy = cost if source in ("nvml", "rapl") else None
    spread, half = fields.pop("spread", 0.02), fields.pop("half", 0.01)
    extra = fields.pop("ratios", ())
    stored = fields.pop("stored_bytes", 23_000_000)
    made = Result(
        schema=SCHEMA,
        name=name,
        fingerprint="0123456789abcdef",
        created=fields.pop("created", "2025-05-05T10:00:00+00:00"),
        code_version="0.1.0",
        seed=0,
        recipe={"name": name, "steps": [{"method": "quantize", "bits": 8}]},
        workload=fields.pop("workload", {"name": "stdlib-bert", "model": "offline:stdlib-bert"}),
        machine=fields.pop("machine", machine()),
        session=fields.pop("session", "s1"),
        runtime=fields.pop("runtime", "eager"),
        limit=fields.pop("limit", None),
        accuracy=fields.pop("accuracy", None) or accuracy(0.89 + (delta or 0.0), delta, half),
        points=(point(ratio(FP32, cost, energy, spread), *extra, latency_s=0.05 * cost, energy_source=source),),
        size=Size(22_700_000, 22_000_000, stored, 60_000_000, 90_000_000),
        kernel=fields.pop("kernel", kernel()),
        transform=Transform(12.0, 300.0 if energy else None, source, None, 0, (StepCost("quantize", 12.0, None, 36),)),
        references=fields.pop("references", (reference(energy_source=source),)),
    )
    return judged(replace(made, **fields))


def failed(name: str = "bert_int4", error: str = "steps.0: no kernel for this shape", **fields: Any) -> Result:
    """A recipe that failed: no figures, only the reason."""
    whole = result(name, **fields)
    return replace(
        whole, error=error, accuracy=None, points=(), size=None, kernel=None, transform=None, breakeven=None,
        verdict=None, references=(),
    )  # fmt: skip


def family(**fields: Any) -> list[Result]:
    """Nine recipes such as a first run leaves: savers, a tie, a loser, a broken one and a failed one."""
    references = (
        reference(energy_source=fields.get("energy_source", "modelled")),
        reference(BF16, False, 0.58, accuracy=accuracy(0.892, 0.001, 0.002)),
        reference(ONNX, False, 0.83, accuracy=accuracy(0.891, 0.0, 0.0)),
    )
    common: dict[str, Any] = {"references": references, **fields}
    onnx: dict[str, Any] = {**common, "runtime": "onnxruntime", "ratios": (ratio(ONNX, 0.48),)}
    return [
        result("bert_dense", 1.002, 0.0, half=0.0, stored_bytes=90_800_000, **common),
        result("bert_bf16", 0.581, 0.001, half=0.002, stored_bytes=45_400_000, **common),
        result("bert_int8", 0.40, 0.003, half=0.008, stored_bytes=23_100_000, **onnx),
        result("bert_int4", 1.31, -0.004, half=0.008, stored_bytes=14_100_000, kernel=kernel("dequantized"), **common),
        result("bert_prune", 0.91, -0.006, half=0.012, stored_bytes=76_000_000, **common),
        result("bert_sparse", 1.06, -0.014, half=0.012, stored_bytes=90_800_000, kernel=kernel("masked"), **common),
        result("bert_lowrank", 0.92, -0.026, half=0.013, stored_bytes=73_000_000, **common),
        result("bert_distill", 0.52, -0.35, half=0.02, stored_bytes=50_000_000, **common),
        result("bert_prune_distill_int8", 0.31, -0.02, half=0.011, stored_bytes=15_100_000, **onnx),
    ]
