"""torch.compile: the same model with its operators fused by inductor."""

import shutil
import sys
from typing import Any

import torch

from compress.config import InputError


def compile_model(model: Any) -> Any:
    return torch.compile(model, dynamic=True)
