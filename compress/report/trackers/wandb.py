"""Weights & Biases: a run a result, online or offline as wandb's own settings (WANDB_MODE) say.

The power trace is a series of its own over seconds, so that runs of different lengths lie over one another.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.report.trackers import ALREADY
from compress.report.trackers.facts import Facts


def send(facts: Facts, folder: Path | None, project: str) -> str:
    """Logs the run; returns where it is. Raises InputError for what wandb refuses."""
    import wandb
    from wandb.errors import CommError, UsageError

    here = folder or Path()
    if any((here / "wandb").glob(f"*run-*-{facts.id}")):
        return f"{here / 'wandb'} {ALREADY}"
    try:
        here.mkdir(parents=True, exist_ok=True)
        with wandb.init(
            project=project,
            group=facts.workload,
            name=facts.run,
            id=facts.id,
            resume="never",
            dir=here,
            config=dict(facts.config),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True),
        ) as run:
            run.define_metric("trace/*", step_metric="trace/seconds")
            for line in merged(facts.power):
                run.log(line)
            run.summary.update(facts.metrics)
            kept = Path(run.dir).parent
            place = f"{kept} (offline; send it with: wandb sync {kept})" if run.offline else run.url
    except (CommError, UsageError, ValueError) as error:
        raise InputError(
            f"--to wandb: {str(error).strip()}; log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None
    except OSError as error:
        raise InputError(f"--folder {here}: cannot be written ({error.strerror})") from None
    wandb.teardown()  # an offline run is whole on disk only when wandb's own process has ended
    return str(place)


def merged(power: Mapping[str, list[tuple[int, float]]]) -> list[dict[str, Any]]:
    """A line a moment with every series that was sampled then, and its seconds since the first."""
    moments: dict[int, dict[str, Any]] = {}
    for name, pairs in power.items():
        for when, value in pairs:
            moments.setdefault(when, {})[name] = value
    first = min(moments, default=0)
    return [{"trace/seconds": (when - first) / 1e9, **moments[when]} for when in sorted(moments)]
