"""Rows of a file in SQuAD's own layout: articles of paragraphs of questions, as one row per question.

{"version": "v2.0", "data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [
    {"id": ..., "question": ..., "answers": [{"text": ..., "answer_start": ...}], "is_impossible": false}]}]}]}
"""

from collections.abc import Iterator, Mapping
from typing import Any

from compress.data.formats.text_files import Malformed

Row = Mapping[str, Any]
LAYOUT = "expected data: [{title, paragraphs: [{context, qas: [{id, question, answers}]}]}], as in SQuAD"


def is_nested(content: Mapping[str, Any]) -> bool:
    """Return whether an object has the layout: a list `data` whose first article has paragraphs."""
    articles = content.get("data")
    first = articles[0] if isinstance(articles, list) and articles else None
    return isinstance(first, dict) and "paragraphs" in first


def rows(content: Mapping[str, Any]) -> list[Row]:
    """Return one row per question. Raises Malformed for a part of another form."""
    return [row for number, article in enumerate(content["data"], 1) for row in _of_article(article, number)]


def _of_article(article: Any, number: int) -> Iterator[Row]:
    title = _object(article, number, "article").get("title")
    for paragraph in _list(article, "paragraphs", number):
        context = _object(paragraph, number, "a paragraph of article").get("context")
        for asked in _list(paragraph, "qas", number):
            answers = _object(asked, number, "a question of article").get("answers")
            yield {
                "id": None if asked.get("id") is None else str(asked["id"]),
                "title": title,
                "context": context,
                "question": asked.get("question"),
                "answers": [] if asked.get("is_impossible") is True else answers,
            }


def _object(value: Any, number: int, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{what} {number}: a {type(value).__name__}; {LAYOUT}")
    return value


def _list(owner: Mapping[str, Any], name: str, number: int) -> list[Any]:
    found = owner.get(name)
    if not isinstance(found, list):
        kind = "missing" if found is None else f"a {type(found).__name__}"
        raise Malformed(f"article {number}: its {name} are {kind}; {LAYOUT}")
    return found
