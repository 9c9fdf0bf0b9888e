"""Text classification: one or two text columns, one class per example.

Texts are tokenised once and truncated at the workload's max_length. The tokenizer pads each batch to its longest text.
For timing, the texts' tokens are joined and cut into rows of the exact length, each with special tokens around it:

    [CLS] real tokens of several texts ... [SEP]     no padding, attention mask all ones
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.point import OperatingPoint
from compress.data.tasks import classes, texts
from compress.data.tasks import labels as class_labels
from compress.data.tasks.blocks import packed
from compress.data.tasks.columns import LABEL, TEXT, TEXT_PAIR
from compress.data.tasks.task import Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

INPUTS = ("input_ids", "token_type_ids")


LEFT = "XLNet"
"""Tokenizer classes of this name belong to the only models that are trained with padding on the left."""


def load_processor(location: str, **options: Any) -> Any:
    """Return the tokenizer stored with the model, set to pad on the side that its model expects.

    Tokenizers are often saved with padding on the left, which is for generation. A classifier that counts positions
    from the first token answers wrongly with it.
    """
    processor = texts.load_processor(location, **options)
    processor.padding_side = side(processor)
    return processor


def side(processor: Any) -> str:
    """Return the side on which texts are padded."""
    return "left" if LEFT in type(processor).__name__ else "right"


def padding_note(processor: Any) -> str:
    """Return a note if the tokenizer was saved with padding on the other side; else nothing."""
    own = side(processor)
    if processor.init_kwargs.get("padding_side") in (None, own):
        return ""
    return f"texts are padded on the {own}, not as its tokenizer_config.json sets, which is for generation"


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems = texts.text_problems(model, processor, examples, workload)
    problems += texts.padding_problems(model, processor) + texts.end_problems(model, examples)
    return problems + [f"{problem}{_way_out(model)}" for problem in classes.class_problems(model)]


def _way_out(model: Any) -> str:
    """Return the remedy for a model of texts whose head does not choose a class."""
    if getattr(model.config, "problem_type", None) == "multi_label_classification":
        return ": set task to multi-label-classification"
    return ": set task to text-regression, or to text-ranking" if model.config.num_labels == 1 else ""


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return columns text, (text_pair), labels, input_ids, (token_type_ids): tokenised and truncated at max_length."""
    import datasets

    columns = encoded_texts(raw, processor, workload)
    labels = class_labels.read(raw, workload.dataset.label, config, workload.dataset.labels)
    note = "; ".join(filter(None, (labels.note, padding_note(processor))))
    return datasets.Dataset.from_dict(columns | {"labels": labels.ids}, info=datasets.DatasetInfo(description=note))


def encoded_texts(raw: "datasets.Dataset", processor: Any, workload: WorkloadView) -> dict[str, list[Any]]:
    """Return the columns text, (text_pair), input_ids and (token_type_ids), truncated at max_length."""
    spec = workload.dataset
    rows = texts.text_column(raw, spec.text, "text")
    pairs = texts.text_column(raw, spec.text_pair, "text_pair") if spec.text_pair else None
    encoded = processor(rows, pairs, truncation=True, max_length=workload.max_length)
    refuse_without_text(encoded["input_ids"], processor)
    second = {} if pairs is None else {"text_pair": pairs}
    return {"text": rows, **second, **{name: encoded[name] for name in INPUTS if name in encoded}}


def refuse_without_text(ids: Sequence[Sequence[int]], processor: Any) -> None:
    """Raise InputError if no row has a token that is neither special nor unknown."""
    special = set(processor.all_special_ids)
    if all(token in special for row in ids for token in row):
        raise InputError(f"all {len(ids)} texts are empty, or have only unknown tokens; expected text of its language")


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one padded batch: input_ids [batch, longest], attention_mask, (token_type_ids), labels [batch]."""
    import torch

    return padded(examples, processor) | {"labels": torch.tensor([example["labels"] for example in examples])}


def padded(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return the inputs of examples, padded on the side that the model expects: [batch, longest] each."""
    rows = [{name: example[name] for name in INPUTS if name in example} for example in examples]
    return dict(processor.pad(rows, padding_side=side(processor), return_tensors="pt"))


def fixed(
    examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
) -> list[dict[str, "torch.Tensor"]]:
    """Return `count` batches of exactly [batch_size, sequence_length] of the examples' tokens, without labels."""
    import torch

    batches = packed(examples["input_ids"], processor, point, count, seed)
    if "token_type_ids" in examples.column_names:
        for batch in batches:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    return batches


def chooses_one(config: Mapping[str, Any]) -> bool:
    """Return whether a head with these settings chooses one of several classes."""
    several = len(config.get("id2label") or (0, 1)) > 1
    return several and config.get("problem_type") in (None, "single_label_classification")


TASK = Task(
    name="text-classification",
    auto_model="AutoModelForSequenceClassification",
    auto_processor="AutoTokenizer",
    architectures=("ForSequenceClassification",),
    pipeline_tag="text-classification",
    columns=(TEXT, TEXT_PAIR, LABEL),
    metric="accuracy",
    sample_outcomes=classes.SAMPLE_OUTCOMES,
    headline=OperatingPoint(batch_size=8, sequence_length=64),
    first_recipe="bert_int8",
    call='model(**processor(["a text"], return_tensors="pt"))',
    load_processor=load_processor,
    check=check,
    prepare=prepare,
    collate=collate,
    fixed=fixed,
    fits=chooses_one,
    outcomes=classes.outcomes,
    losses=classes.cross_entropy,
    lengths=texts.lengths,
    made_up=texts.made_up,
    pads_fixed=True,
    natural=True,
)
