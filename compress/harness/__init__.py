"""Steps of a run: plan, check, transform, measure, assemble, compare."""
