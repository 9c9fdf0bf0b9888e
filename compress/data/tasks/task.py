"""The declaration of a task: each task's file in this folder defines one `Task`, and `TASKS` lists it.

Everything that depends on the task is a field here; no other module compares task names. A task's file imports torch
and transformers only inside functions, since commands that read results need only a task's plain facts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.point import OperatingPoint
from compress.data.tasks import texts
from compress.data.tasks.columns import Column
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

Batch = Mapping[str, "torch.Tensor"]
Outcomes = Mapping[str, Sequence[float]]
USUAL_LENGTH = 128
IGNORED = -100
"""Label that losses ignore."""


def any_head(config: Mapping[str, Any]) -> bool:
    """Return True: any head of the task's model classes is one of the task."""
    return True


def same(examples: "datasets.Dataset") -> "datasets.Dataset":
    """Return the examples themselves: each is one row of a batch."""
    return examples


def final(outcomes: Outcomes, examples: "datasets.Dataset") -> Outcomes:
    """Return the outcomes of the rows themselves: they are those of the examples."""
    return outcomes


def by_name(task: "Task") -> Any:
    """Return the Auto class of transformers that the task names."""
    import transformers

    return getattr(transformers, task.auto_model)


def usable(model: Any) -> str:
    """Return an empty text: every model of the task's classes can be used."""
    return ""


def untouched(config: Any, folder: Path | None, workload: WorkloadView) -> None:
    """Leave a configuration as it is: it describes the model alone."""


def nothing_more(model: Any, folder: Path) -> None:
    """Write nothing beside a model: its own files are enough."""


def no_lines(folder: Path) -> list[str]:
    """Return no further lines: the task's workloads need no other fields."""
    return []


def unstated(folder: Path) -> int | None:
    """Return None: the longest input is stated by the model's configuration alone."""
    return None


def only_eager(task: "Task", config: Any) -> str:
    """Return why runtime eager alone executes a model of a task with this configuration; empty if others do."""
    writes = task.written_by is not None and task.written_by(config.to_dict())
    return task.eager_only or (task.eager_only_writing if writes else "")


def unnamed(workload: WorkloadView) -> str:
    """Return an empty name: the task has one way of scoring."""
    return ""


def unshifted(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return both unchanged: each row of logits predicts its own label."""
    return logits, labels


@dataclass(frozen=True)
class Table:
    """One of several tables of a split."""

    name: str
    """Its file, for errors."""
    rows: "datasets.Dataset"
    place: Callable[[int], str]
    """place(row): the place of a row in the file."""


@dataclass(frozen=True)
class Search:
    """How a task reads its test split from three tables: queries, the corpus, and judgements of their pairs."""

    judged: Callable[[Table, Table, WorkloadView], "datasets.Dataset"]
    """judged(queries, qrels, workload): the raw examples, one for each judged query."""
    prepare: Callable[["datasets.Dataset", Table, Any, WorkloadView, Any], "datasets.Dataset"]
    """prepare(queries, corpus, processor, workload, config): prepared examples, as those of `Task.prepare`."""
    fewer: Callable[["datasets.Dataset", int], "datasets.Dataset"]
    """fewer(examples, most): at most so many of the prepared texts, as a smaller search."""


@dataclass(frozen=True)
class Task:
    """The facts and the functions of one task."""

    name: str
    """Name in workloads and manifests."""
    auto_model: str
    """Name of the transformers Auto class of models."""
    auto_processor: str
    """Name of the transformers Auto class of tokenizers or image processors."""
    architectures: tuple[str, ...]
    """Name suffixes of model classes for this task."""
    pipeline_tag: str
    """Name of the task on the hub and in transformers' pipelines."""
    columns: tuple[Column, ...]
    """Columns of the data."""
    metric: str
    """Default metric of a workload."""
    sample_outcomes: Mapping[str, Sequence[float]]
    """Synthetic outcomes of a few examples; a metric fits the task if it is defined on them.

    They include the columns of one of the kinds in `trace_shape.OUTCOMES`, which readers of traces need."""
    headline: OperatingPoint
    """Default headline point of a workload; without a sequence_length, inputs have no length in tokens."""
    first_recipe: str
    """A shipped recipe for the first run."""
    call: str
    """Python that calls a loaded `model` with its `processor`, as an example."""

    load_processor: Callable[..., Any]
    """load_processor(location, **options): the tokenizer or image processor stored with a model."""
    check: Callable[[Any, Any, "datasets.Dataset", WorkloadView], list[str]]
    """check(model, processor, examples, workload): mismatches, one sentence each."""
    prepare: Callable[["datasets.Dataset", Any, WorkloadView, Any], "datasets.Dataset"]
    """prepare(raw, processor, workload, config): examples with normalised columns, model inputs included.

    Raises InputError on unusable columns."""
    collate: Callable[[Sequence[Mapping[str, Any]], Any], dict[str, "torch.Tensor"]]
    """collate(examples, processor): one batch, padded to its longest, with `labels`; the rest are a graph's inputs."""
    fixed: Callable[["datasets.Dataset", Any, OperatingPoint, int, int], list[dict[str, "torch.Tensor"]]]
    """fixed(examples, processor, point, count, seed): batches of exactly this shape of real data, without labels."""
    outcomes: Callable[["torch.Tensor", Batch], dict[str, list[Any]]]
    """outcomes(logits, batch): outcomes of every row of a batch; without `answers`, columns as in `sample_outcomes`."""
    losses: Callable[["torch.Tensor", "torch.Tensor"], tuple["torch.Tensor", "torch.Tensor"]]
    """losses(logits, labels): [examples] summed losses and [examples] counts of what they sum, float64."""
    lengths: Callable[["datasets.Dataset"], list[int]]
    """lengths(examples): the length of every example, for sorting."""
    made_up: Callable[[], "datasets.Dataset"]
    """made_up(): a few raw examples for checks of an exported graph, in the default columns."""
    fits: Callable[[Mapping[str, Any]], bool] = any_head
    """fits(config): whether a head with these settings of `config.json` is one of this task, not of another task with
    the same classes."""
    mapped_problems: Callable[[Any, WorkloadView], list[str]] = texts.mapped_problems
    """mapped_problems(model, workload): errors for points of a map beyond the positions of a model, or of its empty
    skeleton."""
    aligned: Callable[["torch.Tensor", "torch.Tensor"], tuple["torch.Tensor", "torch.Tensor"]] = unshifted
    """aligned(logits, labels): logits with the label that each predicts; `IGNORED` for no label."""
    prepare_like: Callable[["datasets.Dataset", Any, WorkloadView, Any, Any], "datasets.Dataset"] | None = None
    """prepare_like(raw, processor, workload, config, dense): the examples of `prepare` with the tokenizer `dense`, in
    the tokens of another one. Their scores can be compared: they are of the same text, by the dense model's tokens."""
    rows: Callable[["datasets.Dataset"], "datasets.Dataset"] = same
    """rows(examples): the rows that are evaluated, one or several per example."""
    answers: Callable[[Mapping[str, Sequence[Any]], "datasets.Dataset"], Outcomes] = final
    """answers(outcomes, examples): per-example outcomes from those of all rows, columns as in `sample_outcomes`."""
    soft_loss: Callable[["torch.Tensor", "torch.Tensor", float], "torch.Tensor"] | None = None
    """soft_loss(student, teacher, temperature): mean distance of logits for distillation, whose size does not depend on
    the temperature; None: the divergence of the softmax over the last dimension."""
    trains_by_losses: bool = False
    """Whether training takes the mean of `losses`, not the loss that the model computes from `labels`."""
    auto: Callable[["Task"], Any] = by_name
    """auto(task): the class whose from_pretrained and from_config make models, if not the Auto class of that name."""
    own_classes: bool = False
    """Whether models are of classes of this package, which plain transformers does not have."""
    configure: Callable[[Any, Path | None, WorkloadView], None] = untouched
    """configure(config, folder, workload): complete a configuration in place with files beside the weights.

    Raises InputError if these and the workload do not describe the model."""
    derive: Callable[[Path, str, WorkloadView, Callable[[Any], "datasets.Dataset"], str], Path] | None = None
    """derive(folder, place, workload, load, content): the folder of the model that is judged, made from the given one
    and the raw examples of a split, load(split). None: it is the given one. `place` names the model in errors. The name
    of a folder that was made is a digest of all that it depends on; `content` is that of the given one's files."""
    derive_like: Callable[[Path, str, Any], Path] | None = None
    """derive_like(folder, place, config): the same for a student, as the teacher's configuration states."""
    unusable: Callable[[Any], str] = usable
    """unusable(model): why a model in memory, of one of the task's classes, cannot be used; empty if it can."""
    write_beside: Callable[[Any, Path], None] = nothing_more
    """write_beside(model, folder): the files with which other libraries read a plain artifact of this model."""
    lines: Callable[[Path], list[str]] = no_lines
    """lines(folder): further lines of a workload file for the model in this folder."""
    longest: Callable[[Path], int | None] = unstated
    """longest(folder): the longest input in tokens that files beside the weights state."""
    writes: Callable[[Any, Batch, Any, Any], Mapping[str, list[Any]]] | None = None
    """writes(model, inputs, processor, output): further outcomes of every row, of the text that the model writes for
    it; None for a task that is judged by logits alone."""
    search: Search | None = None
    """How the test split is read from several tables; None for one table."""
    trains_on_rows: bool = False
    """Whether rows, not examples, are trained and calibrated on: an example of several texts is several rows."""
    learns_labels: bool = True
    """Whether `losses` teach a model its labels. If not, a student learns from its teacher alone, and `losses` are only
    for gradients."""
    settings: tuple[str, ...] = ()
    """Fields of a workload that only this task and its like have, of those in `scored.OF_SOME_TASKS`."""
    protocol: Callable[[WorkloadView], str] = unnamed
    """protocol(workload): how examples are scored, for readers of the metric; empty for a task with one way."""

    generates: bool = False
    """Whether operating points have a phase: decode for the headline, and prefill for others, unless stated."""
    encodes: bool = False
    """Whether models are encoder-decoders: a source is encoded once, and a target of another length decoded."""
    eager_only: str = ""
    """Why runtime eager alone executes models; empty if others do."""
    eager_only_writing: str = ""
    """The same for the models that write token by token, of a task with models that do and models that do not."""
    written_by: Callable[[Mapping[str, Any]], bool] | None = None
    """written_by(config): whether a model with these settings writes token by token, of a task with models that do and
    models that do not; None for a task of one kind."""
    writing_headline: OperatingPoint | None = None
    """Default headline point of the models that write token by token, if the task has others too."""
    alike: Callable[[Sequence[Mapping[str, Any]]], list[dict[str, Any]]] | None = None
    """alike(rows): the rows cut to one length, for a task whose judged batches hold rows of one length only, because
    padding would change answers; None for a task that pads them."""
    pads_fixed: bool = False
    """Whether a recipe may set `padding: fixed`: example batches are padded, and padding changes no output."""
    together: int = 32
    """Most examples that are evaluated in one batch; fewer for large pictures, whose activations fill the memory."""
    natural: bool = False
    """Whether examples differ in length, so that a natural operating point measures them as they are."""
    has_continuations: bool = False
    """Whether a row is a context and a continuation, with `dataset.delimiter` between them. Over max_length it loses
    its beginning, so `init` takes the length that the test split needs."""
    joins_rows: bool = False
    """Whether rows are joined and cut into examples, so that a limit counts examples, not rows."""
    per_token: bool = False
    """Whether an example has logits for each of its parts: [batch, length, outputs] of tokens, meaningless at padding,
    or those of pixels and boxes."""
    several_labels: bool = False
    """Whether an example has any number of labels, which may have a column each (`label_columns`)."""
    has_labels: bool = True
    """Whether the head has `num_labels` outputs, which a student must share with its teacher."""

    @property
    def reads_sound(self) -> bool:
        """Whether a column holds sound."""
        return any(column.kind == "audio" for column in self.columns)

    @property
    def continues(self) -> bool:
        """Whether models are language models that continue a text: their graphs keep a cache."""
        return self.generates and not self.encodes

    @property
    def has_lengths(self) -> bool:
        """Whether inputs have a length in tokens."""
        return self.headline.sequence_length is not None

    @property
    def usual_length(self) -> int:
        """Longest input of a workload that states none, in tokens."""
        return max(USUAL_LENGTH, self.headline.sequence_length or 0)

    @property
    def reads_images(self) -> bool:
        """Whether a column holds images."""
        return any(column.kind == "image" for column in self.columns)
