"""Pooling: one vector per text from the vectors of its tokens, as sentence-transformers computes it.

    states   [CLS]  a   text  [SEP]  [PAD] [PAD]        mean   of the four real tokens
    mask       1    1    1      1      0     0          cls    the first real token;  lasttoken  the last one

Padding never counts, on either side. Only sums and maxima over tokens are used: exported graphs then contain no
matrix product, and no choice of an index, whose ties runtimes break differently.
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

Pool = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def pooled(states: torch.Tensor, mask: torch.Tensor, modes: Sequence[str], skipped: int = 0) -> torch.Tensor:
    """Return the pooled vectors [batch, width of all modes] of states [batch, length, width].

    `mask` [batch, length] is 1 at real tokens. The first `skipped` of them, a prompt, do not count.
    """
    place = mask.long().cumsum(dim=1) * mask.long()  # 1, 2, 3 ... at real tokens, 0 at padding
    kept = (place > skipped).to(states.dtype)
    return torch.cat([POOLS[mode](states, kept, place) for mode in modes], dim=-1)


def normalized(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors [batch, width] of length 1."""
    return F.normalize(vectors, p=2, dim=-1)


def _sum(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return sums over tokens in fp32 at least."""
    wide = torch.float32 if states.dtype in (torch.float16, torch.bfloat16) else states.dtype
    return (states * weight.unsqueeze(-1).to(states.dtype)).sum(dim=1, dtype=wide)


def _over(sums: torch.Tensor, weight: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    return (sums / weight.to(sums.dtype).clamp(min=1e-9)).to(states.dtype)


def _count(kept: torch.Tensor) -> torch.Tensor:
    return kept.float().sum(dim=1, keepdim=True)


def _mean(states: torch.Tensor, kept: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return _over(_sum(states, kept), _count(kept), states)


def _mean_sqrt(states: torch.Tensor, kept: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return _over(_sum(states, kept), _count(kept).sqrt(), states)


def _weighted(states: torch.Tensor, kept: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return the mean with weights 1, 2, 3 ... from the first real token on, also if a prompt is skipped."""
    weight = kept.float() * place
    wide = states.float() if states.dtype in (torch.float16, torch.bfloat16) else states
    return _over(_sum(wide, weight), weight.sum(dim=1, keepdim=True), states)


def _first(states: torch.Tensor, kept: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return _sum(states, ((kept.long().cumsum(dim=1) == 1) & (kept > 0))).to(states.dtype)


def _last(states: torch.Tensor, kept: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    last = place.amax(dim=1, keepdim=True)
    return _sum(states, (place == last) & (kept > 0)).to(states.dtype)


def _max(states: torch.Tensor, kept: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    lowest = torch.finfo(states.dtype).min
    return states.masked_fill(kept.unsqueeze(-1) == 0, lowest).amax(dim=1)


POOLS: dict[str, Pool] = {
    "mean": _mean,
    "cls": _first,
    "max": _max,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted,
    "lasttoken": _last,
}
"""Name in a pooling configuration -> function of states, kept tokens and their places."""
