"""Several boards as one meter: a model spread over GPUs costs the energy of all of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_

from compress.energy.meters import Absent, Meter
from compress.energy.nvml import NvmlCounter


class Several(Meter):
    """The boards of one model. Their counters update at different times, so each board is sampled separately."""

    source = "nvml"

    def __init__(self, boards: Sequence[NvmlCounter]):
        self._boards = tuple(boards)
        self.boundary = f"{len(boards)} GPUs: {'; '.join(board.boundary for board in boards)}"
        self.uuid = ",".join(board.uuid for board in boards)
        examined = [board.examined for board in boards]
        self.examined = None if None in examined else "; ".join(map(str, examined))
        self.harmed_by_reading = any(board.harmed_by_reading for board in boards)
        self.integrated = any(board.integrated for board in boards)
        self.like_another = any(board.like_another for board in boards)
        self.misread = max((board.misread for board in boards if board.misread is not None), default=None)

        self.step_s = max((board.step_s for board in boards if board.step_s is not None), default=None)

    @property
    def boards(self) -> tuple[Meter, ...]:
        """The boards, to sample one by one."""
        return self._boards

    def read_uj(self) -> int:
        """Return the sum of the boards' counters, in microjoules."""
        return sum(board.read_uj() for board in self._boards)

    def state(self) -> Mapping[str, int | None]:
        """Return the summed power_mw, the highest temperature, the lowest clocks and all events; unknown is None."""
        states = [board.state() for board in self._boards]

        def combined(key: str, combine: Callable[[list[int]], int]) -> int | None:
            known = [value for state in states if (value := state.get(key)) is not None]
            return combine(known) if len(known) == len(states) else None

        return {
            "power_mw": combined("power_mw", sum),
            "sm_mhz": combined("sm_mhz", min),
            "memory_mhz": combined("memory_mhz", min),
            "temperature_c": combined("temperature_c", max),
            "events": combined("events", lambda bits: reduce(or_, bits)),
        }

    def processes(self) -> tuple[int, ...] | None:
        """Return the ids of the processes on any of the boards; None if one board does not list them."""
        lists = [board.processes() for board in self._boards]
        return None if None in lists else tuple(sorted({pid for ids in lists for pid in ids or ()}))


def together(counters: Sequence[NvmlCounter | Absent]) -> Meter | Absent:
    """Return one meter for all these boards; Absent if any of them is, since a partial sum has no meaning."""
    reasons = [meter.reason for meter in counters if isinstance(meter, Absent)]
    if reasons or not counters:
        return Absent("; ".join(dict.fromkeys(reasons)) or "no GPU was named")
    boards = [meter for meter in counters if isinstance(meter, NvmlCounter)]
    return boards[0] if len(boards) == 1 else Several(boards)
