"""A model that diverged or guesses is met before anything is measured against it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compress import apply
from compress.analysis.accuracy import Evaluation, check_reference
from compress.analysis.soundness import floor_words
from compress.base.config import InputError
from compress.data import locate
from compress.data.dataset import Dataset
from compress.data.finite import check_weights
from compress.data.workload import Workload
from compress.harness import preflight
from compress.harness.transform import open_bundle
from compress.spec.recipe import Recipe
from compress.spec.steps import Prune
from tests import factory
from tests.helpers import bert, tokenizer, write_workload

QUERY = "bert.encoder.layer.0.attention.self.query.weight"


def diverged_model(value: float) -> Any:
    model = bert()
    with torch.no_grad():
        model.get_parameter(QUERY)[1, 2] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_an_error_before_anything_is_loaded(tmp_path: Path, value: float) -> None:
    found = locate.resolve(Workload.load(str(write_workload(tmp_path, diverged_model(value)))))
    recipe = Recipe(name="sparse", steps=(Prune(structure="unstructured", fraction=0.5),))
    told = f"my model .*: {QUERY} hold values that are not finite .* expected finite weights"
    with pytest.raises(InputError, match=told):
        preflight.check([recipe], found)
    with pytest.raises(InputError, match=told):
        open_bundle(recipe, found, torch.device("cpu"), None)
    with pytest.raises(InputError, match=QUERY):
        apply(recipe, diverged_model(value), tokenizer())


def test_every_tensor_that_is_not_finite_is_counted_and_masks_of_integers_are_none() -> None:
    bad = torch.tensor([1.0, float("nan")])
    tensors = [("a", torch.ones(2, dtype=torch.int64)), ("b", bad), ("c", bad.bfloat16()), ("d", torch.empty(0))]
    with pytest.raises(InputError, match="m: b and 1 more tensors hold values"):
        check_weights("m", tensors)
    check_weights("m", [tensors[0], tensors[3], ("e", torch.ones(3).to(torch.float8_e4m3fn))])


def test_a_reference_without_finite_outputs_is_an_error_and_one_that_guesses_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = [0.0, 1.0] * 30
    for finite, predictions in ((False, [-1.0] * 60), (True, [0.0] * 60)):
        made = Evaluation({"prediction": predictions, "reference": labels}, finite, 32, outputs=2)
        if not finite:
            with pytest.raises(InputError, match="its outputs are not finite on this test split"):
                check_reference(made, "fp32 eager", "accuracy", 0, warn=True)
            continue
        check_reference(made, "fp32 eager", "accuracy", 0, warn=True)
        check_reference(made, "fp32 eager", "accuracy", 0, warn=True, protocol="greedy decoding gives the continuation")
    told = capsys.readouterr().err
    assert "WARNING: fp32 eager is not measurably better than chance at this task: accuracy 0.500" in told
    assert "where always answering the majority class gives 0.500" in told
    assert "where always answering the most frequent continuation gives 0.500" in told


def test_the_floor_of_choices_and_continuations_is_no_class() -> None:
    data = Dataset(path="data", train=None)
    choices, cloze = (Workload(task=task, model="m", dataset=data) for task in ("multiple-choice", "cloze"))
    for variant, words in (
        (cloze.protocol, "always answering the most frequent continuation gives 0.033"),
        (choices.protocol, "always answering the most frequent position gives 0.033"),
        ("lm_eval own, acc", "always giving the most frequent answer gives 0.033"),
        (None, "always answering the majority class gives 0.033"),
    ):
        assert words in floor_words(factory.accuracy(variant=variant), 0.033)
