"""What a workload judges, and how: the model, the data, the metric, and the settings of single tasks.

Subject   model, data, metric, longest input      every task
Scored    windows, prompts, thresholds, ...       each only for the tasks that list it in `Task.settings`
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from compress.analysis.metrics import lm_eval_task
from compress.base.config import Config, check_name
from compress.data.dataset import Dataset
from compress.data.generation import Generation
from compress.data.point import MOST_TOKENS
from compress.data.sentences.settings import Pooling
from compress.data.tasks import TASKS, names_where, task_of
from compress.data.tasks.name import TaskName
from compress.data.tasks.view import Normalization, Normalizer
from compress.records.fields import LARGE


class Subject(Config):
    """The model, the data and the metric."""

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
    rouge_2, rouge_l, wer, cer, map, mean_iou, lm_eval:TASK of lm-evaluation-harness, or the path of a metric module;
    unset: the task's own."""
    max_length: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = 128
    """Longest input in tokens: texts are truncated to it, and language modelling uses blocks of this length."""

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        return check_name(value, "workload")

    @model_validator(mode="after")
    def _columns_have_one_role(self) -> Self:
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


class Scored(Subject):
    """A subject with the settings of its scoring."""

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
    """Translation, summarization, automatic speech recognition: settings of the search for a text, in place of the
    model's own."""
    bleu_tokenizer: Literal["13a", "intl", "zh", "char", "none"] = Field(
        default="13a", exclude_if=lambda value: value == "13a"
    )
    """Translation, summarization: tokenizer of sacrebleu's BLEU; zh for Chinese, none for texts with spaces between all
    tokens."""
    normalizer: Normalizer = Field(default="basic", exclude_if=lambda value: value == "basic")
    """Automatic speech recognition: how transcript and reference are made comparable. basic: lower case, without
    punctuation and text in brackets; english: also one form of numbers and contractions; none: as they are."""
    language: Annotated[str, Field(min_length=2, max_length=40)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """Automatic speech recognition: language of the speech, such as en; multilingual Whisper needs it."""
    query_prompt: str | None = Field(default=None, exclude_if=lambda value: value is None)
    document_prompt: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Retrieval: texts before queries, and before the texts that are searched; unset: those of the model."""
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
    def _scoring_fits(self) -> Self:
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

    @property
    def doc_stride_tokens(self) -> int:
        """The tokens of a context that two neighbouring windows share."""
        return self.max_length // 3 if self.doc_stride is None else self.doc_stride


OF_SOME_TASKS = tuple(name for name in Scored.model_fields if name not in Subject.model_fields)
"""Settings of the scoring; each task lists its own (see `Task.settings`)."""
