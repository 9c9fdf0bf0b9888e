"""A stand-in for the NVML binding: boards that measure as badly as real ones, and faults on demand.

It takes pynvml's place (`sys.modules["pynvml"] = Simulator(...)`), so that the code that meters a real board is the
code that is tried. What a board does, and where it is known from:

- its counter moves every 10 to 100 ms, by the power of only the last part of that period (A100 and H100 look at 25 of
  100 ms; Yang et al. 2024, arXiv:2312.02741), times a gain error of a few percent that is the board's own;
- reported power lags behind; everything is rounded to mJ and mW;
- fields are missing, permission is denied, boards get lost, counters restart, other processes come.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

LOOKS = 8  # points at which the true power is looked at inside one averaging window
Watts = Callable[[float], float]
"""True power at a time in seconds."""


class NVMLError(Exception):
    """The binding's error: a number and its text."""

    def __init__(self, value: int):
        super().__init__(f"NVML error {value}")
        self.value = value


@dataclass
class Board:
    """One board; times are the simulator's clock, in seconds."""

    uuid: str
    name: str = "Test GPU"
    pci: str = "00000000:01:00.0"
    watts: float | Watts = 100.0
    period_s: float = 0.1
    """The counter and instant power move this often."""
    averaged_s: float | None = None
    """They see only the last so many seconds of each period; None: all of it."""
    gain: float = 1.0
    """Reported over true watts."""
    lag_s: float = 0.0
    phase_s: float = 0.0
    jitter_s: float = 0.0
    """Each movement is early or late by up to so much, evenly distributed; under half a period."""
    memory_bytes: int = 80 * 2**30
    mig: bool = False
    virtual: bool = False
    counter: bool = True
    """False before Volta."""
    instant: bool = True
    """False where field 186 is missing."""
    processes: Callable[[float], Sequence[int]] = lambda _: ()
    events: Callable[[float], int] = lambda _: 0
    sm_mhz: Callable[[float], int] = lambda _: 1500
    temperature_c: Callable[[float], int] = lambda _: 50
    lost_at: float = math.inf
    reset_at: float = math.inf
    _moves: int = field(default=0, repr=False)
    _joules: float = field(default=0.0, repr=False)

    def true_w(self, now: float) -> float:
        """Watts that the board really draws."""
        return self.watts(now) if callable(self.watts) else self.watts

    def seen_w(self, move: int) -> float:
        """Mean watts that the board reports for the period that ended with its `move`-th movement."""
        end = self.moved_at(move) - self.lag_s
        span = self.interval_s(move) if self.averaged_s is None else self.averaged_s
        return self.gain * math.fsum(self.true_w(end - span * (i + 0.5) / LOOKS) for i in range(LOOKS)) / LOOKS

    def moved_at(self, move: int) -> float:
        """Return the time of the `move`-th movement. The jitter is white, and the same in every call."""
        fraction = math.modf(43758.5453 * math.sin(12.9898 * move + 78.233 * self.phase_s))[0] if self.jitter_s else 0.0
        return self.phase_s + move * self.period_s + self.jitter_s * fraction  # -1 < fraction < 1

    def interval_s(self, move: int) -> float:
        """Return the seconds before the `move`-th movement, since the one before it."""
        return self.moved_at(move) - self.moved_at(move - 1) if self.jitter_s else self.period_s

    def moves(self, now: float) -> int:
        """How often the counter has moved since time 0."""
        latest = math.floor((now - self.phase_s + self.jitter_s) / self.period_s)
        return latest - (self.moved_at(latest) > now) if self.jitter_s else latest

    def counter_mj(self, now: float) -> int:
        """The energy counter. Reads must not go back in time."""
        latest = self.moves(now)
        if not self._moves:
            self._moves = latest
        while self._moves < latest:
            self._moves += 1
            moved_s = self.moved_at(self._moves)
            if moved_s >= self.reset_at:
                self._joules, self.reset_at = 0.0, math.inf
            self._joules += self.seen_w(self._moves) * self.interval_s(self._moves)
        return math.floor(1000 * self._joules)


@dataclass
class Simulator:
    """What `compress.energy` calls of pynvml."""

    boards: list[Board]
    clock: Callable[[], float]
    faults: dict[str, int] = field(default_factory=dict)
    """Call (init, handle, name, energy, power) -> error number that it raises."""
    calls: int = 0
    NVMLError: type[NVMLError] = NVMLError
    NVML_SUCCESS: int = 0
    NVML_ERROR_NOT_SUPPORTED: int = 3
    NVML_ERROR_NO_PERMISSION: int = 4
    NVML_ERROR_NOT_FOUND: int = 6
    NVML_ERROR_DRIVER_NOT_LOADED: int = 9
    NVML_ERROR_LIBRARY_NOT_FOUND: int = 12
    NVML_ERROR_FUNCTION_NOT_FOUND: int = 13
    NVML_ERROR_GPU_IS_LOST: int = 15
    NVML_ERROR_RESET_REQUIRED: int = 16
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: int = 18
    NVML_DEVICE_MIG_ENABLE: int = 1
    NVML_GPU_VIRTUALIZATION_MODE_VGPU: int = 2
    NVML_CLOCK_SM: int = 1
    NVML_CLOCK_MEM: int = 2
    NVML_TEMPERATURE_GPU: int = 0

    def _check(self, call: str, board: Board | None = None) -> None:
        self.calls += 1
        if call in self.faults:
            raise NVMLError(self.faults[call])
        if board is not None and self.clock() >= board.lost_at:
            raise NVMLError(self.NVML_ERROR_GPU_IS_LOST)

    def nvmlInit(self) -> None:
        """Fails as told by `faults`."""
        self._check("init")

    def nvmlSystemGetDriverVersion(self) -> str:
        """Says what it is."""
        return "simulated"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Board:
        """The board itself is the handle."""
        return self._handle({board.uuid: board for board in self.boards}, uuid)

    def nvmlDeviceGetHandleByPciBusId(self, pciBusId: str) -> Board:
        """The same by PCI address."""
        return self._handle({board.pci: board for board in self.boards}, pciBusId)

    def _handle(self, boards: Mapping[str, Board], name: str) -> Board:
        self._check("handle")
        if name not in boards:
            raise NVMLError(self.NVML_ERROR_NOT_FOUND)
        return boards[name]

    def nvmlDeviceGetCount(self) -> int:
        """How many boards there are."""
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Board:
        """By NVML's own number."""
        self._check("handle")
        return self.boards[index]

    def nvmlDeviceGetPciInfo(self, handle: Board) -> Any:
        """Its address."""
        return SimpleNamespace(busId=handle.pci)

    def nvmlDeviceGetUUID(self, handle: Board) -> str:
        """The board's UUID."""
        return handle.uuid

    def nvmlDeviceGetName(self, handle: Board) -> str:
        """The board's name."""
        self._check("name", handle)
        return handle.name

    def nvmlDeviceGetMigMode(self, handle: Board) -> tuple[int, int]:
        """Current and pending mode."""
        if not handle.mig:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return (1, 1)

    def nvmlDeviceGetVirtualizationMode(self, handle: Board) -> int:
        """2 for a virtual GPU."""
        return 2 if handle.virtual else 0

    def nvmlDeviceGetMemoryInfo(self, handle: Board) -> Any:
        """Total memory."""
        return SimpleNamespace(total=handle.memory_bytes)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Board) -> int:
        """Millijoules; in steps."""
        self._check("energy", handle)
        if not handle.counter:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return handle.counter_mj(self.clock())

    def nvmlDeviceGetPowerUsage(self, handle: Board) -> int:
        """Milliwatts, averaged over the last second."""
        self._check("power", handle)
        last = handle.moves(self.clock())
        moves = range(last, last - max(1, round(1 / handle.period_s)), -1)
        return round(1000 * math.fsum(handle.seen_w(move) for move in moves) / len(moves))

    def nvmlDeviceGetFieldValues(self, handle: Board, fields: Sequence[tuple[int, int]]) -> list[Any]:
        """Values with a return code each; only field 186, instant power, is known."""
        self._check("power", handle)
        found = []
        for number, _scope in fields:
            known = number == 186 and handle.instant
            watts = handle.seen_w(handle.moves(self.clock())) if known else 0.0
            code = self.NVML_SUCCESS if known else self.NVML_ERROR_NOT_SUPPORTED
            found.append(SimpleNamespace(nvmlReturn=code, value=SimpleNamespace(uiVal=round(1000 * watts))))
        return found

    def nvmlDeviceGetClockInfo(self, handle: Board, kind: int) -> int:
        """Megahertz."""
        self._check("clock", handle)
        return handle.sm_mhz(self.clock()) if kind == self.NVML_CLOCK_SM else 2600

    def nvmlDeviceGetTemperature(self, handle: Board, kind: int) -> int:
        """Degrees Celsius."""
        self._check("temperature", handle)
        return handle.temperature_c(self.clock())

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Board) -> int:
        """Bits; see nvml.EVENTS."""
        self._check("events", handle)
        return handle.events(self.clock())

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Board) -> int:
        """The same by its older name."""
        self._check("events", handle)
        return handle.events(self.clock())

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Board) -> int:
        """Milliwatts."""
        return 700_000

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Board) -> list[Any]:
        """Processes by id."""
        self._check("processes", handle)
        return [SimpleNamespace(pid=pid) for pid in handle.processes(self.clock())]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Board) -> list[Any]:
        """None: a board without a display."""
        self._check("processes", handle)
        return []
