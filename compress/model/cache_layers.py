"""Keys and values of earlier tokens in 8 or 4 bits, after KIVI (Liu et al. 2024, arXiv:2402.02750).

    tokens      0 .. 31      32 .. 63      64 .. 120
    keys        group        group         recent, as computed      a scale per channel and group of 32 tokens
    values      32 tokens    32 tokens     recent, as computed      a scale per token and group of channels

Keys have outliers in a few channels, values do not: so keys share a scale along tokens, values along channels (section
3.1). The last 32 to 63 tokens stay as computed (the paper's residual). A prompt attends to its own keys and values as
computed, and is quantized afterwards (algorithm 1). Departures: values are quantized with the keys' groups of tokens,
not one token after the other; products read expanded tensors, without kernels of their own.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

GROUP = 32
"""Tokens that share a scale of a key channel, and channels that share a scale of a value."""
RECENT = 32
"""Fewest tokens that stay as computed."""
FIRST_ROUNDED = GROUP + RECENT
"""Tokens of a text at which its first ones are rounded: a longer text is read through a rounded cache."""
SCALE = torch.float16


def rounded(tensor: torch.Tensor, bits: int, dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes (uint8), scales and minima (fp16) of a tensor, one scale along `dim`: KIVI eq. 2, asymmetric.

    code = round((x - minimum) / scale), with scale = (maximum - minimum) / (2^bits - 1).
    """
    low, high = tensor.amin(dim, keepdim=True).to(SCALE), tensor.amax(dim, keepdim=True)
    scale = ((high - low) / (2**bits - 1)).to(SCALE).clamp(min=torch.finfo(SCALE).smallest_normal)
    codes = ((tensor - low.to(tensor.dtype)) / scale.to(tensor.dtype)).round().clamp(0, 2**bits - 1)
    return codes.to(torch.uint8), scale, low


def packed(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Return codes [.., n] as bytes: of 4 bits, two in a byte, the earlier one in the low half."""
    return codes if bits == 8 else codes[..., 0::2] | codes[..., 1::2] << 4


def unpacked(stored: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the codes [.., n] of `packed`."""
    return stored if bits == 8 else torch.stack((stored & 15, stored >> 4), dim=-1).flatten(-2)


def grouped(tokens: int) -> int:
    """Return how many of so many tokens are rounded: whole groups, with at least `RECENT` tokens after them."""
    return max(0, (tokens - RECENT) // GROUP) * GROUP


def _channels(width: int) -> int:
    """Return the channels that share a scale of a value: `GROUP` of them, or all of a head that it does not divide."""
    return GROUP if width % GROUP == 0 else width


@dataclass(frozen=True)
class Rounded:
    """Keys or values of whole groups of tokens, [texts, heads, groups, ..., width]; a scale along `dim`."""

    stored: torch.Tensor
    scale: torch.Tensor
    minimum: torch.Tensor

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All tensors that take memory."""
        return self.stored, self.scale, self.minimum

    def expanded(self, bits: int, dtype: torch.dtype) -> torch.Tensor:
        """Return the numbers that the codes stand for."""
        return unpacked(self.stored, bits).to(dtype) * self.scale.to(dtype) + self.minimum.to(dtype)

    def joined(self, other: "Rounded") -> "Rounded":
        """Return these groups, followed by others."""
        return Rounded(*(torch.cat(pair, dim=2) for pair in zip(self.tensors, other.tensors, strict=True)))


State = tuple[Rounded | None, Rounded | None, torch.Tensor, torch.Tensor]


class RoundedLayer(DynamicLayer):
    """One layer of a cache whose groups of earlier tokens are rounded; `keys` and `values` are the recent ones."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self._keys: Rounded | None = None
        self._values: Rounded | None = None

    @property
    def grouped_tokens(self) -> int:
        """Tokens whose keys and values are rounded."""
        return 0 if self._keys is None else self._keys.stored.shape[2] * GROUP

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values [texts, heads, new, width]; return those of all tokens, expanded."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        recent_keys = torch.cat([self.keys, key_states], dim=-2) if self.keys.numel() else key_states
        recent_values = torch.cat([self.values, value_states], dim=-2) if self.values.numel() else value_states
        keys = self._with_earlier(self._keys, recent_keys)
        values = self._with_earlier(self._values, recent_values)
        whole = grouped(recent_keys.shape[-2])
        if whole:
            self._round(recent_keys[..., :whole, :], recent_values[..., :whole, :])
        self.keys = recent_keys[..., whole:, :].clone() if whole else recent_keys  # a view would keep the others
        self.values = recent_values[..., whole:, :].clone() if whole else recent_values
        return keys, values

    def _round(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Round keys and values [texts, heads, tokens, width] of whole groups, and append them."""
        texts, heads, tokens, width = keys.shape
        channels = _channels(values.shape[-1])
        codes, *rest = rounded(keys.reshape(texts, heads, tokens // GROUP, GROUP, width), self.bits, dim=-2)
        new_keys = Rounded(packed(codes, self.bits), *rest)
        split = values.reshape(texts, heads, tokens // GROUP, GROUP, -1, channels)
        codes, *rest = rounded(split, self.bits, dim=-1)
        new_values = Rounded(packed(codes, self.bits), *rest)
        self._keys = new_keys if self._keys is None else self._keys.joined(new_keys)
        self._values = new_values if self._values is None else self._values.joined(new_values)

    def _with_earlier(self, earlier: Rounded | None, recent: torch.Tensor) -> torch.Tensor:
        """Return the expanded groups [texts, heads, tokens, width] and the recent tokens after them."""
        if earlier is None:
            return recent
        texts, heads, _, width = recent.shape
        expanded = earlier.expanded(self.bits, recent.dtype).reshape(texts, heads, -1, width)
        return torch.cat([expanded, recent], dim=-2)

    def get_seq_length(self) -> int:
        """Return the number of tokens."""
        return self.grouped_tokens + (self.keys.shape[-2] if self.is_initialized and self.keys.numel() else 0)

    def state(self) -> State:
        """Return the present content, to which `restore` goes back: no tensor of it is changed later."""
        return self._keys, self._values, self.keys, self.values

    def restore(self, state: State) -> None:
        """Go back to an earlier content."""
        self._keys, self._values, self.keys, self.values = state

    @property
    def stored_bytes(self) -> int:
        """Bytes of codes, scales, minima and recent tokens."""
        grouped = (t for part in (self._keys, self._values) if part is not None for t in part.tensors)
        return sum(t.numel() * t.element_size() for t in (*grouped, self.keys, self.values))

    def bytes_with(self, tokens: int) -> int:
        """Return `stored_bytes` with so many tokens in each text."""
        texts, heads, _, width = self.keys.shape
        whole, channels = grouped(tokens), _channels(self.values.shape[-1])
        recent = (tokens - whole) * 2 * width * self.keys.element_size()
        codes = whole * 2 * width * self.bits // 8
        scales = 2 * SCALE.itemsize * (whole // GROUP * width + whole * (width // channels))
        return int(texts * heads * (recent + codes + scales))

    def crop(self, tokens_to_remove: int) -> None:
        """Raise RuntimeError: tokens of a rounded group cannot be removed one by one; see `restore`."""
        raise RuntimeError(f"a rounded cache cannot drop {tokens_to_remove} tokens: go back by restore")
