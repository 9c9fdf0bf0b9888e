"""Exported graphs as modules that answer like the model: GraphModel, and OnnxModel under onnxruntime."""

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
from compress.base.files import passing
from compress.model.runtimes import providers, unsigned
from compress.model.runtimes.providers import Place


class GraphModel(nn.Module, ABC):
    """An exported graph as a module: takes a batch of tensors, returns a ModelOutput with logits."""

    kind: Literal["onnx", "openvino"]
    """What an artifact calls it."""

    def __init__(self, path: Path, config: Any, temporary: bool = False) -> None:
        """`temporary`: the graph's folder goes when this object does."""
        super().__init__()
        if temporary:
            weakref.finalize(self, shutil.rmtree, Path(path).parent, ignore_errors=True)
        self.path = Path(path)
        self.config = config
        self.device = torch.device("cpu")
        self.dtype = torch.float32

    def files(self) -> list[Path]:
        """The graph's files: all that it takes to open it again."""
        return sorted(self.path.parent.glob(f"{self.path.stem}.*"))

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in its order."""

    @abstractmethod
    def run(self, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits of the graph's inputs."""

    @abstractmethod
    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Operator -> seconds, from the runtime's own profile of a few batches."""

    @abstractmethod
    def weights(self) -> Iterator[Any]:
        """Every floating-point weight that a product takes, as an array."""

    def remark(self) -> str:
        """What is to be known about where the graph's operators run; mostly nothing."""
        return ""

    def forward(self, *args: torch.Tensor, **batch: torch.Tensor) -> Any:
        """Logits of a batch. Labels and settings are ignored.

        Raises InputError for an input that the graph takes and the batch lacks, or the other way round, unless the
        model assumes that very value by itself.
        """
        from transformers.utils import ModelOutput

        return ModelOutput(logits=self.run(self.feeds(args, batch)))

    def feeds(self, args: tuple[torch.Tensor, ...], batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The graph's inputs, all of them."""
        batch = {**dict(zip(self.inputs, args, strict=False)), **batch}
        given = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor) and name != "labels"}
        for name, value in given.items():
            if name not in self.inputs and not self._assumes(name, value):
                raise InputError(f"the graph takes {', '.join(self.inputs)}; got {name} as well; leave it out")
        return {name: given[name].detach() if name in given else self._filled(name, given) for name in self.inputs}

    def _filled(self, name: str, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """An input that was left out, as the model itself would fill it in."""
        value = self._assumed(name)
        if value is None or "input_ids" not in given:
            raise InputError(f"the graph takes {', '.join(self.inputs)}; got no {name}; give it")
        return torch.full_like(given["input_ids"], value)

    def _assumes(self, name: str, value: torch.Tensor) -> bool:
        """Whether leaving out an input with this value changes nothing."""
        assumed = self._assumed(name)
        return assumed is not None and bool((value == assumed).all())

    def _assumed(self, name: str) -> int | None:
        """What a model of transformers takes an absent input for; None where it takes it for no single value.

        Token types count as 0 where they have embeddings of their own; GPT-2 embeds them as words, and adds nothing
        where they are absent.
        """
        if name == "token_type_ids" and getattr(self.config, "type_vocab_size", None) is None:
            return None
        return {"attention_mask": 1, "token_type_ids": 0}.get(name)


def pinned_cores() -> list[int]:
    """The cores that OpenMP is pinned to while measuring; none elsewhere."""
    return [int(core) for core in re.findall(r"\{(\d+)\}", os.environ.get("OMP_PLACES", ""))]


class OnnxModel(GraphModel):
    """An ONNX graph under onnxruntime."""

    kind: Literal["onnx", "openvino"] = "onnx"

    def __init__(self, path: Path, config: Any, temporary: bool = False, place: Place | None = None) -> None:
        """`temporary`: its folder goes when this object does. `place`: what executes it and where, else the CPU."""
        super().__init__(path, config, temporary)
        self.place = place or Place()
        self.device = torch.device(self.place.device)
        self.dtype = torch.float16 if self.place.half else torch.float32

    @cached_property
    def session(self) -> Any:
        """What executes the graph. Opened when first needed: TensorRT then makes its engine, which takes minutes."""
        return providers.open_session(self.path, self.place, self._options())

    def opened(self) -> "OnnxModel":
        """The same, with its session open."""
        assert self.session is not None
        return self

    def _options(self) -> Any:
        """As many threads as torch has, on its cores."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # as many as torch has, so that comparisons are fair
        cores = pinned_cores()
        if 1 < options.intra_op_num_threads <= len(cores):
            # OpenMP is pinned while measuring; threads made here would all inherit the first one's core
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
        """Logits of the graph's inputs, on its device."""
        if self.place.device_type == "cpu":  # nothing is copied there either, and binding costs 25 us a batch
            return torch.from_numpy(self.session.run(["logits"], {n: t.numpy() for n, t in feeds.items()})[0])
        return providers.run(self.session, feeds, self.place)

    def remark(self) -> str:
        """Which of its nodes were left to other providers than the wanted one, and whether weights were converted."""
        converted = self.place.device_type == "cpu" and unsigned.needed(self.path)
        told = (providers.elsewhere(self.session, self.place), unsigned.REMARK if converted else "")
        return "; ".join(filter(None, told))

    def weights(self) -> Iterator[Any]:
        """Every floating-point weight that a product takes, as an array."""
        import onnx

        graph = onnx.load(str(self.path)).graph
        taken = {name for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv") for name in node.input[1:2]}
        for tensor in graph.initializer:
            if tensor.name in taken and tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
                yield onnx.numpy_helper.to_array(tensor)

    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Node type -> seconds, from onnxruntime's own trace of three batches."""
        with passing("profile") as folder:
            options = self._options()
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "trace")
            session = providers.open_session(self.path, self.place, options)
            for _ in range(3):
                providers.run(session, self.feeds((), batch), self.place)
            events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
        spent: dict[str, float] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                kind = event["args"].get("op_name", event["name"])
                spent[kind] = spent.get(kind, 0.0) + float(event["dur"]) / 1e6
        return spent
