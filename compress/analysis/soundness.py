"""Whether a reference does its task at all: nothing can be judged against a model that guesses.

Pure functions over results: no torch.
"""

from compress.records.result import UNITS, Accuracy


def unsound_reference(accuracy: Accuracy, name: str) -> str | None:
    """Why a reference does not do the task itself, so that nothing can be judged against it; None where it does.

    It must be better than chance beyond noise: the 95 % interval of its difference to the best constant answer, on the
    same examples, must lie above 0; very small test splits cannot show that. For perplexity, in results of older
    versions, and where that difference is the same on every resample, the worse end of its own interval (where there is
    one, else the value) must beat `chance`. Nothing is known of a user's own metric.
    """
    if not accuracy.finite:
        return f"the outputs of {name} are not finite"
    if not accuracy.known:
        why = accuracy.reasons.get("estimate", "it is not a finite number")
        return f"{accuracy.metric} of {name} is unknown: {why}"
    chance, found = accuracy.chance, accuracy.estimate
    if chance is None or accuracy.metric not in UNITS:
        return None
    over = accuracy.over_chance
    if over is not None and over.value > 0 and over.low <= 0 and "over_chance" in accuracy.reasons:
        return (
            f"the test split cannot show that {name} is better than chance at this task: "
            f"{accuracy.reasons['over_chance']}"
        )
    worst = (found.low if accuracy.higher_is_better else found.high) if found.bounded else found.value
    better = worst > chance if accuracy.higher_is_better else worst < chance
    if over.low > 0 if over is not None and over.bounded else better:
        return None
    interval = f" ({found.low:.3f} to {found.high:.3f})" if found.bounded else ""
    return (
        f"{name} is not measurably better than chance at this task: {accuracy.metric} {found.value:.3f}{interval}, "
        f"where {floor_words(accuracy.metric, chance)}"
    )


def floor_words(metric: str, chance: float) -> str:
    """What a model that has learned nothing gets."""
    if metric == "perplexity":
        return f"a uniform guess over the vocabulary gives {chance:,.0f}"
    if metric == "accuracy":
        return f"always answering the majority class gives {chance:.3f}"
    return f"the best constant answer gives {chance:.3f}"
