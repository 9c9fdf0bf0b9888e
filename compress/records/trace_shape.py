"""Checks of a trace: types of the columns of its tables, and consistency between its parts.

A trace may come from anyone. All inputs of figures are checked once, here and by the types of
`compress.records.session`: times run forward, windows hold batches, referenced runners exist. Unknown keys and columns
are ignored.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from compress.base.bits import BITS, are_masks
from compress.records.sample import OUTSIDE, sample_rows
from compress.records.session import JudgedBy, Runner, Session
from compress.records.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

NUMBERS: Mapping[str, Collection[str]] = {
    "windows": ("point", "round", "order", "started_ns", "ended_ns", "cpu_ns"),
    "batches": ("point", "round", "batch", "duration_ns"),
    "outcomes": ("example",),
    "samples": ("time_ns",),
    "examples": ("example",),
}
"""Integer columns without missing values; other number columns may have missing values."""
PRESENT: Mapping[str, Collection[str]] = {"windows": ("start_uj", "end_uj"), "examples": ("text",)}
"""Further columns that a table has, with or without values."""
OF_A_RUNNER = ("windows", "batches", "outcomes")
INDICES = {
    "duration_ns", "point", "round", "attempt", "example", "batch", "order", "cpu_ns", "stolen_ns", "foreign_ns",
    "switches", "cpu_khz", "cpu_ops", "device_mhz", "device_processes", "device_events",
}  # fmt: skip
OUTCOMES = (
    {"prediction", "reference"},
    {"nll", "tokens"},
    {"tp", "predicted", "gold", "right", "words"},
    {"score", "reference"},
    {"tp", "predicted", "gold", "labels", "predicted_0", "gold_0"},
    {"reciprocal_rank", "ndcg_at_10"},
    {"em", "f1"},
    {"match_1", "total_1", "text_words", "reference_words", "letters_1", "letter_match_1", "rouge_l"},
    {"errors", "words", "letter_errors", "letters"},
    {"intersection_0", "union_0", "area_0"},
    {"objects_0", "box_0"},
)
NEEDED = {
    "accuracy": (OUTCOMES[0],),
    "f1": (OUTCOMES[0], OUTCOMES[6]),
    "matthews_correlation": (OUTCOMES[0],),
    "perplexity": (OUTCOMES[1],),
    "entity_f1": (OUTCOMES[2],),
    "token_accuracy": (OUTCOMES[2],),
    **dict.fromkeys(("spearman", "pearson", "mse"), (OUTCOMES[3],)),
    **dict.fromkeys(("f1_micro", "f1_macro"), (OUTCOMES[4],)),
    **dict.fromkeys(("mrr", "ndcg_at_10"), (OUTCOMES[5],)),
    **{name: (OUTCOMES[5] | {name},) for name in ("recall_at_10", "recall_at_100")},
    "average_precision": (OUTCOMES[4] | {"score_0"},),
    "exact_match": (OUTCOMES[6],),
    **dict.fromkeys(("bleu", "chrf", "rouge_1", "rouge_2", "rouge_l"), (OUTCOMES[7],)),
    **dict.fromkeys(("wer", "cer"), (OUTCOMES[8],)),
    "mean_iou": (OUTCOMES[9],),
    "map": (OUTCOMES[10],),
}
"""Metric -> the sets of outcomes of which it needs one."""
SHARES = ("em", "f1", "no_answer", "context_f1")
"""Outcomes from 0 to 1."""
MOST_LABELS = 1_000_000
COUNTS_OF_ERRORS = ("errors", "words", "letter_errors", "letters")
"""Counts of a transcript: at least 0. Errors may exceed the words of the reference."""
PARTS = (("tp", "predicted"), ("tp", "gold"), ("right", "words"))
"""Pairs of counts of an example, of which the first is at most the second."""


def check_table(name: str, table: "pa.Table") -> None:
    """Raise ValueError for a table with a missing column, a wrong type or a negative index."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not table.num_rows:
        return  # an empty table is written without columns
    columns = table.column_names
    required = {column: pa.types.is_integer for column in NUMBERS[name]}
    required |= {"runner": pa.types.is_string} if name in OF_A_RUNNER else {}
    missing = [column for column in (*required, *PRESENT.get(name, ())) if column not in columns]
    if missing:
        raise ValueError(f"has no column {missing[0]}")
    for column, is_kind in required.items():
        if not is_kind(table.schema.field(column).type) or table.column(column).null_count:
            raise ValueError(f"{column}: expected {'text' if column == 'runner' else 'integers'} only")
    for column in [column for column in columns if column not in required]:
        kind = table.schema.field(column).type
        is_text = name == "examples" and column == "text"
        is_number = pa.types.is_integer(kind) or (name == "outcomes" and pa.types.is_floating(kind))
        if not (pa.types.is_null(kind) or (pa.types.is_string(kind) if is_text else is_number)):
            raise ValueError(f"{column}: {kind}; expected {'text' if is_text else 'numbers'}")
    for column in INDICES & set(columns):
        if (pc.min(table.column(column)).as_py() or 0) < 0:
            raise ValueError(f"{column}: below 0")
    if name == "windows" and "unused" in columns and not set(table.column("unused").to_pylist()) <= {0, 1}:
        raise ValueError("unused: expected 0 or 1 in every row")


def check_numbers(numbers: Sequence[int], place: str) -> None:
    """Raise ValueError, which starts with `place`, unless the numbers are 0, 1, 2 ... in this order."""
    for expected, number in enumerate(numbers):
        if number != expected:
            why = "twice" if number in numbers[:expected] else f"where {expected} is expected"
            raise ValueError(f"{place} has the number {number} {why}; expected 0 to {len(numbers) - 1} in order")


def check_whole(session: Session) -> None:
    """Raise ValueError if parts of a trace are inconsistent."""
    runners = {runner.name: runner for runner in session.runners}
    if len(runners) < len(session.runners):
        raise ValueError("two runners have the same name")
    written = [runner.continuations for runner in session.runners if runner.continuations]
    if len({len(texts) for texts in written}) > 1 or len({len(text) for texts in written for text in texts}) > 1:
        raise ValueError("continuations are of different numbers of prompts or tokens")
    for runner in session.runners:
        for point in runner.points:
            if point.lacking is None and point.steady is None:
                raise ValueError(f"a point of {runner.name} has neither figures nor a reason")
            if point.windows and (point.point.natural is None) is not (point.texts is None):
                raise ValueError(f"a point of {runner.name} has texts without being natural, or lacks them")
            for window in (*point.windows, *point.unused):
                _check_window(runner.name, window)
                if point.texts is not None and len(window.batch_ns) % point.texts.batches:
                    raise ValueError(f"a window of {runner.name} does not run its texts in whole passes")
            if len({window.index for window in point.windows}) < len(point.windows):
                raise ValueError(f"{runner.name} has two windows of one round that figures would use")
    _check_rounds(session.runners)
    for row in sample_rows(session.samples):
        if min((value for value in row.values() if value is not None), default=0) < 0 and row.get(OUTSIDE) is None:
            raise ValueError("samples.parquet: below 0")
    if session.judged_by is not None:
        _check_judged(session.judged_by, runners)


def _check_rounds(runners: Sequence[Runner]) -> None:
    """Raise ValueError if runners have windows of different rounds at a point: ratios pair the rounds."""
    rounds: dict[int, set[int]] = {}
    for runner in runners:
        for index, point in enumerate(runner.points):
            own = {window.index for window in point.windows}
            if own and rounds.setdefault(index, own) != own:
                raise ValueError(f"{runner.name} has windows of other rounds than the other runners at point {index}")


def _check_window(name: str, window: Window) -> None:
    edges = (window.start_uj, window.end_uj)
    if window.ended_ns <= window.started_ns or not window.batch_ns or min(window.batch_ns) < 0:
        raise ValueError(f"a window of {name} has no batches, or ends before it starts")
    if any(edge is not None and edge < 0 for edge in edges):
        raise ValueError(f"a window of {name} has counts below 0")


def _check_judged(judged: JudgedBy, runners: Mapping[str, Runner]) -> None:
    for name in (*judged.references, judged.against):
        if name not in runners or not runners[name].outcomes:
            raise ValueError(f"the reference {name} has no outcomes")
    lengths = set()
    for runner in runners.values():
        columns = runner.outcomes
        if not columns:
            continue  # this runner failed
        if not any(kind <= set(columns) for kind in NEEDED.get(judged.metric, OUTCOMES)):
            raise ValueError(f"{runner.name} has outcomes {', '.join(columns)}, which are not those of {judged.metric}")
        if any(value is None for values in columns.values() for value in values):
            raise ValueError(f"outcomes of {runner.name} are missing")
        if any(not value >= 1 for key in ("tokens", "bytes") for value in columns.get(key, ())):
            raise ValueError(f"{runner.name} has blocks without tokens")
        if "tp" in columns and not _are_counts(columns):
            raise ValueError(f"{runner.name} has counts below 0, or more hits than entities or words")
        if OUTCOMES[8] <= set(columns) and min(min(columns[name], default=0) for name in COUNTS_OF_ERRORS) < 0:
            raise ValueError(f"{runner.name} has counts of errors or words below 0")
        if not all(0 <= value <= 1 for name in OUTCOMES[5] for value in columns.get(name, ())):
            raise ValueError(f"{runner.name} has figures of rankings outside of 0 to 1")
        if "labels" in columns and not _are_sets(columns):
            raise ValueError(f"{runner.name} has sets of labels that do not fit the number of labels")
        if "objects_0" in columns and not _are_boxes(columns):
            raise ValueError(f"{runner.name} has counts of objects below 0, or boxes that are no numbers of boxes")
        if "intersection_0" in columns and not _are_pixels(columns):
            raise ValueError(f"{runner.name} has counts of pixels that do not fit each other")
        if OUTCOMES[6] <= set(columns) and any(not 0 <= v <= 1 for name in SHARES for v in columns.get(name, ())):
            raise ValueError(f"{runner.name} has scores of answers below 0 or above 1")
        lengths |= {len(values) for values in columns.values()}
    if lengths != {max(lengths)} or not max(lengths):
        raise ValueError("runners were evaluated on different examples")


def _are_counts(columns: Mapping[str, Sequence[float]]) -> bool:
    """Return whether the counts of all examples are at least 0, and hits at most what they are part of."""
    parts = [(columns[part], columns[whole]) for part, whole in PARTS if part in columns]
    return all(0 <= hits <= total for each in parts for hits, total in zip(*each, strict=True))


def _are_boxes(columns: Mapping[str, Sequence[float]]) -> bool:
    """Return whether objects are counts, and boxes whole numbers that a double holds exactly, or -1 for none."""
    least = {name: -1 for name in columns if name.startswith("box_")}
    least |= {name: 0 for name in columns if name.startswith("objects_")}
    return all(low <= value < 2**53 and value == int(value) for name, low in least.items() for value in columns[name])


def _are_pixels(columns: Mapping[str, Sequence[float]]) -> bool:
    """Return whether the pixels of every class fit: intersections within areas, and these within unions."""
    classes = [name.removeprefix("intersection_") for name in columns if name.startswith("intersection_")]
    names = [tuple(f"{kind}_{each}" for kind in ("intersection", "area", "union")) for each in classes]
    return all(
        set(each) <= set(columns)
        and all(0 <= a <= b <= c for a, b, c in zip(*(columns[name] for name in each), strict=True))
        for each in names
    )


def _are_sets(columns: Mapping[str, Sequence[float]]) -> bool:
    """Return whether the sets of labels of all examples are of one number of labels, for which there are columns."""
    size = columns["labels"][0] if columns["labels"] else 0
    if set(columns["labels"]) != {size} or not 1 <= size <= MOST_LABELS or size != int(size):
        return False
    names = [f"{name}_{place}" for name in ("gold", "predicted") for place in range(-(-int(size) // BITS))]
    scores = [f"score_{label}" for label in range(int(size))] if "score_0" in columns else []
    return {*names, *scores} <= set(columns) and all(are_masks(columns[name]) for name in names)
