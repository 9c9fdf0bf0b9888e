"""MLflow: a run a result in an experiment called after the project, where MLflow's own settings say.

`--folder DIR` keeps it in DIR/mlflow.db instead (look at it with `mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db`).
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
"""Metrics that MLflow takes at once."""
LONGEST = 500
"""Characters of a parameter that every store takes."""


def send(facts: Facts, folder: Path | None, project: str) -> str:
    """Logs the run; returns where it is. Raises InputError for what MLflow refuses."""
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # its own store's news
    try:
        return _send(facts, _client(folder), project)
    except MlflowException as error:
        raise InputError(f"--to mlflow: {str(error).splitlines()[0]}") from None


def _client(folder: Path | None) -> Any:
    from mlflow.tracking import MlflowClient

    if folder is None:
        return MlflowClient()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--folder {folder}: cannot be written ({error.strerror})") from None
    return MlflowClient(tracking_uri=f"sqlite:///{folder.resolve() / 'mlflow.db'}")


def _send(facts: Facts, client: Any, project: str) -> str:
    from mlflow.entities import Metric, Param, RunTag

    known = client.get_experiment_by_name(project)
    experiment = known.experiment_id if known else client.create_experiment(project)
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
    client.log_batch(run, tags=[RunTag(TAG, facts.id), RunTag("workload", facts.workload)])  # last: it is whole now
    client.set_terminated(run)
    return f"run {run} in experiment {project} at {uri}"
