"""Exported graphs as modules with the model's interface: GraphModel, and OnnxModel under onnxruntime."""

import json
import os
import re
import shutil
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from compress.base.config import InputError
from compress.base.devices import torch_device
from compress.base.files import passing
from compress.model.manifest import Signature
from compress.model.runtimes import providers, unsigned
from compress.model.runtimes.providers import Place
from compress.model.runtimes.signature import onnx_signature


class GraphModel(nn.Module, ABC):
    """An exported graph as a module: takes a batch of tensors, returns a ModelOutput with logits."""

    kind: Literal["onnx", "openvino", "gguf", "genai"]
    """The artifact's kind."""

    def __init__(self, path: Path, config: Any, temporary: bool = False) -> None:
        """Store the path and config. `temporary`: the graph's folder is deleted with this object."""
        super().__init__()
        if temporary:
            weakref.finalize(self, shutil.rmtree, Path(path).parent, ignore_errors=True)
        self.path = Path(path)
        self.config = config
        self.device = torch.device("cpu")
        self.dtype = torch.float32

    def files(self) -> list[Path]:
        """Return the graph's files: all that are needed to open it again."""
        return sorted(self.path.parent.glob(f"{self.path.stem}.*"))

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in its order."""

    @abstractmethod
    def run(self, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits for the graph's inputs."""

    @abstractmethod
    def signature(self) -> Signature:
        """Return name, type and shape of the graph's inputs and outputs."""

    @abstractmethod
    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return operator -> seconds, from the runtime's own profile of a few batches."""

    @abstractmethod
    def weights(self) -> Iterator[Any]:
        """Yield every floating-point weight of a product, as an array."""

    def remark(self) -> str:
        """Return a remark on where the graph's operators run; usually empty."""
        return ""

    def forward(self, *args: torch.Tensor, **batch: torch.Tensor) -> Any:
        """Return the logits of a batch. Labels and settings are ignored.

        Raises InputError if the batch lacks an input of the graph, or has one that the graph lacks. An input with a
        default in the model may be missing, and an extra one may hold that default.
        """
        from transformers.utils import ModelOutput

        return ModelOutput(logits=self.run(self.feeds(args, batch)))

    def feeds(self, args: tuple[torch.Tensor, ...], batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return all inputs of the graph."""
        batch = {**dict(zip(self.inputs, args, strict=False)), **batch}
        given = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor) and name != "labels"}
        for name, value in given.items():
            if name not in self.inputs and not self._assumes(name, value):
                raise InputError(f"unexpected input {name}; the graph takes {', '.join(self.inputs)}: remove it")
        return {name: given[name].detach() if name in given else self._filled(name, given) for name in self.inputs}

    def _filled(self, name: str, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return an omitted input, filled with the model's own default."""
        value = self._assumed(name)
        if value is None or "input_ids" not in given:
            raise InputError(f"missing input {name}; the graph takes {', '.join(self.inputs)}: add it")
        return torch.full_like(given["input_ids"], value)

    def _assumes(self, name: str, value: torch.Tensor) -> bool:
        """Return whether omitting an input with this value changes nothing."""
        assumed = self._assumed(name)
        return assumed is not None and bool((value == assumed).all())

    def _assumed(self, name: str) -> int | None:
        """Return the value that transformers models assume for an absent input; None if there is no single value.

        Token types default to 0 if they have embeddings of their own. GPT-2 embeds them as words, and adds nothing if
        they are absent.
        """
        if name == "token_type_ids" and getattr(self.config, "type_vocab_size", None) is None:
            return None
        return {"attention_mask": 1, "token_type_ids": 0}.get(name)


def pinned_cores() -> list[int]:
    """Return the cores that OpenMP is pinned to while measuring; empty otherwise."""
    return [int(core) for core in re.findall(r"\{(\d+)\}", os.environ.get("OMP_PLACES", ""))]


class OnnxModel(GraphModel):
    """An ONNX graph under onnxruntime."""

    kind: Literal["onnx", "openvino", "gguf", "genai"] = "onnx"

    def __init__(self, path: Path, config: Any, temporary: bool = False, place: Place | None = None) -> None:
        """Store path and config; `place` defaults to the CPU. `temporary`: its folder is deleted with this object."""
        super().__init__(path, config, temporary)
        self.place = place or Place()
        self.device = torch_device(self.place.device)
        self.dtype = torch.float16 if self.place.half else torch.float32

    @cached_property
    def session(self) -> Any:
        """Session of the graph, opened on first use: TensorRT then builds its engine, which takes minutes."""
        return providers.open_session(self.path, self.place, self._options())

    def opened(self) -> "OnnxModel":
        """Return this model with its session open."""
        assert self.session is not None
        return self

    def _options(self) -> Any:
        """Return session options with as many threads as torch has, on its cores."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # as many as torch has, for fair comparisons
        cores = pinned_cores()
        if 1 < options.intra_op_num_threads <= len(cores):
            # OpenMP is pinned while measuring; without pins, threads made here would all inherit the first one's core
            pins = ";".join(str(core + 1) for core in cores[1 : options.intra_op_num_threads])  # counted from 1
            options.add_session_config_entry("session.intra_op_thread_affinities", pins)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return options

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in its order."""
        return tuple(item.name for item in self.session.get_inputs())

    def run(self, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits for the graph's inputs, on its device."""
        return self._run(self.session, feeds)

    def _run(self, session: Any, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if not self.place.device.on_gpu:  # no copies on the CPU either, and binding costs 25 us per batch
            return torch.from_numpy(session.run(["logits"], {n: t.numpy() for n, t in feeds.items()})[0])
        return providers.run(session, feeds, self.place)

    def signature(self) -> Signature:
        """Return name, type and shape of its inputs and outputs, as the file names them."""
        return onnx_signature(self.path)

    def remark(self) -> str:
        """Return which nodes run on other providers than the first one, and whether weights were converted."""
        converted = not self.place.device.on_gpu and unsigned.needed(self.path)
        remarks = (providers.elsewhere(self.session, self.place), unsigned.REMARK if converted else "")
        return "; ".join(filter(None, remarks))

    def weights(self) -> Iterator[Any]:
        """Yield every floating-point weight of a product, as an array."""
        import onnx

        graph = onnx.load(str(self.path)).graph
        weight_names = {
            name for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv") for name in node.input[1:2]
        }
        for tensor in graph.initializer:
            if tensor.name in weight_names and tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
                yield onnx.numpy_helper.to_array(tensor)

    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return node type -> seconds, from onnxruntime's own trace of three batches."""
        return self.traced_seconds(self.feeds((), batch))

    def traced_seconds(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return node type -> seconds, with these inputs of the graph."""
        with passing("profile") as folder:
            options = self._options()
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "trace")
            session = providers.open_session(self.path, self.place, options)
            for _ in range(3):
                self._run(session, feeds)
            events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
        seconds: dict[str, float] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                kind = event["args"].get("op_name", event["name"])
                seconds[kind] = seconds.get(kind, 0.0) + float(event["dur"]) / 1e6
        return seconds
