"""The cache removes what it made and no run uses any more, and nothing else."""

import os
import time
from pathlib import Path

from compress.data.cached import UNUSED_S, keep_used


def test_only_unused_folders_that_the_cache_made_are_removed(tmp_path: Path) -> None:
    old = time.time() - UNUSED_S - 3600
    for name in ("0123456789abcdef", "fedcba9876543210", "my-thesis", "0123456789abcdef-notes"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (old, old))
    keep_used(tmp_path / "0123456789abcdef")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0123456789abcdef",
        "0123456789abcdef-notes",
        "my-thesis",
    ]
