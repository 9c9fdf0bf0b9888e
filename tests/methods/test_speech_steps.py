"""Steps on small models of speech: what they leave answers and reloads equal, or is refused with the reason."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.data.tasks import task_of
from compress.methods import apply_step
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.spec.steps import Cast, Distill, LowRank, Prune, Quantize, Step
from tests import recordings
from tests.task_runs import bundled

TASK = task_of("automatic-speech-recognition")
KINDS = ("group", "whisper")


def bundle(kind: str) -> Bundle:
    rows = [recordings.row(recorded) for recorded, _ in recordings.texts(16, 7, kind=kind)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return bundled(recordings.untrained(kind), TASK, columns, recordings.processor(kind))


STEPS: dict[str, Step] = {
    "half precision": Cast(dtype="bf16"),
    "int8 weights": Quantize(bits=8, format="int8_weight", backend="torch", group_size=32),
    "int4 by gptq": Quantize(bits=4, rounding="gptq", group_size=32, backend="torch", calibration_examples=8),
    "int8 of torchao": Quantize(bits=8, backend="torchao", format="int8"),
    "masked": Prune(structure="unstructured", fraction=0.5, importance="wanda", calibration_examples=8),
    "narrower": Prune(structure="feed_forward", fraction=0.25, importance="magnitude"),
    "narrower by gradients": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "low rank": LowRank(parameters=0.6, weighting="whitened", calibration_examples=8),
    "student": Distill(max_steps=2, batch_size=8, precision="fp32"),
}


def logits(after: Any, batch: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = after(**{name: value for name, value in batch.items() if name != "labels"}).logits
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STEPS)
def test_steps_leave_a_model_that_answers_and_reloads_equal(name: str, kind: str, tmp_path: Path) -> None:
    before = bundle(kind)
    batch = TASK.collate([before.train_examples("it")[0]], before.processor)
    after = apply_step(before, STEPS[name])
    artifact.save(after, tmp_path / "artifact")
    loaded, processor, _ = artifact.load(tmp_path / "artifact")
    own = artifact.load(tmp_path / "artifact")[0] if name == "half precision" else after.model
    assert torch.equal(logits(loaded, batch), logits(own, batch))
    assert processor.input_name == before.processor.input_name
    if name.startswith("narrower"):
        outputs = ("fc2", "output_dense")
        widths = [module.in_features for path, module in loaded.named_modules() if path.endswith(outputs)]
        assert widths == [48] * (4 if kind == "whisper" else 2)


@pytest.mark.parametrize("structure", ["heads", "layers"])
def test_ctc_models_lose_heads_and_layers(structure: Any, tmp_path: Path) -> None:
    importance = {"layers": "influence", "heads": "magnitude"}[structure]
    after = apply_step(bundle("group"), Prune(structure=structure, fraction=0.5, importance=importance))  # type: ignore[arg-type]
    artifact.save(after, tmp_path / "artifact")
    loaded, _, _ = artifact.load(tmp_path / "artifact")
    layers = loaded.wav2vec2.encoder.layers
    assert len(layers) == (1 if structure == "layers" else 2)
    assert layers[0].attention.q_proj.out_features == (16 if structure == "heads" else 32)
    values = {"input_values": torch.randn(1, 4000, generator=torch.Generator().manual_seed(1))}
    assert torch.equal(logits(loaded, values), logits(after.model, values))


REFUSED: dict[str, tuple[str, Step, str]] = {
    "width of ctc": ("group", Prune(structure="hidden", fraction=0.5), "a convolution of positions reads the residual"),
    "layers compared": ("group", Distill(hidden_weight=1.0), "it reads sound, not tokens"),
    "heads of whisper": ("whisper", Prune(structure="heads", fraction=0.5), "encoder and its decoder would have to be"),
    "student of whisper": ("whisper", Distill(layers=(0,)), "encoder and its decoder would have to be cut apart"),
    "vocabulary": ("whisper", Prune(structure="vocabulary"), "prune vocabulary"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_steps_that_do_not_apply_are_refused_with_the_reason(name: str) -> None:
    kind, step, expected = REFUSED[name]
    with pytest.raises(InputError, match=expected):
        apply_step(bundle(kind), step)
