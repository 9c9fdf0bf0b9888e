"""Runners of a session by name, and what a failure makes of them."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from compress.base.console import say
from compress.base.errors import innermost
from compress.base.memory import ran_out
from compress.data.point import OperatingPoint
from compress.measure.job import Spec, failure
from compress.records import phase
from compress.records.natural import WORDS
from compress.records.session import Runner, RunnerPoint, Shape

Made = TypeVar("Made")


class OutOfMemory(RuntimeError):
    """A model that ran out of memory, and where."""


def within_memory(work: Callable[[], Made], place: str, remedy: str) -> Made:
    """Return what `work` returns. Raises OutOfMemory, with the place and a remedy, if memory runs out."""
    try:
        return work()
    except OutOfMemory:
        raise
    except Exception as error:  # the libraries' own errors share no base class
        if not ran_out(error):
            raise
        raise OutOfMemory(f"at {place}: {innermost(error)}; {remedy}") from error


def unmeasured(spec: Spec) -> Runner:
    """Return a runner without any figures."""
    return Runner(spec.name, {}, True, 0, "", None, (), further_of=spec.further_of, seed=spec.seed)


def with_point(runner: Runner, point: RunnerPoint) -> Runner:
    """Return the runner with one more point."""
    return replace(runner, points=(*runner.points, point))


def shape(point: OperatingPoint) -> Shape:
    """Return the shape that a trace records of a point."""
    return Shape(
        point.batch_size,
        point.sequence_length,
        natural=point.natural,
        phase=point.phase,
        new_tokens=point.new_tokens,
        stop=point.stop,
        audio_s=point.audio_s,
    )


def in_words(point: OperatingPoint) -> str:
    """Return a point as text for progress."""
    if point.phase is not None:
        return phase.in_words(
            point.phase, point.batch_size, point.sequence_length, point.new_tokens, point.stop, point.audio_s
        )
    label = f"batch {point.batch_size}" + (f" x {point.sequence_length} tokens" if point.sequence_length else "")
    label += f" x {phase.seconds(point.audio_s)}" if point.audio_s else ""
    return label + (f", {WORDS[point.natural]}" if point.natural else "")


def attempt(runners: dict[str, Runner], spec: Spec, work: Callable[[], Any]) -> Any:
    """Return what `work` returns; a failure becomes this runner's error, and the other runners go on."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  the failure of one recipe is a result with `error`
        reason = failure(error)
        runners[spec.name] = replace(runners[spec.name], error=reason)
        say(f"  {spec.name} failed: {reason}")
        if not isinstance(error, ValueError | OutOfMemory):
            say(traceback.format_exc())
        return None
