"""Sentence similarity: the cosine of two texts' vectors, compared with a score of their similarity (STS).

    text       -> vector \
                           cosine -> score     the ranks of cosines against those of the data's scores (Spearman)
    text_pair  -> vector /

An example is two rows, each a text of its own: texts are never joined. Cosines are computed in float64 from the vectors
that the model returns, so they do not depend on whether it normalises them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.bad_rows import refuse
from compress.data.sentences.settings import encodes_texts
from compress.data.tasks import numbers, sentences, text_classification, text_regression, texts
from compress.data.tasks.columns import TEXT, TEXT_PAIR, Column
from compress.data.tasks.task import Outcomes, Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

SCALES = ((-1.0, 1.0), (0.0, 5.0))
"""Ranges of scores; all scores of a split lie within one of them."""
ELSE = "(or -1 to 1 in all rows): remove the row, or write all scores on one scale"
PAIR = Column("text_pair", "text", TEXT_PAIR.names, described="the second text")
SCORE = replace(text_regression.SCORE, described="the score of their similarity")


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems = texts.text_problems(model, processor, rows(examples), workload)
    problems += texts.padding_problems(model, processor)
    problems = problems or sentences.length_problems(model, processor, workload)
    scores = examples["labels"] if "labels" in examples.column_names else []
    return problems + text_regression.label_problems(scores, workload)


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return columns text, text_pair, labels (scores), and input_ids and pair_ids, with token types if there are any.

    Training takes texts alone, or both of a pair. Raises BadRows for scores that are not numbers of one scale.
    """
    import datasets

    spec, own = workload.dataset, sentences.settings_of(config)
    pairs = _pair_column(raw, workload)
    columns: dict[str, Any] = {}
    cut = 0
    for column, (name, renamed) in {spec.text: ("text", INPUTS), pairs: ("text_pair", PAIR_INPUTS)}.items():
        if column is None:
            continue
        given = texts.text_column(raw, column, name)
        encoded, beyond = sentences.encode(given, processor, workload, own)
        text_classification.refuse_without_text(encoded["input_ids"], processor)
        columns |= {name: given, **{renamed[each]: values for each, values in encoded.items()}}
        cut += beyond
    if not workload.for_training:
        columns["labels"] = _scores(raw, spec.label)
    shortened = f"{cut} texts are cut at max_length {workload.max_length}" if cut else ""
    note = "; ".join(filter(None, (f"vectors: {own}", shortened, text_classification.padding_note(processor))))
    return datasets.Dataset.from_dict(columns, info=datasets.DatasetInfo(description=note))


def _pair_column(raw: "datasets.Dataset", workload: WorkloadView) -> str | None:
    """Return the column of the second text; None for training texts without one."""
    pair = workload.dataset.text_pair
    if workload.for_training and (pair is None or pair not in raw.column_names):
        return None
    if pair is None:
        listed = ", ".join(raw.column_names)
        raise InputError(f"an example is two texts, and the data has {listed}; set dataset.text_pair to the second one")
    return pair


def _scores(raw: "datasets.Dataset", column: str) -> list[float]:
    """Return the scores. Raises BadRows for those that are no numbers, or outside the scale of the others."""
    scores = numbers.read(raw, column)
    low, high = next((each for each in SCALES if all(each[0] <= s <= each[1] for s in scores)), SCALES[-1])
    refuse(
        (row, f"label column {column!r} has the score {score:g}; expected {low:g} to {high:g} {ELSE}")
        for row, score in enumerate(scores)
        if not low <= score <= high
    )
    return scores


INPUTS = {name: name for name in text_classification.INPUTS}
PAIR_INPUTS = {"input_ids": "pair_ids", "token_type_ids": "pair_types"}


def rows(examples: "datasets.Dataset") -> "datasets.Dataset":
    """Return one row per text: both texts of the first example, then those of the next one."""
    import datasets

    if "pair_ids" not in examples.column_names:
        return examples
    names = {"text": "text_pair", **PAIR_INPUTS}
    columns = {
        own: [text for both in zip(examples[own], examples[pair], strict=True) for text in both]
        for own, pair in names.items()
        if own in examples.column_names
    }
    return datasets.Dataset.from_dict(columns, info=datasets.DatasetInfo(description=examples.info.description))


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> Outcomes:
    """Return the cosine of each example's two vectors, and the score of the data."""
    import numpy as np

    vectors = np.asarray(outcomes["vector"], dtype=np.float64)  # [2 * examples, width]
    return {"score": cosines(vectors[0::2], vectors[1::2]).tolist(), "reference": list(map(float, examples["labels"]))}


def cosines(ours: "np.ndarray", theirs: "np.ndarray") -> "np.ndarray":
    """Return the cosines of rows [n, width]; 0 for a vector of zeros, nan for values that are not finite."""
    import numpy as np

    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    found: np.ndarray = (ours * theirs).sum(axis=1) / np.where(lengths == 0, 1.0, lengths)
    return found


def fixed(examples: "datasets.Dataset", *how: Any) -> "list[dict[str, torch.Tensor]]":
    """Return batches of one exact shape, of the tokens of all texts."""
    return text_classification.fixed(rows(examples), *how)


def made_up() -> "datasets.Dataset":
    """Return three pairs of different lengths with the columns of a live data set."""
    import datasets

    given = list(texts.MADE_UP)
    return datasets.Dataset.from_dict({"text": given, "text_pair": given[::-1], "label": [0.0, 1.0, 0.5]})


TASK = Task(
    name="sentence-similarity",
    auto_model="AutoModel",
    auto_processor="AutoTokenizer",
    architectures=sentences.ARCHITECTURES,
    pipeline_tag="sentence-similarity",
    columns=(TEXT, PAIR, SCORE),
    metric="spearman",
    sample_outcomes=text_regression.SAMPLE_OUTCOMES,
    headline=text_classification.TASK.headline,
    first_recipe="bert_int8",
    call='model(**processor(["a text"], return_tensors="pt")).logits',
    load_processor=text_classification.load_processor,
    check=check,
    prepare=prepare,
    collate=sentences.collate,
    fixed=fixed,
    outcomes=sentences.outcomes,
    losses=sentences.losses,
    soft_loss=sentences.soft_loss,
    trains_by_losses=True,
    lengths=texts.lengths,
    made_up=made_up,
    rows=rows,
    answers=answers,
    auto=sentences.auto,
    configure=sentences.configure,
    fits=encodes_texts,
    unusable=sentences.unusable,
    write_beside=sentences.write_beside,
    lines=sentences.lines,
    longest=sentences.longest,
    settings=sentences.SETTINGS,
    trains_on_rows=True,
    learns_labels=False,
    pads_fixed=True,
    natural=True,
    has_labels=False,
)
