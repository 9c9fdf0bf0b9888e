"""Artifacts: every form a model can take is saved after it was used, and reloaded in a fresh process, bit by bit."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import compress
from compress.base.config import InputError
from compress.base.device import Device
from compress.base.quiet import quiet_notices
from compress.methods import apply_step
from compress.model import artifact, runtimes
from compress.model.manifest import SCHEMA, sealed
from compress.spec.formats import ROWS, choose
from compress.spec.steps import Cast, Distill, LowRank, Prune, Quantize
from tests import made_models
from tests.helpers import ROOT
from tests.made_models import MODELS, bundle, inputs, trainable

TASKS = {
    "bert": "text-classification", "vit": "image-classification", "resnet": "image-classification",
    "llama": "causal-lm", "gpt2": "causal-lm",
}  # fmt: skip
MAKE = {**MODELS, "resnet": made_models.resnet}
INT8 = Quantize(bits=8)
STATIC8 = Quantize(bits=8, format="int8_static", calibration_examples=8)
AO8 = Quantize(bits=8, format="int8", backend="torchao")
SMOOTH: dict[str, Any] = {"scaling": "smoothquant", "calibration_examples": 8}
LLM8 = Quantize(bits=8, format="llm_int8")
NF4 = Quantize(bits=4, format="nf4", group_size=32)
FP4 = Quantize(bits=4, format="fp4", group_size=32)
QUANTO = Quantize(bits=4, format="int4", group_size=32)
HALF = Prune(structure="feed_forward", fraction=0.5)
HEADS = Prune(structure="heads", fraction=0.5)
STUDENT = Distill(keep_every=2, max_steps=2, batch_size=8)
GROUPED = LowRank(parameters=0.5, grouped=True)
RECOVER = Distill(max_steps=2, batch_size=8)

# case -> steps; the part before the colon is the model
CASES: dict[str, tuple[Any, ...]] = {
    "bert:dense": (),
    "bert:bf16": (Cast(),),
    "bert:feed_forward": (HALF,),
    "bert:heads": (HEADS,),
    "bert:layers": (Prune(structure="layers", importance="influence", fraction=0.5, calibration_examples=8),),
    "bert:feed_forward_global": (Prune(fraction=0.5, importance="obd", allocation="global", calibration_examples=8),),
    "bert:unstructured": (Prune(structure="unstructured", fraction=0.5),),
    "bert:lowrank": (LowRank(rank=8),),
    "bert:lowrank+llm_int8": (LowRank(rank=8), LLM8),
    "bert:grouped": (GROUPED,),
    "bert:grouped+llm_int8": (GROUPED, LLM8),
    "bert:grouped+openvino_int8": (GROUPED, STATIC8),
    "bert:grouped+distill": (GROUPED, RECOVER),
    "bert:grouped+layers": (GROUPED, Prune(structure="layers", importance="influence", fraction=0.5)),
    "llama:grouped+nf4": (GROUPED, NF4),
    "bert:onnxruntime_int8": (INT8,),
    "bert:openvino_int8": (STATIC8,),
    "bert:openvino_int8_weight": (Quantize(bits=8, format="int8_weight", backend="openvino"),),
    "bert:openvino_int4": (Quantize(bits=4, backend="openvino", group_size=32),),
    "bert:lowrank+openvino_int8": (LowRank(rank=8), STATIC8),
    "bert:torchao_int8": (AO8,),
    "bert:torchao_smoothquant": (Quantize(bits=8, backend="torchao", **SMOOTH),),
    "gpt2:torchao_smoothquant": (Quantize(bits=8, backend="torchao", **SMOOTH),),
    "bert:onnxruntime_smoothquant": (Quantize(bits=8, backend="onnxruntime", **SMOOTH),),
    "bert:fp8": (Quantize(bits=8, format="fp8"),),
    "bert:bf16+fp8": (Cast(), Quantize(bits=8, format="fp8")),
    "bert:llm_int8": (LLM8,),
    "bert:nf4": (NF4,),
    "bert:nf4_double": (Quantize(bits=4, format="nf4", group_size=32, double_quant=True),),
    "bert:fp4": (FP4,),
    "bert:bf16+nf4": (Cast(), NF4),
    "bert:int8_weight": (Quantize(bits=8, format="int8_weight", group_size=32),),
    "bert:int4_gptq": (Quantize(bits=4, rounding="gptq", group_size=32, calibration_examples=8),),
    "bert:bf16+int3_hqq": (Cast(), Quantize(bits=3, rounding="hqq", group_size=32)),
    "bert:heads+int4_awq": (HEADS, Quantize(bits=4, scaling="awq", group_size=32, calibration_examples=8)),
    "bert:feed_forward+lowrank+nf4": (HALF, LowRank(rank=8), Quantize(bits=4, format="nf4", group_size=256)),
    "llama:dense": (),
    "llama:bf16": (Cast(),),
    "llama:heads": (HEADS,),
    "llama:lowrank": (LowRank(rank=6),),
    "llama:onnxruntime_int8": (Quantize(bits=8, backend="onnxruntime"),),
    "llama:int8_and_integers": (INT8,),
    "llama:openvino_int8": (Quantize(bits=8, backend="openvino"),),
    "llama:torchao_int8": (AO8,),
    "llama:llm_int8": (LLM8,),
    "llama:nf4": (NF4,),
    "llama:int2_gptq_awq": (
        Quantize(bits=2, rounding="gptq", scaling="awq", group_size=32, calibration_examples=8, symmetric=True),
    ),
    "gpt2:dense": (),
    "gpt2:lowrank": (LowRank(rank=8),),
    "gpt2:torchao_int8": (AO8,),
    "gpt2:nf4": (NF4,),
    "llama:ternary": (Quantize(bits=2, format="ternary", group_size="row"),),
    "gpt2:binary": (Quantize(bits=1, group_size=32),),
    "gpt2:int3": (Quantize(bits=3, group_size=32),),
    "vit:dense": (),
    "vit:feed_forward": (HALF,),
    "vit:onnxruntime_int8": (INT8,),
    "vit:openvino_int8": (STATIC8,),
    "vit:torchao_int8": (AO8,),
    "vit:nf4": (NF4,),
    "bert:fp16": (Cast(dtype="fp16"),),
    "bert:hidden": (Prune(structure="hidden", fraction=0.25),),
    "bert:distill": (STUDENT,),
    "bert:heads+distill+onnxruntime_int8": (HEADS, RECOVER, INT8),
    "resnet:channels": (Prune(structure="channels", fraction=0.5),),
    "resnet:bf16": (Cast(),),
    "resnet:onnxruntime_static": (Quantize(bits=8, format="int8_static", backend="onnxruntime"),),
    "resnet:openvino_int8": (STATIC8,),
    "bert:onnxruntime_static": (Quantize(bits=8, format="int8_static", backend="onnxruntime"),),
}
PLAIN = [
    "bert:dense", "bert:bf16", "bert:feed_forward", "bert:unstructured", "llama:dense", "llama:bf16", "llama:heads",
    "gpt2:dense", "vit:dense", "vit:feed_forward", "bert:layers", "bert:fp16", "bert:distill", "resnet:bf16",
]  # fmt: skip

CHILD = """
import json, sys
import torch
from safetensors.torch import save_file
from compress.model import artifact
from tests.made_models import inputs
from types import SimpleNamespace
answers = {}
for name, path in json.loads(sys.argv[1]).items():
    model, _, manifest = artifact.load(path)
    main = "pixel_values" if manifest.task == "image-classification" else "input_ids"
    with torch.no_grad():
        answers[name] = model(**inputs(SimpleNamespace(main_input_name=main))).logits.contiguous()
save_file(answers, sys.argv[2])
"""


def compressed_bundle(case: str) -> Any:
    """The bundle of a case, its steps applied, finished, and used once."""
    name = case.partition(":")[0]
    start = replace(trainable(MAKE[name]()), runtime="eager" if "torchao" in case else "auto")
    for step in CASES[case]:
        start = apply_step(start, step)
    return runtimes.finish(start, start.runtime)


def answer(model: Any, name: str) -> torch.Tensor:
    """Logits of the made batch; a graph has no main_input_name."""
    with torch.no_grad():
        out: torch.Tensor = model(**inputs(MAKE[name]())).logits
    return out


def in_fresh_process(folders: dict[str, str], out: Path) -> dict[str, torch.Tensor]:
    """Answers of these artifacts in one process that knows only their folders, on as many threads as here.

    Sums over several threads are rounded otherwise.
    """
    command = [sys.executable, "-c", CHILD, json.dumps(folders), str(out)]
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300, env=threads)
    assert done.returncode == 0, done.stderr[-2000:]
    answers: dict[str, torch.Tensor] = load_file(out)
    return answers


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Case -> (answer before saving, answer in a fresh process, folder); an exception where it could not be made."""
    folder = tmp_path_factory.mktemp("artifacts")
    before: dict[str, Any] = {}
    folders: dict[str, str] = {}
    for case in CASES:
        try:
            one = compressed_bundle(case)
            before[case] = answer(one.model, case.partition(":")[0])  # a forward pass before saving
            path = folder / case.replace(":", "-")
            artifact.save(one, path, {"note": case})
            folders[case] = str(path)
        except Exception as error:  # noqa: BLE001  (each case reports its own)
            before[case] = error
    after = in_fresh_process(folders, folder / "answers.safetensors")
    return {case: (before[case], after.get(case), folders.get(case)) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_a_used_model_answers_bit_by_bit_the_same_after_reloading_in_a_fresh_process(
    case: str, reloaded: dict[str, Any]
) -> None:
    before, after, _ = reloaded[case]
    if isinstance(before, Exception):
        raise before
    assert torch.isfinite(before).all()
    assert torch.equal(before, after), f"differs by {(before - after).abs().max()}"


@pytest.mark.parametrize("case", CASES)
def test_plain_folders_load_with_from_pretrained_and_others_refuse_loudly(case: str, reloaded: dict[str, Any]) -> None:
    before, _, folder = reloaded[case]
    auto = getattr(transformers, artifact.auto_class(TASKS[case.partition(":")[0]]).__name__)
    assert artifact.verify(Path(folder)).plain == (case in PLAIN)
    if case not in PLAIN:
        with pytest.raises(OSError, match="no file named"):
            auto.from_pretrained(folder)
        return
    model = auto.from_pretrained(folder).eval()
    batch = inputs(MAKE[case.partition(":")[0]]())
    if "pixel_values" in batch:  # transformers' own classes take pixels in the type of the weights, as cards state
        batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
    with torch.no_grad():
        assert torch.equal(before, model(**batch).logits)


def test_the_cases_cover_every_format_and_backend_on_cpu() -> None:
    steps = [step for steps in (*CASES.values(), (QUANTO,)) for step in steps if isinstance(step, Quantize)]
    asked = [(s.bits, s.wanted_format, s.wanted_backend) for s in steps]
    rows = [choose(bits=b, format=f, backend=w, runtime="auto", device="cpu") for b, f, w in asked]
    covered = {(row.format, row.backend) for row in rows}
    assert covered == {(row.format, row.backend) for row in ROWS if row.device == "cpu"}


@pytest.mark.long
@pytest.mark.parametrize("name", ["bert", "llama", "vit"])
def test_quanto_int4_answers_the_same_after_reloading_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    one = apply_step(bundle(MODELS[name](), task=TASKS[name], processor=None), QUANTO)
    before = answer(one.model, name)
    artifact.save(one, tmp_path / "a")
    after = in_fresh_process({name: str(tmp_path / "a")}, tmp_path / "answers.safetensors")
    assert torch.equal(before, after[name])


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "compress.safetensors", -3),
        lambda folder: (folder / "config.json", 20),
        lambda folder: (folder / "manifest.json", 100),
    ],
    ids=["weights", "config", "manifest"],
)
def test_a_flipped_byte_is_refused_with_the_name_of_the_file(
    change: Callable[[Path], tuple[Path, int]], tmp_path: Path
) -> None:
    artifact.save(apply_step(bundle(made_models.bert()), LowRank(rank=8)), tmp_path / "a")
    file, offset = change(tmp_path / "a")
    data = bytearray(file.read_bytes())
    data[offset] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(InputError, match=file.name):
        artifact.load(tmp_path / "a")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    artifact.save(bundle(made_models.bert()), tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: missing"):
        artifact.load(tmp_path / "a")


def test_foreign_folders_files_and_nothing_are_refused(tmp_path: Path) -> None:
    made_models.bert().save_pretrained(tmp_path / "plain")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        artifact.load(tmp_path / "plain")
    with pytest.raises(InputError, match="no such folder"):
        artifact.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="no such folder"):
        artifact.load(tmp_path / "file")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    artifact.save(bundle(made_models.bert()), tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    (tmp_path / "a" / "manifest.json").write_text(json.dumps({**manifest, "schema": SCHEMA + 1}))
    with pytest.raises(InputError, match="update compress"):
        artifact.load(tmp_path / "a")


def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    artifact.save(bundle(made_models.bert()), tmp_path / "a")
    plain = json.loads((tmp_path / "a" / "manifest.json").read_text())
    plain.pop("sha256")
    plain["files"]["../secret"] = "0" * 64
    (tmp_path / "a" / "manifest.json").write_text(sealed(plain))
    with pytest.raises(InputError, match="outside the folder"):
        artifact.load(tmp_path / "a")


def test_saving_replaces_an_artifact_but_never_something_else(tmp_path: Path) -> None:
    artifact.save(bundle(made_models.bert()), tmp_path / "a", {"run": 1})
    artifact.save(bundle(made_models.bert()), tmp_path / "a", {"run": 2})
    assert artifact.verify(tmp_path / "a").extra == {"run": 2}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not overwritten"):
        artifact.save(bundle(made_models.bert()), tmp_path / "mine")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_save_that_fails_leaves_the_artifact_that_was_there(tmp_path: Path) -> None:
    class Full:
        def save_pretrained(self, folder: Path) -> None:
            raise OSError(28, "No space left on device")

    artifact.save(bundle(made_models.bert()), tmp_path / "a", {"run": 1})
    with pytest.raises(InputError, match="No space left on device"):
        artifact.save(replace(bundle(made_models.bert()), processor=Full()), tmp_path / "a", {"run": 2})
    assert artifact.verify(tmp_path / "a").extra == {"run": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_artifact_holds_no_pickle(reloaded: dict[str, Any]) -> None:
    for _, _, folder in reloaded.values():
        for file in (path for path in Path(folder).rglob("*") if path.is_file()):
            start = file.read_bytes()[:9]
            # .bin beside .xml is OpenVINO's, raw weights; pytorch_model.bin would be a pickle, whose first bytes tell
            assert file.suffix in (".json", ".safetensors", ".onnx", ".xml", ".bin"), file
            assert file.suffix != ".bin" or file.with_suffix(".xml").is_file(), file
            if file.suffix == ".safetensors":  # 8 bytes of length, then JSON
                assert start[8:] == b"{", file
            else:
                assert not start.startswith((b"PK", b"\x80")), file


def test_tied_embeddings_stay_tied_and_are_stored_once(tmp_path: Path) -> None:
    one = apply_step(bundle(made_models.llama(), task="causal-lm"), LowRank(rank=6))
    artifact.save(one, tmp_path / "a")
    assert "lm_head.weight" not in load_file(tmp_path / "a" / "compress.safetensors")
    model, _, _ = artifact.load(tmp_path / "a")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_sizes_beside_the_weights_follow_them(tmp_path: Path) -> None:
    one = apply_step(bundle(made_models.bert()), HEADS)
    artifact.save(one, tmp_path / "a")
    model, _, manifest = artifact.load(tmp_path / "a")
    assert not manifest.plain
    query = model.bert.encoder.layer[0].attention.self.query
    assert (query.out_features, query.in_features) == tuple(query.weight.shape) == (16, 32)


def test_a_tensor_that_is_missing_or_too_many_is_an_error(tmp_path: Path) -> None:
    one = apply_step(bundle(made_models.bert()), LowRank(rank=8))
    artifact.save(one, tmp_path / "a")
    tensors = load_file(tmp_path / "a" / "compress.safetensors")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "a")
    for change, message in (
        ({"classifier.weight": None}, "lacks 1"),
        ({"extra.weight": torch.ones(1)}, "does not have"),
    ):
        changed = {**tensors, **change}
        found = artifact.Contents({k: v for k, v in changed.items() if v is not None}, {}, {})
        with pytest.raises(InputError, match=message):
            artifact.fill(artifact.empty_model(config, "text-classification"), one.layers, found, torch.device("cpu"))


def test_an_artifact_is_loaded_on_one_device(tmp_path: Path) -> None:
    artifact.save(bundle(made_models.bert()), tmp_path / "a")
    with pytest.raises(InputError, match="an artifact is loaded on one device, such as cuda:0; got cuda:0,cuda:1"):
        artifact.load(tmp_path / "a", Device("cuda", (0, 1)))
    for text in ("tpu", "cuda:99"):
        with pytest.raises(InputError, match=f"device '?{text}"):
            compress.load(tmp_path / "a", device=text)


def test_an_artifact_of_another_device_is_refused(tmp_path: Path) -> None:
    one = apply_step(bundle(made_models.bert()), NF4)
    artifact.save(one, tmp_path / "a")
    file = tmp_path / "a" / "manifest.json"
    plain = json.loads(file.read_text())
    del plain["sha256"]
    for entry in plain["layers"].values():
        if "format" in entry:
            entry.update(format="int4", backend="torchao")
    file.write_text(sealed(plain))
    with pytest.raises(InputError, match="int4 through torchao does not exist on cpu"):
        artifact.load(tmp_path / "a")


@pytest.mark.parametrize("case", ["bert:dense", "bert:nf4", "bert:onnxruntime_int8", "bert:lowrank"])
def test_loaded_models_answer_in_a_transformers_pipeline(
    case: str, reloaded: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    model, tokens, _ = artifact.load(Path(reloaded[case][2]))
    quiet_notices()
    logging.getLogger("transformers").addHandler(caplog.handler)
    classify = transformers.pipeline("text-classification", model=model, tokenizer=tokens)
    logging.getLogger("transformers").removeHandler(caplog.handler)
    assert "is not supported" not in caplog.text
    texts = ["the film was great", "a very dull story and a cold end"]
    said = classify(texts, batch_size=2)
    with torch.no_grad():
        scores = model(**tokens(texts, padding=True, return_tensors="pt")).logits.softmax(-1).max(-1).values
    assert [round(s["score"], 4) for s in said] == [round(float(s), 4) for s in scores]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("step", [NF4, FP4, LLM8, AO8], ids=lambda s: s.format)
def test_on_cuda_a_used_model_answers_the_same_after_reloading(step: Quantize, tmp_path: Path) -> None:
    device = torch.device("cuda")
    one = bundle(made_models.bert().to(device).to(torch.bfloat16), device=device, runtime="eager")
    one = apply_step(one, step)
    batch = {key: value.to(device) for key, value in inputs(made_models.bert()).items()}
    with torch.no_grad():
        before = one.model(**batch).logits
        artifact.save(one, tmp_path / "a")
        model, _, _ = artifact.load(tmp_path / "a", device=Device("cuda"))
        assert torch.equal(before, model(**batch).logits)
