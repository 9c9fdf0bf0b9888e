"""Weights & Biases: one run per result, online or offline depending on wandb's own settings (WANDB_MODE).

The power trace is a separate series over seconds, so that runs of different lengths overlay.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.report.trackers import ALREADY
from compress.report.trackers.facts import Facts


def send(facts: Facts, folder: Path | None, project: str) -> str:
    """Log the run and return its location. Raises InputError if wandb refuses."""
    import wandb
    from wandb.errors import CommError, UsageError

    root = folder or Path()
    if any((root / "wandb").glob(f"*run-*-{facts.id}")):
        return f"{root / 'wandb'} {ALREADY}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with wandb.init(
            project=project,
            group=facts.workload,
            name=facts.run,
            id=facts.id,
            resume="never",
            dir=root,
            config=dict(facts.config),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True),
        ) as run:
            run.define_metric("trace/*", step_metric="trace/seconds")
            for line in merged(facts.power):
                run.log(line)
            run.summary.update(facts.metrics)
            run_folder = Path(run.dir).parent
            place = f"{run_folder} (offline; upload it with: wandb sync {run_folder})" if run.offline else run.url
    except (CommError, UsageError, ValueError) as error:
        raise InputError(
            f"--to wandb: {str(error).strip()}; log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None
    except OSError as error:
        raise InputError(f"--folder {root}: cannot be written ({error.strerror})") from None
    wandb.teardown()  # an offline run is complete on disk only after wandb's process has ended
    return str(place)


def merged(power: Mapping[str, list[tuple[int, float]]]) -> list[dict[str, Any]]:
    """Return one record per time with every series sampled then, and its seconds since the first."""
    moments: dict[int, dict[str, Any]] = {}
    for name, pairs in power.items():
        for time_ns, value in pairs:
            moments.setdefault(time_ns, {})[name] = value
    first = min(moments, default=0)
    return [{"trace/seconds": (time_ns - first) / 1e9, **moments[time_ns]} for time_ns in sorted(moments)]
