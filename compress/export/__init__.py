"""Exports: a compressed model in a format that other programs serve, with the very integers of its artifact.

    artifact --load--> model --integers--> files --load back--> the same answers, else nothing is kept

`compress.spec.exports` is the table of formats. A format that cannot hold a layer is refused by the layer's name.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compress.base.console import say
from compress.base.errors import InputError
from compress.base.files import put_in_place
from compress.base.owners import beside
from compress.base.version import __version__
from compress.data.tasks import task_of
from compress.export import check, compressed_tensors, folder, gptq, llama_cpp, onnx, openvino
from compress.export.check import Checked, Expected
from compress.model import artifact, gguf
from compress.model.bundle import Bundle
from compress.model.gguf.tokenizer import one_space_more
from compress.model.manifest import FILES, INTEGERS, MANIFEST, Manifest, sha256
from compress.model.packing.expanding import expand
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.integers import Integers, refuse
from compress.model.packing.tied import TiedHead
from compress.model.runtimes.check import check_batches, checked, checked_with_cache
from compress.model.runtimes.graph import GraphModel
from compress.model.runtimes.openvino import FILE as OPENVINO
from compress.model.runtimes.openvino import OpenVinoModel
from compress.model.skeleton import unlike_plain
from compress.records.exported import RECORD, check_place, default_folder
from compress.spec.exports import Target
from compress.spec.formats import GRAPHS

FOLDERS = {"compressed-tensors": compressed_tensors.write, "gguf": gguf.write, "gptq": gptq.write}
"""Formats that are written layer by layer. The others are graphs."""


@dataclass(frozen=True)
class Exported:
    """A written export."""

    folder: Path
    target: Target
    task: str
    checks: tuple[Checked, ...]
    remarks: tuple[str, ...]


def export(source: Path, target: Target, out: Path | None = None) -> Exported:
    """Write an artifact in another format, check the files, and return where they are.

    Raises InputError for an artifact that the format cannot hold, a missing package, a folder with other files, and
    files that do not answer like the artifact: then nothing is kept.
    """
    out = default_folder(source, target) if out is None else out
    check_place(target, out)
    integers = source / INTEGERS
    is_graph = target == "openvino" and (source / OPENVINO).exists()
    model, processor, manifest = artifact.load(integers if integers.is_dir() and not is_graph else source)
    work = beside(out, "part")
    try:
        work.mkdir(parents=True)
        checks, remarks = _write(model, processor, manifest, target, work)
        record = {
            "format": target,
            "artifact": sha256(source / MANIFEST),
            "code_version": __version__,
            "checks": list(map(str, checks)),
            "remarks": list(remarks),
            "files": {f.relative_to(work).as_posix(): sha256(f) for f in sorted(work.rglob("*")) if f.is_file()},
        }
        (work / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for file in record["files"]:
            (work / file).chmod(0o644)  # safetensors makes files readable by the owner only
        put_in_place(work, out)
    except InputError as error:
        raise InputError(problem.replace(str(work), str(out)) for problem in error.problems) from error
    except OSError as error:
        raise InputError(
            f"{out}: the export cannot be written ({error.strerror or error}); free space or choose another --out"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Exported(out, target, manifest.task, tuple(checks), tuple(remarks))


def _write(
    model: Any, processor: Any, manifest: Manifest, target: Target, work: Path
) -> tuple[list[Checked], list[str]]:
    """Write the files and return the checks that they passed."""
    if isinstance(model, GraphModel):
        return _write_graph_again(model, processor, manifest, target, work)
    if target == "gguf":
        gguf.check(model, processor)
    layers = refuse(model, manifest.layers, target)
    bundle = Bundle(model, processor, manifest.task, torch.device("cpu"))
    if target not in FOLDERS:
        model.float()
    say(f"  {target}: {len(layers)} quantized layers")
    expected = Expected.of(model, check_batches(bundle), manifest.task)
    if target in FOLDERS:
        _refuse_structure(model, manifest, layers, target)
        FOLDERS[target](model, processor, layers, work)
    elif target == "openvino" and task_of(manifest.task).continues:
        _copy(checked_with_cache(bundle), target, work)
        model.config.save_pretrained(work)
        folder.write_rest(model, processor, work)
    else:
        expand(model, layers)
        if target == "onnx":
            integers = {name: Integers.of(layer) for name, layer in layers.items()}
            graph = checked(bundle, "onnxruntime")  # its file lasts as long as the object
            onnx.with_integers(graph.path, integers, work / "model.onnx")
        else:
            openvino.write(bundle, layers, work)
        model.config.save_pretrained(work)
        folder.write_rest(model, processor, work)
    checks = [check.loaded(target, model, layers, expected, work, manifest.task)]
    remarks = []
    if target == "gguf" and llama_cpp.installed():
        checks += llama_cpp.checks(work, processor, expected, dense=not layers)
    elif target == "gguf":
        remarks.append("not tried in llama.cpp: xllamacpp is not installed (pip install 'compress[llama-cpp]')")
    if target == "gguf" and one_space_more(processor):
        remarks.append("llama.cpp adds a token to texts that begin with a space")
    return checks, remarks


def _refuse_structure(model: Any, manifest: Manifest, layers: dict[str, GroupedLinear], target: Target) -> None:
    """Raise InputError for a model that the format's readers would build otherwise; its layers become empty."""
    if not layers and target != "gguf":
        raise InputError(
            f"{target}: the artifact has no quantized layer; it is a folder of transformers already: serve it as it is"
        )
    head = getattr(model, "get_output_embeddings", lambda: None)()
    apart = next((n for n, layer in layers.items() if layer is head and not isinstance(layer, TiedHead)), None)
    if apart is not None and model.config.get_text_config().tie_word_embeddings:
        raise InputError(
            f"{target}: {apart} was quantized apart from the input embedding to which config.json ties it: readers "
            f"would compute with one of the two; exclude {apart} from quantize, or export to openvino"
        )
    expand(model, layers, empty=True)
    if (name := unlike_plain(model, manifest.task)) is not None:
        raise InputError(
            f"{target}: {name} is not what its readers build from config.json (pruned or low-rank layers, or GPT-2's "
            "transposed ones); export to onnx or openvino"
        )


def _copy(graph: GraphModel, target: Target, work: Path) -> None:
    """Copy a graph's files, under the name that the format's tools expect."""
    stem = {"onnx": "model", "openvino": Path(openvino.FILE).stem}[target]
    for file in graph.files():
        shutil.copyfile(file, work / file.name.replace(graph.path.stem, stem, 1))


def _write_graph_again(
    model: GraphModel, processor: Any, manifest: Manifest, target: Target, work: Path
) -> tuple[list[Checked], list[str]]:
    """Copy the graph of an artifact that is one of this format already."""
    if manifest.kind in ("gguf", "genai"):
        name, runtime = FILES[manifest.kind, False][0][0], GRAPHS[manifest.kind][0]
        raise InputError(f"--to {target}: the artifact is {name} for {runtime} already, without integers: serve it so")
    if manifest.kind != target:
        raise InputError(
            f"--to {target}: the artifact is a graph for {GRAPHS[manifest.kind][0]}, whose layers are no longer "
            "separate; run a recipe with {method: quantize, backend: torch, symmetric: true, group_size: 32}"
        )
    bundle = Bundle(model, processor, manifest.task, torch.device("cpu"))
    if isinstance(model, OpenVinoModel):  # the copy is compared in fp32 on every CPU
        model = type(model)(model.path, model.config, exact=True)
    expected = Expected.of(model, check_batches(bundle), manifest.task)
    _copy(model, target, work)
    model.config.save_pretrained(work)
    folder.write_rest(None, processor, work)
    return [check.loaded(target, model, {}, expected, work, manifest.task)], []
