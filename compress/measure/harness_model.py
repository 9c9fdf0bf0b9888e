"""Any model that gives logits as a model of lm-evaluation-harness, and its evaluation on one task of it.

The harness tokenizes by our functions, and asks for log-likelihoods of tokens; rows are batched and scored as those of
our own tasks. Answers are kept per example, so that models are paired as on any other test split.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.analysis.accuracy import Evaluation
from compress.analysis.metrics.lm_eval_task import Loaded, gold, quiet, right
from compress.base.errors import InputError
from compress.data.spacing import spaced_rows
from compress.data.tasks import causal_lm, continuations
from compress.data.tasks.blocks import frame
from compress.data.tasks.task import Task, final
from compress.measure.evaluate import evaluate

if TYPE_CHECKING:
    import torch

ROWS: Task = replace(causal_lm.TASK, outcomes=continuations.outcomes, answers=final)
"""Contexts with continuations, as rows: one log-likelihood each."""


COUNTED = "one for each request of lm_eval"
"""What a note counts: the harness asks for a log-likelihood of every choice, and of every continuation."""
OTHER_KIND = "lm_eval: the task asks for {}; expected one that is scored by log-likelihoods of choices or continuations"
"""Of a task whose requests are not those that its file states: `lm_eval_task.load` refuses these kinds before."""


def harness_model(model: Any, processor: Any, device: "torch.device", batch_size: int, max_length: int) -> Any:
    """Return a `TemplateLM` of the harness that computes log-likelihoods with a model that gives logits."""
    import datasets
    from lm_eval.api.model import TemplateLM

    prefix, _ = frame(processor)
    opening = (*prefix, *continuations.opening(processor))[:1]

    class Model(TemplateLM):
        tokenizer, eot_token_id, prefix_token_id = processor, processor.eos_token_id, next(iter(opening), None)
        first, finite, remark = prefix, True, ""

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            ids = processor(string, add_special_tokens=False, verbose=False)["input_ids"]
            return list(ids) if add_special_tokens is False else [*prefix, *ids]

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            rows = [continuations.fitted(own, scored, len(prefix), max_length) for _, own, scored in requests]
            self.remark = continuations.remark(rows, max_length, COUNTED)
            table = {"input_ids": [row.ids for row in rows], "context": [row.context for row in rows]}
            found = evaluate(model, ROWS, datasets.Dataset.from_dict(table), processor, device, batch_size, "lm_eval")
            self.finite = self.finite and found.finite
            pairs = zip(found.outcomes["nll"], found.outcomes["greedy"], strict=True)
            return [(-nll, greedy == 1) for nll, greedy in pairs]

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            raise InputError(OTHER_KIND.format("loglikelihood_rolling"))

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            raise InputError(OTHER_KIND.format("generate_until"))

    return Model()


def check_requests(loaded: Loaded, processor: Any, max_length: int) -> str:
    """Return a note on contexts that are cut; empty without any.

    Raises InputError for examples whose continuation has no place, or whose empty context no token can open.
    """
    import torch

    lm = harness_model(None, processor, torch.device("cpu"), 1, max_length)
    with quiet():
        loaded.task.build_all_requests()
    requests = loaded.task.instances
    problems: list[str] = []
    fitted: list[continuations.Encoded] = []

    def check(rows: Any, **_: Any) -> list[None]:
        for request, (_, own, scored) in zip(requests, rows, strict=True):
            try:
                fitted.append(continuations.fitted(own, scored, len(lm.first), max_length))
                why = continuations.UNOPENED if None in own else ""
            except InputError as error:
                why = str(error)
            if why:
                problems.append(f"example {request.doc_id}: {why}")
        return [None] * len(requests)

    lm._loglikelihood_tokens = check
    lm.loglikelihood(requests, disable_tqdm=True)
    if problems:
        more = f" and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise InputError(f"lm_eval {loaded.name}: {'; '.join(dict.fromkeys(problems[:6]))}{more}")
    return continuations.remark(fitted, max_length, COUNTED)


def harness_evaluation(lm: Any, loaded: Loaded, batch_size: int, limit: int | None) -> Evaluation:
    """Return the answers of a harness model on a task: prediction and reference of each evenly spaced example.

    An answer is the number of a choice; of a continuation, its number among the different ones of the task, or -1.
    """
    from lm_eval.evaluator import evaluate as harness_evaluate

    rows = spaced_rows(len(loaded.docs), limit)
    with quiet():
        found = harness_evaluate(lm, loaded.tasks, samples={loaded.name: rows}, bootstrap_iters=0)
    samples = sorted(found["samples"][loaded.name], key=lambda sample: sample["doc_id"])
    texts = [str(gold(loaded.task, doc)) for doc in loaded.docs]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    pairs = [_answer(sample, loaded, numbers) for sample in samples]
    columns = {"prediction": [pair[0] for pair in pairs], "reference": [pair[1] for pair in pairs]}
    return Evaluation(columns, lm.finite, batch_size, remark=lm.remark)


def _answer(sample: Any, loaded: Loaded, numbers: dict[str, int]) -> tuple[float, float]:
    """Return prediction and reference of one example, of which the harness decided whether it is right."""
    is_right, target = float(sample[loaded.metric]) == 1, gold(loaded.task, sample["doc"])
    if loaded.task.OUTPUT_TYPE == "loglikelihood":
        number = float(numbers[str(target)])
        return (number if is_right else -1.0), number
    choices = loaded.task.doc_to_choice(sample["doc"])
    length = {"acc": lambda _: 1, "acc_norm": len, "acc_bytes": lambda choice: len(choice.encode())}[loaded.metric]
    likelihoods = [each[0] for each in sample["filtered_resps"]]
    scores = [value / length(choice) for value, choice in zip(likelihoods, choices, strict=False)]
    predicted = max(range(len(scores)), key=scores.__getitem__)
    accepted = right(target, choices)
    if is_right is not (predicted in accepted):
        raise RuntimeError(f"lm_eval {loaded.name} example {sample['doc_id']}: {loaded.metric} contradicts its choices")
    return float(predicted), float(predicted if is_right else accepted[0])
