"""Records of a run: results, traces, the machine, statistics of estimates."""
