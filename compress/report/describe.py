"""One result as plain text for a terminal. Markup in names is printed as text."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from compress.analysis.judging import states_cost
from compress.analysis.limit import of_the_limit
from compress.analysis.loss import difference
from compress.analysis.same import same_words
from compress.analysis.soundness import unsound_reference
from compress.analysis.verdict import point_name
from compress.records import quantiles
from compress.records.natural import Natural
from compress.records.point import same_windows
from compress.records.result import Point, Result
from compress.records.stats import Estimate
from compress.report import text

if TYPE_CHECKING:
    from rich.console import Console

LATENCIES: Mapping[str | None, str] = {
    None: "latency",
    "prefill": "time to first token",
    "decode": "inter-token latency",
    "generate": "latency of a request",
}
"""Phase of a point -> what the latency of its batches is."""


def print_result(result: Result, console: "Console", recipes: int = 1) -> None:
    """Print everything in one result, the headline first. `recipes`: how many recipes its verdict is adjusted for."""
    for line in describe(result, recipes):
        # indented, so that a line break in a text cannot imitate a line of ours
        console.print(Text(line.replace("\n", "\n  ")), soft_wrap=True)


def describe(result: Result, recipes: int = 1) -> Iterable[str]:
    """Yield the lines that `compress show` prints."""
    yield f"{result.name} on {result.workload['name']} ({result.machine.device_name}), {result.created}"
    if result.limit is not None:
        yield f"LIMITED to {result.limit} test examples"
    reference = result.verdict_reference
    unsound = unsound_reference(reference.accuracy, reference.name) if reference is not None else None
    if unsound:
        yield f"WARNING: {unsound}"
    if result.error is not None:
        yield f"FAILED: {result.error}"
        return
    if result.verdict is not None:
        yield result.verdict.sentence
        if result.verdict.cause:
            yield f"  because: {result.verdict.cause}"
        if states_cost(result.verdict):
            yield f"  {text.adjustment(recipes)}"
    yield from _accuracy(result)
    if result.generation is not None:
        yield f"greedy text: {'; '.join(text.generation(result.generation))}"
    for point in result.points:
        headline = same_windows(point, result.points)
        yield from _point(point) if headline is None else _repeated(point, headline)
    if result.size is not None:
        size = result.size
        stored = text.joined(text.megabytes(size.stored_bytes))
        yield f"size: {size.parameters:,} parameters, {size.nonzero:,} not zero, {stored} stored"
        memory = [
            text.joined(text.megabytes(v)) if v is not None else f"unknown ({size.reason})"
            for v in (size.memory_bytes, size.peak_memory_bytes)
        ]
        yield f"  memory {memory[0]}, peak {memory[1]}"
    yield from steps(result)
    if result.kernel is not None:
        yield f"kernels: {result.kernel.label}" + (f" ({result.kernel.cause})" if result.kernel.cause else "")
        yield from (f"  {100 * op.share:5.1f} %  {op.name}" for op in result.kernel.evidence)
    if result.transform is not None:
        count = len(result.transform.steps)
        yield f"compressing took {result.transform.seconds:.1f} s in {count} step{'s' * (count != 1)}"
        for step in result.transform.steps:
            layers = f"{step.changed_layers} layer{'s' * (step.changed_layers != 1)}"
            yield f"  {step.method}: {layers} in {step.seconds:.1f} s"
            if step.shares is not None:
                yield f"    changed {text.plain(str(step.shares))}"
    if result.breakeven is not None:
        even = result.breakeven
        words = text.breakeven_words(even, text.example_of(result))
        yield f"break-even: {words}{'' if even.reason else f', at {even.point}'}"
    yield from (f"note: {note}" for note in (same_words(result), *result.notes) if note)
    yield f"raw samples: {', '.join(result.traces) or 'not kept'}; check figures with: python -m compress verify FILE"
    yield f"artifact: {result.artifact}; fingerprint {result.fingerprint}; compress {result.code_version}"


def steps(result: Result) -> Iterable[str]:
    """Yield the steps of the recipe with every set field, and its runtime and seed."""
    for index, step in enumerate(result.recipe.get("steps", ())):
        fields = ", ".join(f"{k}={v}" for k, v in step.items() if k != "method" and v not in (None, [], {}))
        yield text.plain(f"step {index}: {step.get('method')}" + (f" ({fields})" if fields else ""))
    if not result.recipe.get("steps"):
        yield "no steps: the dense model"
    attention = result.recipe.get("attention", "auto")
    settings = "" if attention == "auto" else f", attention {attention}"
    cache = result.recipe.get("kv_cache", "auto")
    settings += {"auto": "", "static": ", static cache"}.get(cache, f", cache in {cache}")
    settings += ", padding fixed" if result.recipe.get("padding") == "fixed" else ""
    yield f"runtime {result.runtime}{settings}, {text.seeds(result)}"


def _accuracy(result: Result) -> Iterable[str]:
    """Yield the metric, its difference to the reference, and related figures."""
    accuracy = result.accuracy
    if accuracy is None:
        return
    e, form = accuracy.estimate, f" ({accuracy.variant})" if accuracy.variant else ""
    interval = f"({e.low:.4f} to {e.high:.4f})" if e.bounded else "(no interval)"
    value_text = f"{e.value:.4f} {interval}" if accuracy.known else "unknown"
    yield f"{accuracy.metric}{form}: {value_text}, {e.n} examples"
    if difference(accuracy) is not None:
        cell = text.joined(text.difference(accuracy))
        better = "more" if accuracy.higher_is_better else "less"
        yield f"  against {accuracy.reference}: {cell}; {better} is better"
    if accuracy.seeds:
        deviation = "" if accuracy.seed_spread is None else f", standard deviation {accuracy.seed_spread:.4f}"
        yield f"  {text.trainings(result)}{deviation}"
        yield f"  the artifact and its figures are of seed {result.seed}; the intervals cover another training"
    for key in ("estimate", "interval", "delta_interval"):
        if key in accuracy.reasons:
            yield f"  {key.replace('_', ' ')}: {accuracy.reasons[key]}"
    for label, value in (
        (f"McNemar p{text.of_artifact(accuracy)}", accuracy.mcnemar_p),
        ("answers flipped", accuracy.flip_rate),
        ("bits per byte", accuracy.bits_per_byte),
        ("answers that differ between batch 1 and 32", accuracy.batch_sensitivity),
    ):
        if value is not None:
            yield f"  {label}: {value:.4f}"


def _point(point: Point) -> Iterable[str]:
    """Yield the latency, throughput, energy and ratios of one operating point."""
    latency, spread = point.latency_s, point.latency_percentiles_s
    yield f"{point_name(point)}{' (headline)' if point.headline else ''}:"
    percentiles = ", ".join(_percentile(point, name) for name in quantiles.FRACTIONS)
    yield (
        f"  {LATENCIES[point.phase]} {1e3 * latency.value:.2f} ms per batch ({1e3 * latency.low:.2f} to "
        f"{1e3 * latency.high:.2f}) over {point.extent}, {spread.n:,} batches; {percentiles}"
    )
    yield from (f"  NOT RELIABLE: {reason}" for reason in point.unreliable)
    if point.natural is not None:
        yield from _natural(point.natural)
    yield f"  throughput {_throughput(point)}"
    if (factor := point.real_time_factor) is not None:
        interval = f" ({factor.low:.3g} to {factor.high:.3g})" if factor.bounded else ""
        yield f"  real-time factor {factor.value:.3g}{interval}: seconds of computing per second of sound"
    if point.lengths:
        low, high = min(point.lengths), max(point.lengths)
        yield (
            f"  requests end after {point.tokens_per_request:.1f} tokens on average ({low} to {high}, "
            f"{len(point.lengths)} requests); ratios compare requests, whose lengths differ between models"
        )
    if point.cache_bytes is not None:
        yield f"  cache {point.cache_bytes / 1e6:.3g} MB with all new tokens"
    if (limited := of_the_limit(point)) is not None:
        yield f"  {limited}"
    if point.energy_j is None:
        yield f"  energy unknown: {point.energy_reason}"
    else:
        yield from _energy(point, point.energy_j)
    for ratio in point.ratios:
        for what, r in (("latency", ratio.latency), ("energy", ratio.energy), ("energy net of idle", ratio.net)):
            if r is not None:
                yield f"  {what} / {ratio.reference}: {r.value:.3f} ({r.low:.3f} to {r.high:.3f})"
        between = text.session_spread(point, ratio.reference)
        if between:
            yield f"    sessions differ by {between}"


def _repeated(point: Point, headline: Point) -> Iterable[str]:
    """Yield the costs of own texts whose windows are the headline's: all other figures are printed there."""
    why = f"the same windows, because all texts have {headline.sequence_length} tokens"
    yield f"{point_name(point)}: as {point_name(headline)} ({why})"
    if point.natural is not None:
        yield from _per_example(point.natural)


def _throughput(point: Point) -> str:
    """Return examples per second, and tokens per second of a language model."""
    per_second = point.throughput_per_s.value
    if point.phase == "prefill" and point.audio_s is None:
        return f"{per_second * (point.sequence_length or 0):.1f} prompt tokens per second"
    tokens = point.tokens_per_request or point.generated_tokens
    tokens_text = f"{per_second * tokens:.1f} generated tokens per second" if tokens else ""
    if point.phase == "decode" and tokens == 1:
        return tokens_text
    return f"{per_second:.1f} examples per second{', ' * bool(tokens)}{tokens_text}"


def _percentile(point: Point, name: str) -> str:
    """Return a percentile of the latency in milliseconds with its interval, or the reason why it is unknown."""
    e: Estimate | None = getattr(point.latency_percentiles_s, name)
    if e is None:
        return f"{name} unknown ({point.reasons.get(name, 'too few batches')})"
    return f"{name} {1e3 * e.value:.2f}" + (f" ({1e3 * e.low:.2f} to {1e3 * e.high:.2f})" if e.bounded else "")


def _natural(natural: Natural) -> Iterable[str]:
    """Yield the texts of a natural point, and its costs per example and per correct answer."""
    texts = natural.texts
    batches = f"{texts.batches} batch{'es' if texts.batches > 1 else ''}"
    yield f"  {batches} of the test split's own texts, {texts.tokens_per_example:.1f} tokens on average"
    yield from _per_example(natural)


def _per_example(natural: Natural) -> Iterable[str]:
    """Yield the costs per example and per correct answer."""
    costs = [("latency", text.latency(natural.latency_per_example_s), "per example")]
    if natural.latency_per_correct_s is not None:
        costs.append(("latency", text.latency(natural.latency_per_correct_s), "per correct answer"))
    if natural.energy_per_correct_j is not None:
        costs.append(("energy", text.energy(natural.energy_per_correct_j, None), "per correct answer"))
    yield from (f"  {what} {per}: {text.joined(cell)}" for what, cell, per in costs)


def _energy(point: Point, energy: Estimate) -> Iterable[str]:
    """Yield the energy of one operating point with its grade, boundary and idle part."""
    about, count = ("~", 2) if point.energy_source == "modelled" else ("", 4)
    value, interval = text.digits(1e3 * energy.value, count), text.spread(1e3 * energy.low, 1e3 * energy.high, count)
    yield f"  energy {about}{value} mJ per {point.example} {interval}, {point.energy_source}, grade {point.grade}"
    yield from (f"    grade {point.grade}: {reason}" for reason in point.grade_reasons)
    if point.energy_boundary:
        yield f"    it covers: {point.energy_boundary}"
    token = point.energy_per_token_j
    if token is not None and token.value != energy.value:
        value, interval = text.digits(1e3 * token.value, count), text.spread(1e3 * token.low, 1e3 * token.high, count)
        kind = "generated token" if point.generated_tokens else "prompt token" if point.phase == "prefill" else "token"
        yield f"    {about}{value} mJ per {kind} {interval}, without padding"
    if (second := point.energy_per_audio_s_j) is not None:
        value, interval = (
            text.digits(1e3 * second.value, count),
            text.spread(1e3 * second.low, 1e3 * second.high, count),
        )
        yield f"    {about}{value} mJ per second of sound {interval}"
    if point.energy_gain is not None:
        yield f"    plus the board's gain error of up to {100 * point.energy_gain:g} %, which cancels in ratios"
    if point.energy_idle_j is not None and point.energy_net_j is not None:
        net = point.energy_net_j
        idle, above = (text.digits(1e3 * v, count) for v in (point.energy_idle_j, net.value))
        interval = f" {text.spread(1e3 * net.low, 1e3 * net.high, count)}" if net.bounded else ""
        yield f"    of which {idle} mJ idle with the model loaded, {above} mJ above idle{interval}"
    if point.energy_reason:
        yield f"    {point.energy_reason}"
