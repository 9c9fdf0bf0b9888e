"""The version of the package, for every room that records it."""

__version__ = "0.1.0"
