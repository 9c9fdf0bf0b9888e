"""Lines that serve a model: for every export, the programs that open it. No torch is needed.

One table, which the cards and `docs/deploy-llm.md` share. Lines that this project's tests do not run are marked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from compress.model.manifest import Kind
from compress.spec.exports import Target

NOT_TRIED = "not tried"
"""Mark of lines that this project's tests do not run."""


@dataclass(frozen=True)
class Serving:
    """How one program serves an export."""

    program: str
    language: Literal["python", "py", "console"]
    """`python` is run by tests; `py` and `console` are not."""
    lines: str
    """`FOLDER` stands for the export's folder."""
    tried: bool = True

    def block(self, folder: str) -> Iterable[str]:
        """Yield the program and its lines in Markdown."""
        yield f"{self.program}{'' if self.tried else f' ({NOT_TRIED})'}:"
        yield ""
        yield f"```{self.language}"
        yield from self.lines.replace("FOLDER", folder).splitlines()
        yield "```"
        yield ""


GENERATE = """\
batch = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**batch, max_new_tokens=16)[0]))"""
TRANSFORMERS = f"""\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
{GENERATE}"""
GGUF_TRANSFORMERS = f"""\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER", gguf_file="model.gguf")
tokenizer = AutoTokenizer.from_pretrained("FOLDER", gguf_file="model.gguf")
{GENERATE}"""
LLAMA_CPP = """\
# needs xllamacpp
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = "FOLDER/model.gguf"
server = xllamacpp.Server(params)
print(server.handle_completions({"prompt": "Once upon a time", "max_tokens": 16})["choices"][0]["text"])"""
ONNXRUNTIME = """\
import onnxruntime
from transformers import AutoTokenizer

session = onnxruntime.InferenceSession("FOLDER/model.onnx", providers=["CPUExecutionProvider"])
batch = AutoTokenizer.from_pretrained("FOLDER")("Once upon a time", return_tensors="np")
wanted = [item.name for item in session.get_inputs()]
print(session.run(["logits"], {name: batch[name] for name in wanted})[0].argmax(-1))"""
OPENVINO = """\
import numpy
import openvino
from transformers import AutoTokenizer

compiled = openvino.Core().compile_model("FOLDER/openvino_model.xml", "CPU")
batch = AutoTokenizer.from_pretrained("FOLDER")("Once upon a time", return_tensors="np")
batch["position_ids"] = batch["attention_mask"].cumsum(axis=1) - 1
batch["beam_idx"] = numpy.zeros(1, numpy.int32)
wanted = [item.get_any_name() for item in compiled.inputs]
print(compiled({name: batch[name] for name in wanted})["logits"].argmax(-1))"""
GENAI = """\
import openvino_genai

pipeline = openvino_genai.LLMPipeline("FOLDER", "CPU")
print(pipeline.generate("Once upon a time", max_new_tokens=16))"""

ONNXRUNTIME_GENAI = """\
# needs onnxruntime_genai
import onnxruntime_genai

model = onnxruntime_genai.Model("FOLDER")
tokenizer = onnxruntime_genai.Tokenizer(model)
ids = tokenizer.encode("Once upon a time")
settings = onnxruntime_genai.GeneratorParams(model)
settings.set_search_options(max_length=len(ids) + 16)
generator = onnxruntime_genai.Generator(model, settings)
generator.append_tokens(ids)
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))"""

SERVING: dict[Target, tuple[Serving, ...]] = {
    "compressed-tensors": (
        Serving("transformers", "python", TRANSFORMERS),
        Serving("vLLM", "console", "vllm serve FOLDER", tried=False),
    ),
    "gguf": (
        Serving("llama.cpp", "console", "llama-server -m FOLDER/model.gguf --port 8080", tried=False),
        Serving("llama.cpp in Python (`pip install xllamacpp`)", "python", LLAMA_CPP),
        Serving("transformers", "python", GGUF_TRANSFORMERS),
    ),
    "gptq": (
        Serving("vLLM", "console", "vllm serve FOLDER --dtype float16", tried=False),
        Serving("transformers (with the package gptqmodel)", "py", TRANSFORMERS, tried=False),
    ),
    "onnx": (Serving("onnxruntime", "python", ONNXRUNTIME),),
    "openvino": (
        Serving("OpenVINO", "python", OPENVINO),
        Serving("OpenVINO GenAI", "py", GENAI, tried=False),
    ),
}
OF_ARTIFACTS: dict[Kind, Serving] = {
    "genai": Serving("onnxruntime-genai, which opens this folder", "python", ONNXRUNTIME_GENAI),
}
"""Kind of a language model's artifact that another program opens as it is -> the lines that do."""
LIBRARY: dict[Target, str] = {
    "compressed-tensors": "transformers",
    "gguf": "gguf",
    "gptq": "transformers",
    "onnx": "onnx",
    "openvino": "openvino",
}
"""The hub's `library_name` of an export."""
OF_LANGUAGE_MODELS: tuple[Target, ...] = ("gguf", "compressed-tensors", "openvino")
"""Exports that the card of a language model's artifact shows."""


@dataclass(frozen=True)
class Leaving:
    """What the card of an export states: its format, and the checks that its files passed."""

    target: Target
    checks: Sequence[str]
    remarks: Sequence[str] = ()


def of_export(leaving: Leaving) -> Iterable[str]:
    """Yield the section of an export's card: how to serve it, and how it was checked."""
    yield (
        f"It is an export to {leaving.target}, with the integers and scales of the artifact that was measured. "
        "Latency, energy and size above are the artifact's, not those of the programs below."
    )
    yield ""
    for serving in SERVING[leaving.target]:
        yield from serving.block("path/to/this/folder")
    yield from (f"- checked with {check}" for check in leaving.checks)
    yield from (f"- {remark}" for remark in leaving.remarks)


def of_artifact(name: str, kind: Kind) -> Iterable[str]:
    """Yield the section of a language model's card: the program that opens it, or exports and what serves them."""
    if kind != "transformers" and kind not in OF_ARTIFACTS:
        return
    yield "## Serving"
    yield ""
    if kind in OF_ARTIFACTS:
        yield from OF_ARTIFACTS[kind].block("path/to/this/folder")
        return
    yield "`compress export` writes the same integers for other programs, or names the layer that a format cannot hold."
    yield ""
    for target in OF_LANGUAGE_MODELS:
        yield "```bash"
        yield f"python -m compress export {name} --to {target} --out {target}"
        yield "```"
        yield ""
        for serving in SERVING[target]:
            yield from serving.block(target)
