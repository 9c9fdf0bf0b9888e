"""Pure functions over results and traces: figures, verdicts, fronts, gates. No device, no torch."""
