"""Several boards as one meter: a model spread over GPUs costs what all of them use."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_

from compress.energy.meters import Absent, Meter
from compress.energy.nvml import NvmlCounter


class Several(Meter):
    """The boards of one model. Their counters move at moments of their own, so each is sampled by itself."""

    source = "nvml"

    def __init__(self, boards: Sequence[NvmlCounter]):
        self._boards = tuple(boards)
        self.boundary = f"{len(boards)} GPUs: {'; '.join(board.boundary for board in boards)}"
        examined = [board.examined for board in boards]
        self.examined = None if None in examined else "; ".join(map(str, examined))
        self.harmed_by_reading = any(board.harmed_by_reading for board in boards)
        self.integrated = any(board.integrated for board in boards)
        self.like_another = any(board.like_another for board in boards)
        self.misread = max((board.misread for board in boards if board.misread is not None), default=None)

        self.step_s = max((board.step_s for board in boards if board.step_s is not None), default=None)

    @property
    def boards(self) -> tuple[Meter, ...]:
        """The boards, which are sampled one by one."""
        return self._boards

    def read_uj(self) -> int:
        """The boards' sum."""
        return sum(board.read_uj() for board in self._boards)

    def state(self) -> Mapping[str, int | None]:
        """power_mw of all together, the highest temperature, the lowest clocks, every event; unknown is None."""
        states = [board.state() for board in self._boards]

        def joined(key: str, how: Callable[[list[int]], int]) -> int | None:
            known = [value for state in states if (value := state.get(key)) is not None]
            return how(known) if len(known) == len(states) else None

        return {
            "power_mw": joined("power_mw", sum),
            "sm_mhz": joined("sm_mhz", min),
            "memory_mhz": joined("memory_mhz", min),
            "temperature_c": joined("temperature_c", max),
            "events": joined("events", lambda bits: reduce(or_, bits)),
        }

    def processes(self) -> tuple[int, ...] | None:
        """Ids of the processes on any of the boards; None where one of them does not tell."""
        told = [board.processes() for board in self._boards]
        return None if None in told else tuple(sorted({pid for pids in told for pid in pids or ()}))


def together(found: Sequence[NvmlCounter | Absent]) -> Meter | Absent:
    """One meter of these; an absent one makes the whole absent, since a part of a sum is no figure."""
    lost = [meter.reason for meter in found if isinstance(meter, Absent)]
    if lost or not found:
        return Absent("; ".join(dict.fromkeys(lost)) or "no GPU was named")
    counters = [meter for meter in found if isinstance(meter, NvmlCounter)]
    return counters[0] if len(counters) == 1 else Several(counters)
