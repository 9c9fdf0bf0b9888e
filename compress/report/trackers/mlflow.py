"""MLflow: one run per result in an experiment named after the project, in the store of MLflow's own settings.

`--folder DIR` writes to DIR/mlflow.db instead. View it with `mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db`.
"""

import logging
import re
import time
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.report.trackers import ALREADY
from compress.report.trackers.facts import Facts

TAG = "compress.id"
MOST = 1000
"""Most metrics that MLflow accepts in one batch."""
LONGEST = 500
"""Longest parameter that every store accepts, in characters."""


def send(facts: Facts, folder: Path | None, project: str) -> str:
    """Log the run and return its location. Raises InputError if MLflow refuses."""
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it logs about its own store
    try:
        return _send(facts, _client(folder), project)
    except MlflowException as error:
        raise InputError(f"--to mlflow: {str(error).splitlines()[0]}") from None


def _client(folder: Path | None) -> Any:
    """Return a client of the default store, or of a database in a folder."""
    from mlflow.tracking import MlflowClient

    if folder is None:
        return MlflowClient()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--folder {folder}: cannot be written ({error.strerror})") from None
    return MlflowClient(tracking_uri=f"sqlite:///{folder.resolve() / 'mlflow.db'}")


def _send(facts: Facts, client: Any, project: str) -> str:
    """Log the run in batches, and tag it last: a run without the tag is incomplete."""
    from mlflow.entities import Metric, Param, RunTag

    existing = client.get_experiment_by_name(project)
    experiment = existing.experiment_id if existing else client.create_experiment(project)
    uri = client.tracking_uri
    if client.search_runs([experiment], f"tags.`{TAG}` = '{facts.id}'", max_results=1):
        return f"experiment {project} at {uri} {ALREADY}"
    run = client.create_run(experiment, run_name=facts.run).info.run_id
    now_ms = round(1e3 * time.time())
    metrics = [Metric(name, value, now_ms, 0) for name, value in facts.metrics.items()]
    for name, pairs in facts.power.items():
        metrics += [Metric(name, value, round(when / 1e6), number) for number, (when, value) in enumerate(pairs)]
    parameters = [Param(re.sub(r"[^\w\-. /]", "_", name), str(value)[:LONGEST]) for name, value in facts.config.items()]
    client.log_batch(run, params=parameters[:100])
    for start in range(100, len(parameters), 100):
        client.log_batch(run, params=parameters[start : start + 100])
    for start in range(0, len(metrics), MOST):
        client.log_batch(run, metrics=metrics[start : start + MOST])
    client.log_batch(run, tags=[RunTag(TAG, facts.id), RunTag("workload", facts.workload)])  # last: the run is complete
    client.set_terminated(run)
    return f"run {run} in experiment {project} at {uri}"
