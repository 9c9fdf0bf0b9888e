"""Where copies of the user's examples go while a process works on them: nowhere that outlives it.

`datasets` writes what it reads from files, and everything mapped from that, as Arrow files into a cache in the home
folder, where they would stay. Here the cache of local files is a temporary folder of the process that only its user can
read. What came from the hub keeps the hub's own cache.
"""

from compress.base.files import process_folder


def private_cache() -> str:
    """The `cache_dir` for examples from local files; it goes when the process ends."""
    return str(process_folder("datasets"))
