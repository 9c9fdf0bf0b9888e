"""Whether a reference does its task at all: nothing can be judged against a model that guesses.

Pure functions over results: no torch.
"""

from compress.records.result import UNITS, Accuracy


def unsound_reference(accuracy: Accuracy, name: str) -> str | None:
    """Why a reference does not do the task itself, so that nothing can be judged against it; None where it does.

    It must be better than chance beyond noise: the worse end of its 95 % interval (where there is one, else the
    value) must beat the majority class, or for perplexity a uniform guess. Nothing is known of a user's own metric.
    """
    if not accuracy.finite:
        return f"the outputs of {name} are not finite"
    if not accuracy.known:
        why = accuracy.reasons.get("estimate", "it is not a finite number")
        return f"{accuracy.metric} of {name} is unknown: {why}"
    chance, found = accuracy.chance, accuracy.estimate
    if chance is None or accuracy.metric not in UNITS:
        return None
    worst = (found.low if accuracy.higher_is_better else found.high) if found.bounded else found.value
    if worst > chance if accuracy.higher_is_better else worst < chance:
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
    return f"always answering the majority class gives {chance:.3f}"
