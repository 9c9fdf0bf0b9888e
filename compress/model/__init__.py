"""Live models and their artifacts: bundles, layers, packed weights, runtimes."""
