"""A stand-in for the pynvml module: boards with energy counters that move in steps, and faults on demand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class NVMLError(Exception):
    """The binding's error: a number and its text."""

    def __init__(self, value: int):
        super().__init__(f"NVML error {value}")
        self.value = value


@dataclass
class Board:
    """One board: constant power, a counter in millijoules that moves every `period_s`."""

    uuid: str
    name: str = "Test GPU"
    watts: float = 100.0
    period_s: float = 0.1
    mig: bool = False


@dataclass
class FakeNvml:
    """What `compress.energy.nvml` calls of pynvml."""

    boards: list[Board]
    clock: Callable[[], float]
    faults: dict[str, int] = field(default_factory=dict)
    NVMLError: type[NVMLError] = NVMLError
    NVML_ERROR_LIBRARY_NOT_FOUND: int = 12
    NVML_ERROR_DRIVER_NOT_LOADED: int = 9
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: int = 18
    NVML_ERROR_NO_PERMISSION: int = 4
    NVML_ERROR_NOT_SUPPORTED: int = 3
    NVML_ERROR_FUNCTION_NOT_FOUND: int = 13
    NVML_ERROR_GPU_IS_LOST: int = 15
    NVML_ERROR_RESET_REQUIRED: int = 16
    NVML_ERROR_NOT_FOUND: int = 6
    NVML_DEVICE_MIG_ENABLE: int = 1

    def _check(self, call: str) -> None:
        if call in self.faults:
            raise NVMLError(self.faults[call])

    def nvmlInit(self) -> None:
        self._check("init")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Board:
        self._check("handle")
        for board in self.boards:
            if board.uuid == uuid:
                return board
        raise NVMLError(self.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetName(self, handle: Board) -> str:
        self._check("name")
        return handle.name

    def nvmlDeviceGetMigMode(self, handle: Board) -> tuple[int, int]:
        if not handle.mig:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return (1, 1)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Board) -> int:
        self._check("energy")
        ticks = int(self.clock() / handle.period_s)
        return round(1000 * handle.watts * ticks * handle.period_s)


def install(monkeypatch: Any, fake: FakeNvml) -> None:
    """Makes `import pynvml` give the fake."""
    import sys

    monkeypatch.setitem(sys.modules, "pynvml", fake)
