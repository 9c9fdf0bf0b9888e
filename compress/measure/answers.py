"""Evaluation of a loaded model as its workload asks: on the test split, or on a task of lm-evaluation-harness."""

from compress.analysis.accuracy import Evaluation
from compress.analysis.metrics import lm_eval_task
from compress.data import loading
from compress.data.tasks import task_of
from compress.measure.evaluate import evaluate
from compress.measure.job import Job
from compress.measure.models import LoadedModel, split_examples


def answers(job: Job, runner: LoadedModel, batch_size: int, most: int | None = None) -> Evaluation:
    """Return the outcomes of every example up to the job's limit, or of at most `most` evenly spaced ones."""
    from compress.base.devices import torch_device

    device = torch_device(job.device)
    if asked := job.workload.harness_task:
        from compress.measure.harness_model import harness_evaluation, harness_model

        loaded = lm_eval_task.load(asked)
        lm = harness_model(runner.model, runner.processor, device, batch_size, job.workload.max_length)
        limits = [each for each in (loading.judged(job.workload, job.limit), most) if each is not None]
        return harness_evaluation(lm, loaded, batch_size, min(limits, default=None))
    task, examples = task_of(job.workload.task), split_examples(job, runner)
    if most is not None and task.search is not None:
        examples = task.search.fewer(examples, most)
    else:
        examples = loading.spaced(examples, most)
    return evaluate(runner.model, task, examples, runner.processor, device, batch_size, runner.spec.name)
