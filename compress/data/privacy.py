"""Temporary storage for copies of the user's examples: no copy outlives the process.

`datasets` writes the rows of local files, and everything mapped from them, as Arrow files into a cache in the home
folder, where they would stay. Here the cache of local files is a temporary folder of the process, readable by its user
only. Data from the hub keeps the hub's own cache.
"""

from compress.base.files import process_folder


def private_cache() -> str:
    """Return the `cache_dir` for examples from local files; it is deleted when the process ends."""
    return str(process_folder("datasets"))
