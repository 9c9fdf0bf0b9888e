"""Workloads, tasks and data sets: the models to compress and the data to evaluate them on."""
