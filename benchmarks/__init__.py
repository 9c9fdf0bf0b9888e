"""Measurements of the project itself: speed, GPU sessions, peers, coverage of intervals. Run with `python -m`."""
