"""A workload: the model, the data, the metric, the operating points.

A workload is a YAML file. Its model and data are hub ids, folders and files, or `offline:NAME`, which is made on this
machine from parts of every Python installation (see `offline`) and then used like any other folder.
"""

import codecs
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

import recipes
from compress.base.config import NAME, Config, InputError, check_name, did_you_mean, parse_yaml, read_text, validate
from compress.base.reading import exists, resolved, shortened

if TYPE_CHECKING:
    pass


SHIPPED = recipes.FOLDER / "workloads"


OFFLINE = "offline:"


MOST_TOKENS = 10_000_000


MOST_EXAMPLES = 1_000_000


TaskName = Literal["text-classification", "image-classification", "causal-lm"]


class OperatingPoint(Config):
    """Batch size x sequence length."""

    batch_size: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)]
    """Examples per batch."""
    sequence_length: Annotated[int, Field(ge=4, le=MOST_TOKENS)] | None = None
    """Tokens per example; none for images."""
    generate: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    """Language models: measure so many single-token steps after each text, over its cache; unset: the text itself."""


NOT_OF_FILES = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem")
"""Python's codecs between texts that no file is encoded in, or that exist on one system only."""


class Csv(Config):
    """How csv and tsv files are written: what is unset is detected from the whole file."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between two fields; detected among comma, semicolon, tab and vertical bar."""
    quoting: Literal["double", "backslash", "none"] | None = None
    """How a quote inside a quoted field is written: doubled or after a backslash; none: quotes are part of the text."""
    encoding: str | None = None
    """Encoding of the text, such as latin-1; detected: utf-8, and utf-16 or utf-32 with a byte order mark."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of files without a header; unset: the first line names them."""

    @field_validator("separator")
    @classmethod
    def _separator_separates(cls, value: str | None) -> str | None:
        if value is not None and value in '\r\n"\\':
            raise ValueError("expected one character that is neither a line end, a quote nor a backslash")
        return value

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                "a".encode(value)
                known = codecs.lookup(value).name not in NOT_OF_FILES
            except (LookupError, UnicodeError, ValueError, AttributeError):
                known = False
            if not known:
                raise ValueError("unknown encoding of files; expected a name such as utf-8, utf-16, latin-1, cp1252")
        return value


def _unset(value: object) -> bool:
    """Whether a field is left out of what is stored: digests stay those of versions that did not know it."""
    return value is None


class Dataset(Config):
    """Where examples are and which columns hold what."""

    path: Annotated[str, Field(min_length=1)]
    """Hub id, a folder or a file (parquet, csv, tsv, jsonl, json, txt, also gzipped), or offline:NAME."""
    name: str | None = None
    """Configuration of a hub data set."""
    revision: str | None = None
    """Commit of a hub data set."""
    train: str | None = "train"
    """Split, or file in the folder or of the hub's repository, that steps may calibrate and train on."""
    test: str = "test"
    """Split, or file in the folder or of the hub's repository, that everything is judged on."""
    text: str = "text"
    """Column of the text."""
    text_pair: str | None = None
    """Column of the second text of a pair."""
    label: str = "label"
    """Column of the class: a number, or a name that the model's configuration lists."""
    labels: Literal["ids", "names"] | None = Field(default=None, exclude_if=_unset)
    """Whether numbers in the label column are the model's class ids or its class names; needed where both fit."""
    image: str = "image"
    """Column of the image, or of its file name; `file_name` is taken where a table has no such column."""
    csv: Csv | None = Field(default=None, exclude_if=_unset)
    """How csv and tsv files are written; unset: detected."""

    @field_validator("train", "test")
    @classmethod
    def _split_is_a_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and (problem := split_name_problem(value)):
            raise ValueError(f"{problem}{'; no train split is written null' if info.field_name == 'train' else ''}")
        return value

    @model_validator(mode="after")
    def _nothing_is_judged_on_its_own_training_data(self) -> "Dataset":
        if self.train is not None and self.train == self.test:
            raise ValueError(f"train and test are the same split {self.test!r}; expected two, or train: null")
        return self


def split_name_problem(name: str) -> str | None:
    """Return why a split's name can be none, or None: it stays inside the data's folder."""
    if not name.strip() or name != name.strip() or not name.isprintable():
        return "expected the name of a split or of a file, without spaces around it"
    if name.startswith(("/", "~")) or "\\" in name or {".", "..", ""} & set(name.removesuffix("/").split("/")):
        return "expected the name of a split, or the path of a file relative to the data's folder"
    if "**" in name or (set(name) & set("*?") and not Path(name).suffix):  # `data/test-*.parquet` of a hub repository
        return "expected the name of one split or of one file, not a pattern"
    return None


class Workload(Config):
    """What model, on what data, judged by what metric, at which operating points."""

    name: str = "workload"
    """Name of the results' folder; the file's name when loaded from one."""
    task: TaskName
    """What the model does."""
    model: Annotated[str, Field(min_length=1)]
    """Hub id or folder of a saved transformers model, or offline:NAME."""
    revision: str | None = None
    """Commit of a hub model."""
    dataset: Dataset
    """Where examples are."""
    metric: str = ""
    """accuracy, f1, matthews_correlation, perplexity, or the path of a metric module; unset takes the task's own."""
    max_length: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = 128
    """Longest input in tokens; texts are cut there, language modelling uses blocks of it."""
    headline: OperatingPoint | None = None
    """The operating point that verdicts speak of; batch 8, length 64 (or max_length) when unset."""
    points: tuple[OperatingPoint, ...] = ()
    """Further operating points."""
    trust_remote_code: bool = False
    """Run code that comes with a hub model: only when you have read it."""

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        return check_name(value, "workload")

    @model_validator(mode="after")
    def _points_fit(self) -> "Workload":
        if self.task == "image-classification":
            return self
        for point in (*((self.headline,) if self.headline else ()), *self.points):
            if point.generate is not None and self.task != "causal-lm":
                raise ValueError(f"generate {point.generate}: only language models (causal-lm) generate")
            if point.generate is not None and point is self.headline:
                raise ValueError("headline generate: kernels and memory are seen in a forward pass; put it into points")
            if point.sequence_length is not None and point.sequence_length > self.max_length:
                raise ValueError(f"sequence_length {point.sequence_length} is over max_length {self.max_length}")
        return self

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Workload":
        """The workload of this name or file; folders in a file are relative to it."""
        path = find(str(name_or_path))
        data, source = parse_yaml(read_text(path, "workload"), str(path))
        workload = validate(cls, {"name": path.stem, **data}, source)
        dataset = workload.dataset.model_copy(update={"path": _beside(workload.dataset.path, path.parent)})
        return workload.model_copy(
            update={
                "model": _beside(workload.model, path.parent),
                "metric": _beside(workload.metric, path.parent) if workload.metric.endswith(".py") else workload.metric,
                "dataset": dataset,
            }
        )

    @property
    def headline_point(self) -> OperatingPoint:
        """The headline point with its default filled in."""
        if self.headline:
            return self.headline
        length = None if self.task == "image-classification" else min(64, self.max_length)
        return OperatingPoint(batch_size=8, sequence_length=length)

    @property
    def metric_name(self) -> str:
        """The metric with the task's default filled in."""
        return self.metric or ("perplexity" if self.task == "causal-lm" else "accuracy")


def _beside(value: str, folder: Path) -> str:
    """`value` made absolute when it names something beside the file; hub ids and absolute paths stay."""
    if not value or value.startswith(OFFLINE) or Path(value).is_absolute():
        return value
    beside = resolved(folder / value)
    if exists(beside) or value.startswith("."):
        return str(beside)
    return value


def names() -> list[str]:
    """Names of the shipped workloads."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find(name: str) -> Path:
    """The file of a workload given by path, or by the name of a shipped one."""
    path = Path(name)
    if exists(path) or path.suffix in (".yaml", ".yml") or "/" in name:
        return path
    shipped = SHIPPED / f"{name}.yaml"
    if not NAME.fullmatch(name) or not shipped.is_file():
        near = did_you_mean(name, names())
        raise InputError(
            f"{shortened(name)}: no such file and no shipped workload{near}; shipped are: {', '.join(names())}"
        )
    return shipped
