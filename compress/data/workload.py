"""A workload: the model, the data, the metric, the operating points.

A workload is a YAML file. Its model and data are hub ids, folders and files, or `offline:NAME`. An offline workload is
built on this machine from parts of every Python installation (see `offline`), and then used like any other folder.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

import recipes
from compress.analysis.metrics import lm_eval_task
from compress.base.config import NAME, Config, InputError, check_name, suggestion_or_list, validate
from compress.base.reading import exists, resolved, shortened
from compress.base.yaml import parse_yaml, read_text
from compress.data.dataset import Dataset
from compress.data.generation import Generation
from compress.data.point import FEWEST_TOKENS, MOST_TOKENS, OperatingPoint
from compress.data.sentences.settings import Pooling
from compress.data.tasks import TASKS, names_where, task_of
from compress.data.tasks.name import TaskName
from compress.data.tasks.task import Normalization
from compress.records.fields import LARGE
from compress.spec.recipe import WORKLOAD_FIELDS, Recipe

SHIPPED = recipes.FOLDER / "workloads"
OFFLINE = "offline:"
OF_SOME_TASKS = (
    "windows",
    "stride",
    "normalization",
    "pooling",
    "normalize",
    "prompt",
    "generation",
    "bleu_tokenizer",
    "query_prompt",
    "document_prompt",
    "threshold",
    "classes",
    "templates",
    "doc_stride",
    "longest_answer",
    "null_threshold",
)
"""Settings of the scoring; each task lists its own (see `Task.settings`)."""


class Workload(Config):
    """The model, the data, the metric and the operating points."""

    several_lines = ("dataset.delimiter", "prompt", "query_prompt", "document_prompt")

    name: str = "workload"
    """Name of the results folder; the file's name when loaded from a file."""
    task: TaskName = Field(description=f"What the model does: {', '.join(TASKS)}.")
    model: Annotated[str, Field(min_length=1)]
    """Hub id or folder of a saved transformers model, or offline:NAME."""
    revision: str | None = None
    """Commit of a hub model."""
    dataset: Dataset
    """Location and columns of the examples."""
    metric: str = ""
    """accuracy, f1, matthews_correlation, perplexity, entity_f1, token_accuracy, spearman, pearson, mse, f1_micro,
    f1_macro, average_precision, mrr, ndcg_at_10, recall_at_10, recall_at_100, exact_match, bleu, chrf, rouge_1,
    rouge_2, rouge_l, lm_eval:TASK of lm-evaluation-harness, or the path of a metric module; unset: the task's own."""
    max_length: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = 128
    """Longest input in tokens: texts are truncated to it, and language modelling uses blocks of this length."""
    windows: Literal["blocks", "strided"] = Field(default="blocks", exclude_if=lambda value: value == "blocks")
    """Language modelling: windows of max_length tokens side by side, or overlapping ones that begin every `stride`
    tokens and score only the tokens that no earlier window scored. Training and calibration always use blocks."""
    stride: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """Tokens from the beginning of a strided window to that of the next."""
    normalization: Normalization = Field(default="characters", exclude_if=lambda value: value == "characters")
    """Multiple choice: length by which the log-likelihood of each choice is divided: characters, tokens or none."""
    pooling: Pooling | None = Field(default=None, exclude_if=lambda value: value is None)
    """Sentence similarity: the vector of a text, from those of its tokens. Only for plain encoders; folders of
    sentence-transformers state it."""
    normalize: bool | None = Field(default=None, exclude_if=lambda value: value is None)
    """Sentence similarity: whether a plain encoder's vectors are normalised; unset: they are not."""
    prompt: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Sentence similarity: text before every text, such as "query: "; unset: the default prompt of the model.
    Translation, summarization: text before every source, such as "summarize: "; unset: none."""
    generation: Generation = Field(default=Generation(), exclude_if=lambda value: value == Generation())
    """Translation, summarization: settings of the search for a text, in place of the model's own."""
    bleu_tokenizer: Literal["13a", "intl", "zh", "char", "none"] = Field(
        default="13a", exclude_if=lambda value: value == "13a"
    )
    """Translation, summarization: tokenizer of sacrebleu's BLEU; zh for Chinese, none for texts with spaces between all
    tokens."""
    query_prompt: str | None = Field(default=None, exclude_if=lambda value: value is None)
    document_prompt: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Retrieval: texts before queries, and before the texts that are searched; unset: those of the model."""
    for_training: bool = Field(default=False, exclude_if=lambda value: not value, json_schema_extra={"internal": True})
    """Whether the examples are those of training and calibration, which need no answers for some tasks."""
    classes: tuple[str, ...] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Zero-shot image classification: names of the classes, in the order of the data's numbers; unset: those of the
    data."""
    templates: tuple[str, ...] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Zero-shot image classification: texts of a class, with {} for its name, whose embeddings are averaged; unset:
    `a photo of a {}.`"""
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.5, exclude_if=lambda value: value == 0.5)
    """Multi-label classification: a label is predicted if its sigmoid is larger."""
    doc_stride: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """Question answering: tokens of a context that two neighbouring windows share; unset: a third of max_length."""
    longest_answer: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = Field(
        default=30, exclude_if=lambda value: value == 30
    )
    """Question answering: longest answer in tokens."""
    null_threshold: Annotated[float, Field(ge=-LARGE, le=LARGE)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """Question answering: no answer is given if its score exceeds the best answer's by more; unset: 0 if the split has
    questions without an answer, otherwise every question is answered."""
    headline: OperatingPoint | None = None
    """Operating point for verdicts; unset: batch 8, length 64 (384 for questions; max_length if shorter); for
    language models decode with batch 1 after 64 tokens."""
    points: tuple[OperatingPoint, ...] = ()
    """Further operating points. Text classification always measures a natural one: the first of these, or the default
    (the headline's batch size, texts as they come)."""
    mapped: tuple[OperatingPoint, ...] = Field(
        default=(), exclude_if=lambda value: not value, json_schema_extra={"internal": True}
    )
    """Points of `compress map`, measured after all others. They may be longer than max_length, since accuracy is not
    evaluated at them. A language model's are decode unless they state another phase."""
    trust_remote_code: bool = False
    """Run the code that a hub model contains; set it only after reading that code."""

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        return check_name(value, "workload")

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(value) < 2:
            raise ValueError(f"{len(value)} names; expected the names of two or more classes")
        if value is not None and not all(name.strip() for name in value):
            raise ValueError("an empty name; expected the name of every class, as a text names it")
        if value is not None and (twice := [name for name in value if value.count(name) > 1]):
            raise ValueError(f"{twice[0]!r} occurs twice; expected one name for each class")
        return value

    @field_validator("templates")
    @classmethod
    def _templates_take_a_name(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        if not value:
            raise ValueError('no templates; expected texts such as "a photo of a {}."')
        if lacking := [template for template in value if template.count("{}") != 1]:
            raise ValueError(f'{lacking[0]!r}: expected one {{}} for the class name, such as "a photo of a {{}}."')
        if twice := [template for template in value if value.count(template) > 1]:
            raise ValueError(f"{twice[0]!r} occurs twice; expected every template once")
        return value

    @model_validator(mode="after")
    def _points_fit(self) -> "Workload":
        task = task_of(self.task)
        own = (*((self.headline,) if self.headline else ()), *self.points)
        for point in (*own, *self.mapped):
            if point.phase is not None and not task.generates:
                raise ValueError(
                    f"phase {point.phase}: only language models ({names_where('continues')}) have phases, and "
                    f"encoder-decoders ({names_where('encodes')})"
                )
            if point.natural is not None and not task.natural:
                raise ValueError(
                    f"natural {point.natural}: only {names_where('natural')} has texts of their own lengths"
                )
            if point.natural is not None and point is self.headline:
                raise ValueError("headline natural: verdicts are for batches of one shape; put it into points")
            if point.phase == "prefill" and point is self.headline:
                raise ValueError("headline prefill: verdicts are for decode or generate; put it into points")
            if point.stop and point is self.headline:
                raise ValueError("headline stop: models stop after different numbers of tokens; put it into points")
            if task.has_lengths and (point.sequence_length or 0) > self.max_length and point in own:
                raise ValueError(f"sequence_length {point.sequence_length} is over max_length {self.max_length}")
        return self

    @model_validator(mode="after")
    def _scoring_fits(self) -> "Workload":
        for field in OF_SOME_TASKS:
            if field in self.model_fields_set and field not in task_of(self.task).settings:
                having = ", ".join(name for name in TASKS if field in task_of(name).settings)
                raise ValueError(f"{field} {getattr(self, field)}: {self.task} has no such setting; only {having}")
        if self.harness_task is not None and not task_of(self.task).continues:
            raise ValueError(f"metric {self.metric}: only language models ({names_where('continues')}) have such tasks")
        if self.windows == "strided" and self.stride is None:
            raise ValueError(f"windows strided: has no stride; set it, such as to {self.max_length // 2}")
        if self.windows == "blocks" and self.stride is not None:
            raise ValueError(f"stride {self.stride}: blocks lie side by side; set windows to strided, or drop stride")
        if self.stride is not None and self.stride >= self.max_length:
            raise ValueError(
                f"stride {self.stride}: max_length {self.max_length} is no longer, so windows would not overlap"
            )
        if self.doc_stride is not None and self.doc_stride > self.max_length // 2:
            raise ValueError(
                f"doc_stride {self.doc_stride}: windows of max_length {self.max_length} would mostly repeat each "
                f"other; expected at most half of it, {self.max_length // 2}"
            )
        return self

    @model_validator(mode="after")
    def _columns_have_one_role(self) -> "Workload":
        if self.dataset.label_columns is not None and not task_of(self.task).several_labels:
            having = names_where("several_labels")
            raise ValueError(f"dataset.label_columns: {self.task} has one label column; only {having} has several")
        if (self.dataset.corpus or self.dataset.qrels) and task_of(self.task).search is None:
            raise ValueError(f"dataset.corpus, dataset.qrels: {self.task} reads one table; only retrieval has several")
        fields: dict[str, str] = {}
        for column in task_of(self.task).columns:
            if (name := getattr(self.dataset, column.field)) is None:
                continue
            if column.field == "label" and self.dataset.label_columns:
                continue
            if name in fields:
                raise ValueError(
                    f"dataset.{fields[name]} and dataset.{column.field} are the same column {name!r}; expected two"
                )
            fields[name] = column.field
        return self

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Workload":
        """Return the workload of this name or file; paths in a file are relative to it."""
        path = find(str(name_or_path))
        data, source = parse_yaml(read_text(path, "workload"), str(path))
        if not WORKLOAD_FIELDS & data.keys() and data.keys() & (Recipe.model_fields.keys() - cls.model_fields.keys()):
            raise InputError(f"{path}: is a recipe; expected a workload; use: run {path} --workload WORKLOAD")
        workload = validate(cls, {"name": path.stem, **data}, source)
        dataset = workload.dataset.model_copy(update={"path": _locate(workload.dataset.path, path.parent)})
        return workload.model_copy(
            update={
                "model": _locate(workload.model, path.parent),
                "metric": _located_metric(workload.metric, path.parent),
                "dataset": dataset,
            }
        )

    @property
    def doc_stride_tokens(self) -> int:
        """The tokens of a context that two neighbouring windows share."""
        return self.max_length // 3 if self.doc_stride is None else self.doc_stride

    @property
    def of_training(self) -> "Workload":
        """The workload with the examples of training and calibration: strided windows would repeat their tokens."""
        return self.model_copy(update={"windows": "blocks", "stride": None, "for_training": True})

    @property
    def headline_point(self) -> OperatingPoint:
        """The headline point, or the task's default. A language model's is decode unless it states another phase."""
        task = task_of(self.task)
        if self.headline:
            return self.headline.in_phase("decode") if task.generates else self.headline
        default = task.headline
        if default.sequence_length is None:
            return default
        longest = max(FEWEST_TOKENS, self.max_length - (default.new_tokens or 0))
        return default.model_copy(update={"sequence_length": min(default.sequence_length, longest)})

    @property
    def further_points(self) -> tuple[OperatingPoint, ...]:
        """The further points. A language model's are prefill unless they state another phase."""
        return tuple(p.in_phase("prefill") for p in self.points) if task_of(self.task).generates else self.points

    @property
    def mapped_points(self) -> tuple[OperatingPoint, ...]:
        """The points of a map. A language model's are decode unless they state another phase."""
        return tuple(p.in_phase("decode") for p in self.mapped) if task_of(self.task).generates else self.mapped

    @property
    def prefill_point(self) -> OperatingPoint | None:
        """The point at which a language model's time to the first token is stated: the first prefill one.

        By default it reads the headline's context. None for other tasks.
        """
        if not task_of(self.task).generates:
            return None
        headline = self.headline_point
        default = headline.model_copy(update={"phase": "prefill", "new_tokens": None})
        return next((point for point in self.further_points if point.phase == "prefill"), default)

    @property
    def natural_point(self) -> OperatingPoint | None:
        """The point at which costs per example and per correct answer are stated: the first natural one.

        None for tasks whose headline point already has the examples' own shape, or that join texts.
        """
        if not task_of(self.task).natural:
            return None
        default = OperatingPoint(batch_size=self.headline_point.batch_size, natural="as_they_come")
        return next((point for point in self.points if point.natural is not None), default)

    def measured_points(self, which: Literal["headline", "all"], examples: int | None = None) -> list[OperatingPoint]:
        """Return the points to measure, each once: the headline, its companion, for `all` the further ones, the map's.

        The companion is the natural point of texts, and the prefill point of a language model.

        Batches of natural points have at most `examples`, the size of the test split. Equal points are then one.
        """
        companion = self.natural_point or self.prefill_point
        further = self.further_points if which == "all" else ()
        points = (self.headline_point, *([companion] if companion else []), *further, *self.mapped_points)
        return list(dict.fromkeys(point.fitted(examples) for point in points))

    @property
    def protocol(self) -> str:
        """How examples are scored, for readers of the metric; empty for a task with one way."""
        if asked := self.harness_task:
            return lm_eval_task.load(asked).protocol
        return task_of(self.task).protocol(self)

    @property
    def metric_source(self) -> str:
        """The metric as it is stated, or the task's default."""
        return self.metric or task_of(self.task).metric

    @property
    def metric_name(self) -> str:
        """The metric that is computed from per-example outcomes: tasks of lm-evaluation-harness have an accuracy."""
        return "accuracy" if self.harness_task else self.metric_source

    @property
    def harness_task(self) -> lm_eval_task.Asked | None:
        """The task of lm-evaluation-harness that judges the model; None if the workload's own test split does."""
        return lm_eval_task.parse(self.metric)


def _locate(value: str, folder: Path) -> str:
    """Return `value` as an absolute path if it exists in the file's folder; hub ids and absolute paths stay."""
    if not value or value.startswith(OFFLINE) or Path(value).is_absolute():
        return value
    path = resolved(folder / value)
    if exists(path) or value.startswith("."):
        return str(path)
    return value


def _located_metric(value: str, folder: Path) -> str:
    """Return a metric with the path of its file, or of the task file that it names, relative to the folder."""
    asked = lm_eval_task.parse(value)
    if asked is not None and asked.task.endswith((".yaml", ".yml")):
        located = _locate(asked.task, folder)
        return f"{lm_eval_task.PREFIX}{located}{f':{asked.metric}' if asked.metric else ''}"
    return _locate(value, folder) if value.endswith(".py") else value


def names() -> list[str]:
    """Return the names of the shipped workloads."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find(name: str) -> Path:
    """Return the file of a workload, given by path or by the name of a shipped workload."""
    path = Path(name)
    if name and (exists(path) or path.suffix in (".yaml", ".yml") or "/" in name):
        return path
    shipped = SHIPPED / f"{name}.yaml"
    if not NAME.fullmatch(name) or not shipped.is_file():
        raise InputError(
            f"{shortened(name) or repr(name)}: no such file and no shipped workload{suggestion_or_list(name, names())}"
        )
    return shipped
