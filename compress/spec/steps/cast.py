"""Settings of the step `cast`."""

from typing import Literal

from compress.base.config import Config


class Cast(Config):
    """Store and compute in half precision."""

    method: Literal["cast"] = "cast"
    dtype: Literal["fp16", "bf16"] = "bf16"
    """Half precision format; bf16 keeps the range of fp32."""
