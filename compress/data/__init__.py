"""What is compressed and judged: workloads, tasks, data sets, offline workloads."""
