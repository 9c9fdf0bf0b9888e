"""A compute device as a value, parsed once where a person gives it as text.

    cpu            Device("cpu")
    cuda           Device("cuda")            torch's current GPU
    cuda:1         Device("cuda", (1,))
    cuda:0,cuda:1  Device("cuda", (0, 1))    one model divided among several GPUs

This module knows the text alone and imports no torch; `compress.base.devices` asks the machine.
"""

import re
from dataclasses import dataclass
from typing import Literal

from compress.base.errors import InputError

DeviceKind = Literal["cpu", "cuda"]

AUTO = "auto"
"""Text for the best kind of device that the machine has; `compress.base.devices.pick` resolves it."""
PART = re.compile(r"cpu|cuda(?::(0|[1-9][0-9]{0,8}))?")


@dataclass(frozen=True, slots=True)
class Device:
    """The CPU, torch's current GPU, or GPUs by number."""

    kind: DeviceKind
    indices: tuple[int, ...] = ()
    """Numbers of the GPUs; empty for the CPU and for torch's current GPU."""

    @classmethod
    def parse(cls, text: str) -> "Device":
        """Return the device that a text names. Raises InputError for any other text; the machine is not asked."""
        parts = [part.strip() for part in text.split(",")]
        matches = [PART.fullmatch(part) for part in parts]
        for part, match in zip(parts, matches, strict=True):
            if match is None and not (part == AUTO and len(parts) > 1):
                raise InputError(f"device {part!r}: unknown; expected auto, cpu, cuda, cuda:N or cuda:0,cuda:1")
        indices = tuple(int(match[1]) for match in matches if match is not None and match[1] is not None)
        if len(parts) > 1 and len(set(indices)) < len(parts):
            raise InputError(f"device {text!r}: expected different GPUs by number, such as cuda:0,cuda:1")
        return cls("cpu" if parts == ["cpu"] else "cuda", indices)

    def __str__(self) -> str:
        """Return the text that `parse` takes."""
        return ",".join(f"{self.kind}:{index}" for index in self.indices) or self.kind

    @property
    def on_gpu(self) -> bool:
        """Whether CUDA computes."""
        return self.kind == "cuda"

    @property
    def several(self) -> bool:
        """Whether a model is divided among several GPUs."""
        return len(self.indices) > 1

    @property
    def parts(self) -> tuple["Device", ...]:
        """One device per GPU; the device itself if it is one."""
        return tuple(Device(self.kind, (index,)) for index in self.indices) or (self,)

    @property
    def first(self) -> "Device":
        """The device that takes batches."""
        return self.parts[0]


CPU = Device("cpu")
