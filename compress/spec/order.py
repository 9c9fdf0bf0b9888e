"""Rules for the order of steps."""

from typing import Any


def order_problems(steps: tuple[Any, ...]) -> list[str]:
    """Return the problems in the order of these steps, one sentence each: `steps.N: ...`."""
    problems = []
    quantized_at: int | None = None
    cast_at: int | None = None
    trimmed_at: int | None = None
    for index, step in enumerate(steps):
        if quantized_at is not None:
            reason = (
                "the model is quantized once; a second quantization would round rounded weights"
                if step.method == "quantize"
                else f"{step.method} needs floating-point weights"
            )
            problems.append(f"steps.{index}: {step.method} after quantize (steps.{quantized_at}): {reason}; reorder")
        elif cast_at is not None and step.method != "quantize":
            problems.append(
                f"steps.{index}: {step.method} after cast (steps.{cast_at}): it computes in fp32; put cast last"
            )
        if trimmed_at is not None and (why := _of_whole_vocabulary(step)):
            problems.append(f"steps.{index}: {why} after prune vocabulary (steps.{trimmed_at}); reorder")
        if getattr(step, "structure", "") == "vocabulary":
            trimmed_at = index
        if getattr(step, "quantization_aware", False) and not any(s.method == "quantize" for s in steps[index + 1 :]):
            problems.append(
                f"steps.{index}: quantization_aware, but no quantize step comes after it; add one, "
                "or remove quantization_aware"
            )
        if step.method == "quantize":
            quantized_at = index if quantized_at is None else quantized_at
        if step.method == "cast":
            cast_at = index if cast_at is None else cast_at
    return problems


def _of_whole_vocabulary(step: Any) -> str | None:
    """Return what in a step needs the model's whole vocabulary, or None."""
    if step.method == "prune" and step.structure == "vocabulary":
        return "another prune vocabulary"
    if step.method == "prune" and step.cost != "parameters":
        return f"prune cost {step.cost}, which is counted on the dense model's tokens,"
    if step.method == "distill" and step.model is not None:
        return "distill model, which has the whole vocabulary,"
    return None
