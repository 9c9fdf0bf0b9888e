"""One run: plan, check, transform, measure, assemble, compare."""
