"""What a run leaves: results, traces, the machine, statistics of estimates."""
