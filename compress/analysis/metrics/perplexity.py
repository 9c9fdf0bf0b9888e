"""Perplexity per token: exp of the mean negative log likelihood over all predicted tokens of all blocks."""

import math
from typing import Any

import datasets
import evaluate

higher_is_better = False


class Perplexity(evaluate.Metric):
    """exp(sum of nll / sum of tokens); blocks count by their tokens."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="exp of the mean negative log likelihood per predicted token.",
            citation="",
            inputs_description="nll: nats per block; tokens: predicted tokens per block",
            features=datasets.Features({"nll": datasets.Value("float64"), "tokens": datasets.Value("float64")}),
        )

    def _compute(self, nll: Any, tokens: Any) -> dict[str, float]:
        mean = math.fsum(nll) / math.fsum(tokens)
        return {"perplexity": math.exp(mean) if mean < 700 else math.inf}  # exp(710) overflows a double
