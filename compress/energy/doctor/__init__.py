"""`compress doctor`: examine the meter of a device and report how far to trust it."""
