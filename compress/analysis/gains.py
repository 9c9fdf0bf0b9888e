"""Gain errors of meters in a break-even: joules of compressing over joules saved per inference.

One meter for both: its gain cancels. Two meters of a kind: each reads 1 + g times the true joules, with its own g
within +-GAIN. Both bounds may be reached, so they combine as a worst case: the true quotient lies within a factor of
(1 + GAIN) / (1 - GAIN) of the measured one. The sum in quadrature, +-7 %, would cover 91 % of evenly distributed gains.
"""

from compress.analysis.joules import GAIN
from compress.records.phase import INFERENCE
from compress.records.result import Result, Transform
from compress.records.stats import Estimate

OWN_GAIN = ("nvml", "rapl")
"""Sources with one meter per board or machine, and the same boundary on others. External meters are calibrated."""
FACTOR = (1 + GAIN) / (1 - GAIN)
BOTH = f"the interval includes the gain error of both, {100 * GAIN:g} % each"


def inference_meter(result: Result, source: str | None) -> str | None:
    """Return the identity of the meter of inferences: the UUIDs of its GPUs, or the id of its machine for RAPL."""
    return {"nvml": result.machine.uuid, "rapl": result.machine.id}.get(source or "")


def two_meters(transform: Transform, meter: str | None, example: str = INFERENCE) -> str | None:
    """Return a sentence if two meters measured compressing and inferences, or may have; None if one measured both.

    `example` is the name of an inference at its point.
    """
    if transform.energy_source not in OWN_GAIN:
        return None
    if transform.energy_uuid is None or meter is None:
        return f"it is unknown whether one meter measured compressing and {example}s: {BOTH}"
    if _plain(transform.energy_uuid) != _plain(meter):
        return f"another meter of this kind measured compressing: {BOTH}"
    return None


def _plain(uuid: str) -> str:
    """Return UUIDs without the prefix of NVML, which CUDA omits."""
    return uuid.replace("GPU-", "").lower()


def widened(quotient: Estimate) -> Estimate:
    """Return a quotient of two meters' joules with an interval that includes the gain errors of both."""
    return Estimate(quotient.value, quotient.low / FACTOR, quotient.high * FACTOR, quotient.n)
