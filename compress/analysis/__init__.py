"""Pure functions over results and traces: figures, verdicts, fronts and gates. They need no device and no torch."""
