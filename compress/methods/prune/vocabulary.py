"""The vocabulary: keep the tokens that a corpus uses, in the tokenizer, the input embedding and the head.

    tokens used  --+ special tokens, bytes, parts of merges-->  kept  -->  tokenizer.json, embedding[kept], head[kept]

Logits of kept tokens stay what they were on a text of kept tokens. Their probabilities grow by one factor a position,
since the softmax lacks the other tokens.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from compress.base.config import InputError
from compress.base.reading import content, expanded
from compress.data import positions
from compress.data.tasks import names_where, task_of
from compress.methods.prune.shapes import parameter_shapes, shape_changes
from compress.model.bundle import Bundle
from compress.model.vocabulary import kept_ids, refusal, trimmed
from compress.spec.steps import Prune

MOST_BYTES = 4_000_000_000
LISTS = ("suppress_tokens", "begin_suppress_tokens")
SEQUENCES = ("bad_words_ids",)
UNMAPPED = ("forced_decoder_ids", "force_words_ids", "sequence_bias")
"""Settings of generation that name tokens in other ways."""


def vocabulary(bundle: Bundle, config: Prune) -> Bundle:
    """Return the bundle with the tokens of the corpus alone, and with a tokenizer of its own.

    Raises InputError if `check` finds a problem, or if the corpus has no tokens.
    """
    check(bundle)
    model, rows = bundle.model, _rows(bundle.model)
    counts = corpus_counts(bundle, config)
    used = {id for id, count in counts.items() if count >= config.least_count}
    named = {id for id in _named(model) if id < rows}
    kept = kept_ids(bundle.processor, used | named)
    processor = trimmed(bundle.processor, kept, bundle.task)
    inner = [id for id in kept if id < rows]  # added tokens without an embedding come last
    before, total = parameter_shapes(model), _count(model)
    cut(model, inner, kept)
    name = next(name for name, module in model.named_modules() if module is model.get_input_embeddings())
    entries = shape_changes(before, model)
    entries[name] = {**entries.get(name, {}), "vocabulary": len(inner)}
    teacher = bundle.teacher

    def trimmed_teacher() -> Any:
        assert teacher is not None
        return cut(teacher(), inner, kept)

    after = replace(
        bundle,
        processor=processor,
        teacher=None if teacher is None else trimmed_teacher,
        cost=None,  # counted on the tokens of the workload's own tokenizer
        inputs=None,
        **({"train": None, "examples": None} if bundle.encoded is None else bundle.encoded(processor)),
    )
    where = "the train split" if config.corpus is None else config.corpus
    often = f" at least {config.least_count} times" if config.least_count > 1 else ""
    note = (
        f"prune: vocabulary {rows:,} -> {len(inner):,} tokens: {len(used):,} that {where} ({counts.total():,} tokens) "
        f"uses{often}, and {len(inner) - len(used):,} special tokens, bytes and parts of merges "
        f"({1 - _count(model) / total:.1%} of the parameters)"
    )
    return after.changed(model, entries, note)


def check(bundle: Bundle) -> None:
    """Raise InputError with every reason why a model's vocabulary cannot be cut; the model may be empty."""
    if not task_of(bundle.task).continues:
        raise InputError(
            f"prune vocabulary: the task is {bundle.task}; expected a language model ({names_where('continues')})"
        )
    model = bundle.model
    rows = _rows(model)
    problems = [reason] if (reason := refusal(bundle.processor, rows)) else []
    head = model.get_output_embeddings()
    if head is None or not isinstance(getattr(head, "weight", None), torch.Tensor) or head.weight.shape[0] != rows:
        problems.append(f"{type(model).__name__} has no head with one row a token ({rows} in its input embedding)")
    known = {id(model.get_input_embeddings()), id(head), *map(id, positions.tables(model))}
    problems += [
        f"{name} has one row a token too, like the input embedding ({rows})"
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings == rows and id(module) not in known
    ]
    settings = vars(model.generation_config) if getattr(model, "generation_config", None) is not None else {}
    problems += [
        f"generation_config.json sets {field}, whose tokens cannot be renumbered; remove it"
        for field in UNMAPPED
        if settings.get(field) is not None
    ]
    if problems:
        raise InputError(f"prune vocabulary: {problem}; or leave the step out" for problem in problems)


def corpus_counts(bundle: Bundle, config: Prune) -> Counter[int]:
    """Return how often each token is in the corpus: a text file, or else the training examples."""
    counts: Counter[int] = Counter()
    if config.corpus is None:
        examples = bundle.train_examples("prune vocabulary")
        for ids in examples["input_ids"]:
            counts.update(ids)
        if "rows" in examples.column_names:  # the other choices of a question
            counts.update(id for rows in examples["rows"] for ids in rows for id in ids)
        return counts
    path = expanded(config.corpus)
    try:
        text = content(path, "text", MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"prune vocabulary corpus {path}: not UTF-8 text ({error.reason}); convert it") from None
    counts.update(bundle.processor(text, add_special_tokens=False, verbose=False)["input_ids"])
    if not counts:
        raise InputError(f"prune vocabulary corpus {path}: has no text; expected the text that the model is to read")
    return counts


def cut(model: Any, rows: Sequence[int], kept: Sequence[int]) -> Any:
    """Return the model with these rows of embedding and head alone, changed in place; ids of its settings follow.

    `kept` are all ids of the tokenizer, in the order of their new numbers.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    size, numbers = _rows(model), {old: new for new, old in enumerate(kept)}
    tied = head.weight is embedding.weight
    embedding.weight = _chosen(embedding.weight, rows)
    embedding.num_embeddings = len(rows)
    head.weight = embedding.weight if tied else _chosen(head.weight, rows)
    head.out_features = len(rows)
    if getattr(head, "bias", None) is not None:
        head.bias = _chosen(head.bias, rows)
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if padding is not None and (module is embedding or not isinstance(module, nn.Embedding)):
            module.padding_idx = numbers.get(padding, padding)
        if getattr(module, "vocab_size", None) == size:
            module.vocab_size = len(rows)
    for settings in _settings(model):
        for field, value in list(vars(settings).items()):
            if _names_tokens(field) and value is not None:
                setattr(settings, field, _renumbered(value, numbers))
    model.config.get_text_config().vocab_size = len(rows)
    return model


def _chosen(parameter: nn.Parameter, rows: Sequence[int]) -> nn.Parameter:
    """Return these rows of a parameter [vocabulary, ...] as a parameter."""
    index = torch.tensor(rows, device=parameter.device)
    return nn.Parameter(parameter.detach()[index].contiguous(), requires_grad=parameter.requires_grad)


def _renumbered(value: Any, numbers: Mapping[int, int]) -> Any:
    """Return an id, a list of ids or a list of such lists with the new numbers, without what names a removed token.

    An id that is no token of the model (-1) stays.
    """
    if isinstance(value, int):
        return numbers.get(value, value)
    if isinstance(value, list | tuple):
        lists = all(isinstance(each, list | tuple) for each in value)
        present = [each for each in value if (set(each) <= numbers.keys() if lists else each in numbers)]
        return [_renumbered(each, numbers) for each in present]
    return value


def _settings(model: Any) -> list[Any]:
    """Return the configurations of a model that name tokens, each once."""
    settings = (model.config, model.config.get_text_config(), getattr(model, "generation_config", None))
    return list({id(each): each for each in settings if each is not None}.values())


def _names_tokens(field: str) -> bool:
    return field.endswith("_token_id") or field in (*LISTS, *SEQUENCES)


def _named(model: Any) -> set[int]:
    """Return the ids of the special tokens that a model's settings name."""
    values = [value for each in _settings(model) for field, value in vars(each).items() if field.endswith("_token_id")]
    values.append(model.get_input_embeddings().padding_idx)
    listed = (each for value in values for each in (value if isinstance(value, list | tuple) else (value,)))
    return {each for each in listed if isinstance(each, int) and each >= 0}


def _rows(model: Any) -> int:
    """Return the number of token embeddings."""
    return int(model.get_input_embeddings().weight.shape[0])


def _count(model: nn.Module) -> int:
    """Return the number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
