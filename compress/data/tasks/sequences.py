"""Sequence to sequence: an encoder reads a source, and a decoder writes the target: translations, summaries.

    source  -> encoder -> decoder -> generated text    ->  counts against the references -> BLEU, chrF, ROUGE
    source, target  -> logits of every target token     ->  losses of calibration, training, distillation, perplexity

The decoder reads its first token and the target without its last one (teacher forcing), and its logits predict the
target. Sources over max_length lose their end; references are whole texts and lose nothing.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.data import positions
from compress.data.bad_rows import refuse, shown
from compress.data.point import OperatingPoint
from compress.data.tasks import causal_lm, decoding, text_scores, texts
from compress.data.tasks.blocks import packed, padded
from compress.data.tasks.columns import Column
from compress.data.tasks.labels import require_column
from compress.data.tasks.overlap import number
from compress.data.tasks.task import IGNORED, Batch, Outcomes
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

SETTINGS = ("prompt", "generation", "bleu_tokenizer")
ARCHITECTURES = ("ForConditionalGeneration", "MTModel")
EAGER_ONLY = (
    "its graphs would keep no cache of the decoder, and compute all earlier tokens again for every new one; use eager"
)
COPY = "copy_"
"""Prefix of the outcomes of a model that copies the source."""


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems = texts.length_problems(positions.limit(model.get_encoder()), workload)
    problems += texts.token_problems(model, processor, examples) + texts.unpadded_problems(processor)
    problems += [] if problems else texts.vocabulary_problems(model, processor)
    return problems + point_problems(model, workload)


def point_problems(model: Any, workload: WorkloadView) -> list[str]:
    """Return errors for texts and points beyond the decoder's positions, and points beyond the encoder's."""
    sources, targets = positions.limit(model.get_encoder()), positions.limit(model.get_decoder())
    asked, problems = workload.generation.max_new_tokens, []
    if targets is not None and asked is not None and asked > targets:
        problems.append(f"writes at most {targets} tokens; generation.max_new_tokens is {asked}")
    for point in (workload.headline_point, *workload.further_points, *workload.mapped_points):
        if sources is not None and (point.sequence_length or 0) > sources:
            problems.append(f"reads at most {sources} tokens; the point of length {point.sequence_length} has more")
        if targets is not None and (point.new_tokens or 0) > targets:
            problems.append(f"writes at most {targets} tokens; the point of new_tokens {point.new_tokens} has more")
    return list(dict.fromkeys(problems + texts.stop_problems(model, workload)))


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return columns text, references, input_ids, labels, start (the decoder's first token) and bleu_tokenizer.

    Raises BadRows for rows without a source or a target.
    """
    import datasets

    text_scores.check_packages()
    settings = decoding.settings_of(config)
    sources = texts.text_column(raw, workload.dataset.text, "text")
    references = _references(raw, workload.dataset.target)
    refuse((row, "the source is empty; expected text") for row, source in enumerate(sources) if not source.strip())
    if workload.metric_name in text_scores.ROUGE:
        refuse(
            (row, f"the target {shown(each[0])} has no letter from a to z and no digit, the only ones of rouge_score")
            for row, each in enumerate(references)
            if not any(map(text_scores.has_rouge_words, each))
        )
    given = [f"{workload.prompt or ''}{source}" for source in sources]
    encoded = processor(given, verbose=False)["input_ids"]
    cut = [row for row, ids in enumerate(encoded) if len(ids) > workload.max_length]
    if cut:
        shorter = processor([given[row] for row in cut], truncation=True, max_length=workload.max_length)["input_ids"]
        for row, ids in zip(cut, shorter, strict=True):
            encoded[row] = ids
    targets = processor(
        text_target=[each[0] for each in references], truncation=True, max_length=settings["max_new_tokens"]
    )
    columns = {
        "text": sources,
        "references": references,
        "input_ids": encoded,
        "labels": targets["input_ids"],
        "start": [settings["decoder_start_token_id"]] * len(sources),
        "bleu_tokenizer": [workload.bleu_tokenizer] * len(sources),
    }
    long = sum(len(ids) == settings["max_new_tokens"] for ids in targets["input_ids"])
    note = _remark(references, len(cut), workload, settings)
    if long and workload.for_training:
        note += f"; {long} of {len(sources)} targets end at the longest text of {settings['max_new_tokens']} tokens"
    if workload.prompt is None and (known := getattr(config, decoding.PROMPTS, None)):
        note += f"; the model's config.json names prompts, such as {known[0]!r}, and the workload sets no prompt"
    return datasets.Dataset.from_dict(columns, info=datasets.DatasetInfo(description=note))


def _references(raw: "datasets.Dataset", column: str) -> list[list[str]]:
    """Return the references of every row: a text, or a list of texts. Raises BadRows for rows without one."""
    require_column(raw, column, "target")
    found = [[value] if isinstance(value, str) else value for value in raw[column]]
    refuse((row, problem) for row, values in enumerate(found) if (problem := _problem(values)))
    return [list(values) for values in found]


def _problem(values: Any) -> str:
    """Return why a row's target cannot be references; empty if it can."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return f"the target is {shown(values)}; expected a text, or a list of texts"
    if not values or not all(value.strip() for value in values):
        return "the target is empty; expected a text, or a list of texts"
    return ""


def _remark(references: Sequence[Sequence[str]], cut: int, workload: WorkloadView, settings: Mapping[str, Any]) -> str:
    """Return a note on the metrics' signatures, on how texts are generated, and on sources that were cut."""
    parts = [
        *([] if workload.for_training else [text_scores.signature(references, workload.bleu_tokenizer)]),
        f"texts are generated by {decoding.in_words(settings)}",
        *([f"{workload.prompt!r} precedes every source"] if workload.prompt else []),
        *([f"{cut} of {len(references)} sources were cut at max_length {workload.max_length}"] if cut else []),
    ]
    return "; ".join(parts)


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one batch padded on the right: input_ids and attention_mask [batch, source], decoder_input_ids,
    decoder_attention_mask and labels [batch, target]; labels are -100 at padding."""
    sources = [example["input_ids"] for example in examples]
    targets = [example["labels"] for example in examples]
    pad = processor.pad_token_id
    shifted = [[example["start"], *target[:-1]] for example, target in zip(examples, targets, strict=True)]
    ids, mask = padded(sources, pad)
    decoder_ids, decoder_mask = padded(shifted, pad)
    labels, _ = padded(targets, IGNORED)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "decoder_input_ids": decoder_ids,
        "decoder_attention_mask": decoder_mask,
        "labels": labels,
    }


def fixed(
    examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
) -> list[dict[str, "torch.Tensor"]]:
    """Return `count` batches of sources of exactly [batch_size, sequence_length] of the examples' tokens.

    decoder_input_ids [batch_size, 1] are the decoder's first tokens, for a pass up to the first new token.
    """
    import torch

    start = examples["start"][0]
    return [
        {**batch, "decoder_input_ids": torch.full((point.batch_size, 1), start)}
        for batch in packed(examples["input_ids"], processor, point, count, seed)
    ]


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[float]]:
    """Return summed nll (nats) and number of tokens of each target."""
    nll, tokens = losses(logits, batch["labels"])
    return {"nll": nll.tolist(), "tokens": tokens.tolist()}


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] nll (nats, summed) and [batch] counts of target tokens, float64."""
    import torch

    before = torch.full_like(labels[:, :1], IGNORED)
    following = torch.cat([logits, logits[:, :1]], dim=1)  # the labels are those of a language model, one to the right
    return causal_lm.losses(following, torch.cat([before, labels], dim=1))


def writes(model: Any, inputs: Batch, processor: Any, output: Any) -> dict[str, list[Any]]:
    """Return the text that a model generates for each row, and whether it came to an end."""
    found = decoding.generated(model, inputs)
    return {
        "written": [text.strip() for text in processor.batch_decode(found, skip_special_tokens=True)],
        "ended": [decoding.has_end(row, model.config) for row in found.tolist()],
    }


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> Outcomes:
    """Return the counts of each text, those of copying the source, and a number that identifies the text.

    unended is 1 for a text that was cut at max_new_tokens.
    """
    found: dict[str, list[float]] = {name: list(outcomes[name]) for name in ("nll", "tokens")}
    columns = examples.select_columns(["text", "references", "bleu_tokenizer"])
    for written, example in zip(outcomes["written"], columns, strict=True):
        against = tuple(example["references"]), example["bleu_tokenizer"]
        row = text_scores.counts(written, *against)
        row = row | {f"{COPY}{name}": value for name, value in text_scores.counts(example["text"], *against).items()}
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return {
        **found,
        "unended": [float(not ended) for ended in outcomes["ended"]],
        "answer": [number(written) for written in outcomes["written"]],
    }


def lengths(examples: "datasets.Dataset") -> list[int]:
    """Return the number of tokens of every source and its target."""
    return [len(source) + len(target) for source, target in zip(examples["input_ids"], examples["labels"], strict=True)]


def protocol(workload: WorkloadView) -> str:
    """Return what BLEU counts, and the settings of generation that the workload states."""
    stated = [
        f"{name} {value}" for name, value in workload.generation.model_dump(exclude_none=True).items()
    ]  # those of the model are in a note
    counted = [f"tok:{workload.bleu_tokenizer}"] if workload.metric_name == "bleu" else []
    return ", ".join([*counted, *(stated or ["generation as the model states it"])])


def made_up() -> "datasets.Dataset":
    """Return three sources with targets in the columns of a live data set."""
    import datasets

    return datasets.Dataset.from_dict({"text": list(texts.MADE_UP), "target": ["Yes.", "No.", "Maybe."]})


def is_of_texts(config: Mapping[str, Any]) -> bool:
    """Return whether the settings in `config.json` are of an encoder-decoder of texts, not of pictures or sound."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as OF_TEXTS

    return config.get("model_type") in OF_TEXTS


def columns(sources: tuple[str, ...], targets: tuple[str, ...]) -> tuple[Column, Column]:
    """Return the columns of a task, by their usual names."""
    return (
        Column("text", "text", sources, described="the source"),
        Column("target", "label", targets, described="the target"),
    )


def _sample_outcomes() -> Outcomes:
    """Return synthetic counts of two examples."""
    orders, letters = range(1, 5), range(1, 7)
    row = {f"match_{n}": 2.0 for n in orders} | {f"total_{n}": 3.0 for n in orders}
    row |= {"text_words": 6.0, "reference_words": 6.0}
    row |= {f"letters_{n}": 9.0 for n in letters} | {f"reference_letters_{n}": 9.0 for n in letters}
    row |= {f"letter_match_{n}": 5.0 for n in letters} | dict.fromkeys(text_scores.ROUGE, 0.5)
    both = row | {f"{COPY}{name}": value / 2 for name, value in row.items()}
    return {
        **{name: [value, value] for name, value in both.items()},
        "nll": [2.0, 3.0], "tokens": [2.0, 3.0], "unended": [0.0, 0.0], "answer": [1.0, 2.0],
    }  # fmt: skip


SAMPLE_OUTCOMES = _sample_outcomes()
