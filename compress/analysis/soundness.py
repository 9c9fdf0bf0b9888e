"""Soundness of a reference: nothing can be judged against a model that guesses.

These are pure functions over results and need no torch.
"""

from compress.records.result import UNITS, Accuracy
from compress.records.stats import Estimate

FLOORS = {
    "spearman": "a random score",
    "pearson": "a random score",
    "mse": "always answering the mean score",
    "mrr": "a random order",
    **dict.fromkeys(("ndcg_at_10", "recall_at_10", "recall_at_100"), "a random order"),
    "accuracy": "always answering the majority class",
    "entity_f1": "naming no entity",
    **dict.fromkeys(("bleu", "chrf", "rouge_1", "rouge_2", "rouge_l"), "copying the source"),
    **dict.fromkeys(("wer", "cer"), "writing nothing"),
    "map": "finding no object",
    "mean_iou": "always answering the most frequent class",
    "token_accuracy": "always answering the most frequent tag",
}
"""Metric -> the model that has learned nothing, if it has a name."""
ANSWERS = {
    "greedy decoding": "always answering the most frequent continuation",
    "log-likelihood": "always answering the most frequent position",
    "lm_eval ": "always giving the most frequent answer",
}
"""Beginning of an accuracy's variant -> the same, for tasks whose answers are no classes."""


def unsound_reference(accuracy: Accuracy, name: str) -> str | None:
    """Return why a reference does not do the task itself, or None if it does.

    It must be better than chance beyond noise: the 95 % interval of its paired difference to the best constant answer
    must show an improvement. Very small test splits cannot show that. The worse end of its own interval (or the value,
    without an interval) must beat `chance` in three cases: perplexity, results of older versions, and a difference that
    is the same on every resample. A user's own metric is not checked, because its chance level is unknown.
    """
    if not accuracy.finite:
        return f"the outputs of {name} are not finite"
    if not accuracy.known:
        reason = accuracy.reasons.get("estimate", "it is not a finite number")
        return f"{accuracy.metric} of {name} is unknown: {reason}"
    chance, estimate = accuracy.chance, accuracy.estimate
    if chance is None or accuracy.metric not in UNITS:
        return None
    margin = accuracy.over_chance
    if margin is not None and not accuracy.higher_is_better:
        margin = Estimate(-margin.value, -margin.high, -margin.low, margin.n)
    if margin is not None and margin.value > 0 and margin.low <= 0 and "over_chance" in accuracy.reasons:
        return (
            f"the test split cannot show that {name} is better than chance at this task: "
            f"{accuracy.reasons['over_chance']}"
        )
    worst = (estimate.low if accuracy.higher_is_better else estimate.high) if estimate.bounded else estimate.value
    better = worst > chance if accuracy.higher_is_better else worst < chance
    if margin.low > 0 if margin is not None and margin.bounded else better:
        return None
    interval = f" ({estimate.low:.3f} to {estimate.high:.3f})" if estimate.bounded else ""
    return (
        f"{name} is not measurably better than chance at this task: {accuracy.metric} {estimate.value:.3f}{interval}, "
        f"where {floor_words(accuracy, chance)}"
    )


def floor_words(accuracy: Accuracy, chance: float) -> str:
    """Return the metric of a model that has learned nothing, as half a sentence."""
    metric, variant = accuracy.metric, accuracy.variant or ""
    if metric == "perplexity":
        return f"a uniform guess over the vocabulary gives {chance:,.0f}"
    own = next((words for start, words in ANSWERS.items() if metric == "accuracy" and variant.startswith(start)), None)
    return f"{own or FLOORS.get(metric, 'the best constant answer')} gives {chance:.3f}"
