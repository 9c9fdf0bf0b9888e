"""Read the words of examples and their tags as ids of the model; a row that is not both is refused by its number.

Tags are names or ids, by the rules of `labels`: names decide if the data's order of tags is not the model's. Numbers
without names are ids of the model. They are refused if most words would then be of an entity, which `dataset.labels`
can overrule: the data has probably another order.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.bad_rows import BadRows, refuse, shown
from compress.data.dataset import Dataset
from compress.data.tasks import labels
from compress.data.tasks.class_names import class_names
from compress.data.tasks.entities import OUTSIDE
from compress.data.tasks.labels import Unmapped, require_column

if TYPE_CHECKING:
    import datasets

MOST_INSIDE = 2 / 3
"""Largest share of words with one tag other than O, where numbers without names are read as ids."""


@dataclass(frozen=True)
class Tagged:
    """Examples of words with a tag each."""

    words: list[list[str]]
    tags: list[list[int]]
    """The model's id of the tag of every word."""
    names: list[str]
    """Names of the model's tags by id; the data's, if the model has none."""
    note: str
    """Note for readers of the results on how ids were found; empty if there is none."""


def read(raw: "datasets.Dataset", spec: Dataset, config: Any) -> Tagged:
    """Return the words and tags of raw examples. Raises BadRows for rows that are no tagged words."""
    require_column(raw, spec.text, "text")
    require_column(raw, spec.label, "label")
    words, given = list(raw[spec.text]), list(raw[spec.label])
    own = getattr(getattr(raw.features[spec.label], "feature", None), "names", None)
    pairs = enumerate(zip(words, given, strict=True))
    refuse((row, why) for row, pair in pairs if (why := _problem(*pair, own)) is not None)
    flat = [tag for tags in given for tag in tags]
    try:
        found = labels.mapped(flat, own, spec.label, config, spec.labels)
    except Unmapped as error:
        raise BadRows((row, str(error)) for row, tags in enumerate(given) if error.label in _texts(tags, own)) from None
    names, ids = _names(config, own), iter(found.ids)
    unnamed = own is None and isinstance(flat[0], int)
    note = _read_as_ids(found.ids, names, spec) if unnamed else found.note
    return Tagged(words, [[next(ids) for _ in tags] for tags in given], names, note)


def _read_as_ids(ids: Sequence[int], names: Sequence[str], spec: Dataset) -> str:
    """Return a note on numbers that are read as ids. Raises InputError if these are probably not the model's."""
    tag, count = Counter(ids).most_common(1)[0]
    if spec.labels is None and OUTSIDE in names and names[tag] != OUTSIDE and count > MOST_INSIDE * len(ids):
        raise InputError(
            f"label column {spec.label!r}: its numbers have no names, and as ids of the model {count} of {len(ids)} "
            f"words are {names[tag]}; expected mostly {OUTSIDE}: write the names into the data, or set dataset.labels "
            "to ids if the order is the model's"
        )
    return f"the tags are numbers without names, read as ids of the model: most words, {tag}, are {names[tag]}"


def _texts(tags: Sequence[Any], own: Sequence[str] | None) -> set[str]:
    """Return the tags as texts: the data's names of ids, if it has them."""
    return {labels.text_of(tag if own is None else own[tag]) for tag in tags}


def _names(config: Any, own: Sequence[str] | None) -> list[str]:
    """Return the names of the model's tags; `own` are the data's. Raises InputError if two have the same name."""
    names = class_names(config)
    if own is not None and labels.Classes("", names).unnamed and len(own) == len(names):
        names = [str(name) for name in own]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(f"config.json id2label: {count} classes are called {name!r}; expected different names")
    return names


def _problem(words: Any, tags: Any, names: Sequence[str] | None) -> str | None:
    """Return why a row is no example, or None."""
    for what, values, kinds in (("tokens", words, str), ("tags", tags, str | int)):
        if not isinstance(values, list):
            return f"its {what} are {shown(values)}; expected a list, which csv and tsv cannot hold"
        if wrong := [each for each in values if not isinstance(each, kinds) or isinstance(each, bool)]:
            return f"its {what} contain {shown(wrong[0])}; expected {'words' if what == 'tokens' else 'names or ids'}"
    if not words:
        return "it has no tokens; expected at least one: remove the row"
    if len(words) != len(tags):
        return f"it has {len(words)} tokens, but {len(tags)} tags; expected one tag for each token"
    if lowest := min((tag for tag in tags if isinstance(tag, int) and tag < 0), default=None):
        return f"its tags contain {lowest}, as in hidden test sets; expected a split with tags"
    if names is not None and (highest := max(tags)) >= len(names):
        return f"its tags contain {highest}, but the data's metadata names {len(names)} tags; correct the metadata"
    return None
