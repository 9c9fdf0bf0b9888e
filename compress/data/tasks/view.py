"""The part of a workload that tasks read."""

from typing import Literal, Protocol

from compress.data.dataset import Dataset
from compress.data.generation import Generation
from compress.data.point import OperatingPoint
from compress.data.sentences.settings import Stated

Normalization = Literal["characters", "tokens", "none"]
Normalizer = Literal["basic", "english", "none"]


class WorkloadView(Stated, Protocol):
    """The part of a workload that tasks use."""

    @property
    def dataset(self) -> Dataset:
        """Columns of the data."""

    @property
    def metric_name(self) -> str:
        """The metric that judges the model."""

    @property
    def max_length(self) -> int:
        """Longest input, in tokens."""

    @property
    def windows(self) -> Literal["blocks", "strided"]:
        """Windows in which language modelling scores a text."""

    @property
    def stride(self) -> int | None:
        """Tokens between two strided windows."""

    @property
    def normalization(self) -> Normalization:
        """Length by which log-likelihoods of choices are divided."""

    @property
    def for_training(self) -> bool:
        """Whether the examples are for training and calibration."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, if the data has none."""

    @property
    def templates(self) -> tuple[str, ...] | None:
        """Texts of a class, with {} for its name; None: the usual one."""

    @property
    def threshold(self) -> float:
        """Sigmoid above which a label is predicted."""

    @property
    def doc_stride_tokens(self) -> int:
        """Tokens of a context that neighbouring windows share."""

    @property
    def longest_answer(self) -> int:
        """Longest answer to a question, in tokens."""

    @property
    def generation(self) -> Generation:
        """Settings with which texts are generated."""

    @property
    def bleu_tokenizer(self) -> str:
        """Tokenizer of sacrebleu's BLEU."""

    @property
    def normalizer(self) -> Normalizer:
        """What makes transcripts comparable."""

    @property
    def language(self) -> str | None:
        """Language of speech."""

    @property
    def null_threshold(self) -> float | None:
        """Excess of the score of no answer from which none is given."""

    @property
    def headline_point(self) -> OperatingPoint:
        """Operating point for verdicts."""

    @property
    def further_points(self) -> tuple[OperatingPoint, ...]:
        """Further operating points."""

    @property
    def mapped_points(self) -> tuple[OperatingPoint, ...]:
        """Points of a map, which may be longer than max_length."""
