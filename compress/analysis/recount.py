"""A second, plain implementation of the figures of rounds, which `verify` compares with a result file as well.

It shares the types of a trace with the first implementation, and no arithmetic. The first one has the sources. It alone
computes accuracy, integrated power, detectable differences, grades, sentences, cost of compressing and break-even.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate, combinations, pairwise
from operator import truediv
from statistics import fmean, median, variance
from typing import Any

from compress.records.sample import Sample
from compress.records.session import IdleTime, MeterFacts, RunnerPoint, Session
from compress.records.window import Window

Figures = dict[str, Any]
AXES = (("latency", "batch_s", ""), ("energy", "example_j", "_energy"))  # name, costs, end of names in a ratio


def points(sessions: Sequence[Session], names: Iterable[str]) -> list[list[Figures]]:
    """Return the points of these runners, which were measured in these sessions."""
    sittings = [Sitting(session, getattr(sessions[0].judged_by, "references", ())) for session in sessions]
    most = range(max((1 + index for sitting in sittings for _, index in sitting.costs), default=0))
    return [[point for index in most if (point := _point(sittings, name, index))] for name in names]


class Costs:
    """Costs of one runner at one point of a session, a value per round."""

    def __init__(self, session: Session, point: RunnerPoint) -> None:
        self.windows, self.batch_size = point.windows, point.point.batch_size
        self.numbers = [window.index for window in point.windows]
        self.window_j = [_joules(session.meter, session.samples, window) for window in point.windows]
        self.batch_s = [(w.ended_ns - w.started_ns) / 1e9 / len(w.batch_ns) for w in point.windows]
        counts = [len(w.batch_ns) * self.batch_size for w in point.windows]
        known = [joules / count for joules, count in zip(self.window_j, counts, strict=True) if joules is not None]
        self.example_j = known if len(known) == len(counts) else []

    def net_j(self, idle_w: float) -> list[float]:
        return [j - idle_w * s / self.batch_size for j, s in zip(self.example_j, self.batch_s, strict=True)]


class Sitting:
    """One session with the costs of all its runners."""

    def __init__(self, session: Session, references: Sequence[str]) -> None:
        self.meter, idle = session.meter, session.idle.loaded
        points = [(r.name, index, point) for r in session.runners for index, point in enumerate(r.points)]
        self.costs = {(name, index): Costs(session, point) for name, index, point in points if point.windows}
        self.references, self.idle_w = references, None
        if idle is not None and None not in (idle.start_uj, idle.end_uj):
            joules = _joules(session.meter, idle.samples, idle)
            self.idle_w = None if joules is None else joules * 1e9 / (idle.ended_ns - idle.started_ns)

    def correlation(self, name: str, index: int, of: str, paired: bool) -> Figures | None:
        """Return the pooled lag-1 correlation of the runners that had the same rounds, and its upper bound."""
        numbers = self.costs[name, index].numbers
        alike = [getattr(c, of) for (_, at), c in self.costs.items() if at == index and c.numbers == numbers]
        logs = [[math.log(value) for value in costs] for costs in alike if costs]
        n, series = len(numbers), len(logs) - 1 if paired else 1
        if n < 6 or not logs or series < 1:
            return None
        pairs = [[a - b for a, b in zip(*pair, strict=True)] for pair in combinations(logs, 2)] if paired else logs
        value = min(0.95, max(-0.95, (n * fmean(map(_lag_1, pairs)) + 1) / (n - 4)))
        error = 1 / math.sqrt(n * series)
        upper = value + error * (2 * value if series > 1 else 1)
        return {"value": value, "error": error * n / (n - 4), "upper": min(0.8, max(0.0, upper)), "series": series}

    def point(self, name: str, index: int) -> Figures:
        """Return the estimates and ratios of a point in this session."""
        own, watts = self.costs[name, index], self.idle_w
        alone, metered = self.correlation(name, index, "example_j", False), self.meter.measured and own.example_j
        latency, size = _mean(own.batch_s, self.correlation(name, index, "batch_s", False)), own.batch_size
        made: Figures = {"latency_s": latency, "energy_j": _mean(own.example_j, alone) if own.example_j else None}
        made["throughput_per_s"] = latency | {"value": size / latency["value"], "low": size / latency["high"]}
        made["throughput_per_s"]["high"] = size / latency["low"] if latency["low"] else math.inf
        made["energy_idle_j"] = None if watts is None else watts * latency["value"] / size
        made["energy_net_j"] = None if watts is None or not metered else _mean(own.net_j(watts), alone, logs=False)
        known = {other: self.costs[other, index] for other in self.references if (other, index) in self.costs}
        made["ratios"] = [{"reference": other} | self.ratio(name, index, own, known[other]) for other in known]
        return made

    def ratio(self, name: str, index: int, own: Costs, other: Costs) -> Figures:
        """Return the paired ratios of costs, gross and net of idle, and the share of a saving that is waiting."""
        made: Figures = {"net": None, "waiting_share": None}
        for axis, of, end in AXES:
            mine, theirs = getattr(own, of), getattr(other, of)
            known = mine and theirs and (axis == "latency" or self.meter.measured)
            found = made["correlation" + end] = self.correlation(name, index, of, True) if known else None
            made[axis] = _mean(list(map(truediv, mine, theirs)), found) if known else None
        if made["energy"] and self.idle_w is not None:
            net = own.net_j(self.idle_w), other.net_j(self.idle_w)
            sides = [(_at(c.example_j), self.idle_w * _at(c.batch_s) / own.batch_size) for c in (own, other)]
            if min(map(min, net)) > 0:  # idle power itself is known to 1 %
                error = 0.01 * abs(sides[0][1] / _at(net[0]) - sides[1][1] / _at(net[1]))
                made["net"] = _mean(list(map(truediv, *net)), found, extra=1.959963984540054 * error)
            saved = sides[1][0] - sides[0][0]
            made["waiting_share"] = (sides[1][1] - sides[0][1]) / saved if saved > 0 else None
        return made


def _lag_1(series: Sequence[float]) -> float:
    """Return the lag-1 correlation of a series whose outliers are clipped at three robust standard deviations."""
    centre = median(series)
    reach = 3 * 1.4826 * median(abs(v - centre) for v in series) or math.inf
    clipped = [min(centre + reach, max(centre - reach, v)) for v in series]
    mean = fmean(clipped)
    squares = math.fsum((v - mean) ** 2 for v in clipped)
    products = math.fsum((a - mean) * (b - mean) for a, b in pairwise(clipped))
    return products / squares if squares > len(series) * 1e-24 else 0.0


def _joules(meter: MeterFacts, samples: Sequence[Sample], span: Window | IdleTime) -> float | None:
    """Return the joules of a window or of an idle time; None if they are unknown or not above 0."""
    joules = None
    if meter.source == "external":
        joules = _interpolated_j(samples, span.started_ns, span.ended_ns)
    elif meter.source is not None and meter.step_s is not None:
        joules = _stepping_j(samples, span.started_ns, span.ended_ns, round(3e9 * meter.step_s))
    elif meter.source is not None and span.start_uj is not None and span.end_uj is not None:
        joules = (span.end_uj - span.start_uj) / 1e6
    return joules if joules is not None and joules > 0 else None


def _stepping_j(samples: Iterable[Sample], start: int, end: int, reach: int) -> float | None:
    """Return the joules of all boards: mean power between movements of the counter near the edges, times the time."""
    boards: dict[int, list[tuple[int, int]]] = {}
    for s in samples:
        if start - reach <= s.time_ns <= end + reach:
            boards.setdefault(s.board or 0, []).extend([(s.time_ns, s.counter_uj)] if s.counter_uj is not None else [])
    parts = []
    for reads in boards.values():
        moves = [(t1 - t0, (t0 + t1) // 2, c1, c1 - c0) for (t0, c0), (t1, c1) in pairwise(reads) if c1 != c0]
        before = min((move for move in moves if move[1] <= start), default=None)  # the closest pair of readings
        after = min((move for move in moves if move[1] >= end), default=None)
        if before is None or after is None or min(move[3] for move in moves) < 0:
            return None
        parts.append((after[2] - before[2]) * (end - start) / (after[1] - before[1]) / 1e6)
    return math.fsum(parts) if parts else None


def _interpolated_j(samples: Iterable[Sample], start: int, end: int) -> float | None:
    """Return the joules of an external meter's readings, with the power at the edges interpolated."""
    reads = [(s.time_ns, s.outside_mw) for s in samples if s.outside_mw is not None]
    pieces = [(p, q) for p, q in pairwise(reads) if q[0] > start and p[0] < end]
    gap = max((q[0] - p[0] for p, q in pieces), default=end - start)
    if 10 * gap > end - start or pieces[0][0][0] > start or pieces[-1][1][0] < end:
        return None
    areas = []
    for (t0, p0), (t1, p1) in pieces:
        edges = max(t0, start), min(t1, end)
        areas += [(edges[1] - edges[0]) * sum(p0 + (p1 - p0) * (t - t0) / (t1 - t0) for t in edges)] if t1 > t0 else []
    return math.fsum(areas) / 2e12


@cache
def student(degrees: int, confidence: float = 0.95) -> float:
    """Return the two-sided quantile of Student's t = sqrt(degrees) tan(x), by Simpson's rule and bisection."""
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees + 1) / 2))
    low, high, parts = 0.0, math.pi / 2, 1000
    for _ in range(60):
        x = (low + high) / 2
        y = [max(0.0, math.cos(x * i / parts)) ** (degrees - 1) for i in range(parts + 1)]  # density of the angle x
        area = x / parts / 3 * (y[0] + 4 * sum(y[1::2]) + 2 * sum(y[2:-1:2]) + y[-1])
        low, high = (x, high) if 2 * area < confidence * whole else (low, x)
    return math.sqrt(degrees) * math.tan(low)


def _location(values: Sequence[float]) -> tuple[float, float, int]:
    """Return location, standard error and degrees of freedom: mean, trimmed mean, or Tukey's biweight."""
    n, ordered, centre = len(values), sorted(values), median(values)
    reach, cut = 4.5 * median(abs(v - centre) for v in values), 1 if 8 <= n < 15 else 0
    kept, degrees = ordered[cut : n - cut], max(1, n - 2 * cut - 1) if n < 15 else int(0.3 * (n - 1) + 0.5)
    for _ in range(20 if reach else 0):
        centre = fmean(values, [max(0.0, 1 - ((v - centre) / reach) ** 2) ** 2 for v in values])
    near = [(v - centre, ((v - centre) / reach) ** 2) for v in values if abs(v - centre) < reach]
    if n < 15 or len(near) < 0.55 * n:
        limited = [min(kept[-1], max(kept[0], v)) for v in values]
        return fmean(kept), math.sqrt((n - 1) * variance(limited) / len(kept) / (len(kept) - 1)), degrees
    slope, above = math.fsum((1 - u) * (1 - 5 * u) for _, u in near), math.fsum(d * d * (1 - u) ** 4 for d, u in near)
    return centre, math.sqrt(above / max(1.0, slope) / max(1.0, slope - 1)), degrees


def _mean(values: Sequence[float], correlation: Figures | None, logs: bool = True, extra: float = 0.0) -> Figures:
    """Return the location of rounds (`logs`: of their logarithms) with its interval, widened for AR(1) and `extra`."""
    n, rho, half, degrees = len(values), correlation["upper"] if correlation else 0.0, math.inf, None
    on_scale = [math.log(v) for v in values] if logs else values
    value = on_scale[0]
    if n > 1:
        value, error, degrees = _location(on_scale)
        share = (n + 2 * math.fsum((n - k) * rho**k for k in range(1, n))) / n**2  # variance of mean over that of one
        half = math.hypot(student(degrees) * error * math.sqrt((n - 1) * share / (1 - share)), extra)
    return _stated(value, half, n, logs, degrees)


def _at(values: Sequence[float]) -> float:
    return float(_mean(values, None)["value"])


def _stated(value: float, half: float, n: int, logs: bool, degrees: int | None = None) -> Figures:
    ends = [value, value - half, value + half]
    one, low, high = (math.exp(v) if v < 709 else math.inf for v in ends) if logs else ends
    return {"value": one, "low": low, "high": high, "n": n, "degrees": None if degrees == n - 1 else degrees}


def _joined(parts: Sequence[Figures | None], logs: bool) -> tuple[Figures | None, float | None]:
    """Return the mean of the sessions' estimates, by t over sessions or over rounds if wider, and their spread."""
    known, k = [part for part in parts if part], len(parts)
    if len(known) < k or k == 1:
        return (known[0] if len(known) == k else None), None
    values = [math.log(e["value"]) if logs else e["value"] for e in known]
    halves = [math.log(e["high"] / e["value"]) if logs else e["high"] - e["value"] for e in known]
    degrees = [e["n"] - 1 if e["degrees"] is None else e["degrees"] for e in known]
    errors = [half / student(each) if each else math.inf for half, each in zip(halves, degrees, strict=True)]
    between, within = variance(values), fmean(error**2 for error in errors)
    of_rounds = student(sum(degrees)) * math.sqrt(within / k) if sum(degrees) else math.inf
    joined = _stated(fmean(values), max(student(k - 1) * math.sqrt(between / k), of_rounds), k, logs)
    return joined, math.sqrt(max(0.0, between - within)) if within < math.inf else None


def _point(sittings: Sequence[Sitting], name: str, index: int) -> Figures | None:
    """Return a point over the sessions that measured it; None without one."""
    known = [sitting for sitting in sittings if (name, index) in sitting.costs]
    if not known:
        return None
    parts = [sitting.point(name, index) for sitting in known]
    keys = ("latency_s", "throughput_per_s", "energy_j", "energy_net_j")
    made: Figures = {key: _joined([part[key] for part in parts], logs=key != "energy_net_j")[0] for key in keys}
    if made["energy_j"] is None or len({(s.meter.source, s.meter.boundary) for s in known}) > 1:
        made |= {"energy_j": None, "energy_net_j": None}
    elif not sittings[0].meter.measured:  # modelled: known within a factor
        made["energy_j"] |= {"low": made["energy_j"]["low"] / 2.5, "high": made["energy_j"]["high"] * 2.5}
    made["energy_idle_j"] = _average(parts, "energy_idle_j")
    ratios = [ratio for part in parts for ratio in part["ratios"]]
    references = dict.fromkeys(ratio["reference"] for ratio in ratios)
    made["ratios"] = [_ratio(other, [r for r in ratios if r["reference"] == other]) for other in references]
    groups = [[[ns / 1e9 for ns in w.batch_ns] for w in sitting.costs[name, index].windows] for sitting in known]
    times = groups[0] if len(groups) == 1 else [[time for each in group for time in each] for group in groups]
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    percentiles: Figures = {key: _quantile(times, share) for key, share in shares.items()}
    made["latency_percentiles_s"] = percentiles | {"n": sum(map(len, times))}
    made["rounds"], first = [], 0
    for number, sitting in enumerate(sittings):
        costs = sitting.costs.get((name, index))
        for w, joules in zip(costs.windows, costs.window_j, strict=True) if costs else ():
            spent = w.ended_ns - w.started_ns
            row: Figures = {"index": first + w.index, "order": w.order, "session": number, "batches": len(w.batch_ns)}
            row |= {"started_s": w.started_ns / 1e9, "duration_s": spent / 1e9, "cpu_s": w.cpu_ns / 1e9}
            made["rounds"].append(row | {"gap_s": (spent - sum(w.batch_ns)) / 1e9, "energy_j": joules})
        numbers = [number for (_, at), each in sitting.costs.items() if at == index for number in each.numbers]
        first += 1 + max(numbers) - min([1, *numbers]) if numbers else 0
    return made


def _ratio(reference: str, parts: Sequence[Figures]) -> Figures:
    """Return one ratio from those of the sessions."""
    made: Figures = {"reference": reference, "net": None, "waiting_share": None}
    for axis, _, end in AXES:
        made[axis], made["session_spread" + end] = _joined([part[axis] for part in parts], logs=True)
        found = [part["correlation" + end] for part in parts if part["correlation" + end]]
        made["correlation" + end] = max(found, key=lambda each: each["value"], default=None)
    if made["energy"]:
        made["net"] = _joined([part["net"] for part in parts], logs=True)[0]
        made["waiting_share"] = _average(parts, "waiting_share")
    return made


def _average(parts: Sequence[Figures], key: str) -> float | None:
    return None if any(part[key] is None for part in parts) else fmean(part[key] for part in parts)


def _quantile(times: Sequence[Sequence[float]], share: float) -> Figures | None:
    """Return a percentile between order statistics that cut 2.5 % off each end of the binomial distribution."""
    ordered, k = sorted(time for each in times for time in each), len(times)
    n, odds = len(ordered), share / (1 - share)
    weights, mode = [1.0] * (n + 1), int(n * share)  # relative to the weight of about the mode
    for i in range(mode, n):
        weights[i + 1] = weights[i] * odds * (n - i) / (i + 1)
    for i in range(mode, 0, -1):
        weights[i - 1] = weights[i] / odds * i / (n - i + 1)
    tail = 0.025 * math.fsum(weights)
    low, above = (sum(c <= tail for c in accumulate(each)) for each in (weights, reversed(weights)))
    if not low or not above:
        return None
    at, part = divmod((n - 1) * share, 1)
    a, b = ordered[int(at)], ordered[min(int(at) + 1, n - 1)]
    value = a + (b - a) * part if part < 0.5 else b - (b - a) * (1 - part)

    def ends(at: float) -> tuple[float, float]:  # Woodruff: rounds differ in their share of times up to a value
        counts = [sum(time <= at for time in each) for each in times]
        squares = math.fsum((c - sum(counts) / n * len(each)) ** 2 for c, each in zip(counts, times, strict=True))
        reach = student(k - 1) * math.sqrt(k / (k - 1) * squares) / n if k > 1 else 0.0
        first, last = min(low, math.floor(n * (share - reach))), max(n + 1 - above, math.ceil(n * (share + reach)) + 1)
        return ordered[max(1, first) - 1], ordered[min(n, last) - 1]

    down, up = ends(value)
    return {"value": value, "low": min(down, ends(down)[0]), "high": max(up, ends(up)[1]), "n": n, "degrees": None}
