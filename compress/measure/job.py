"""The job file of a session's process: models, data and settings to measure with, and where the session is written."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compress.base.device import Device
from compress.base.files import write_atomic
from compress.base.reading import shortened
from compress.data.source import Source
from compress.data.workload import Workload
from compress.energy.meters import Gpu
from compress.spec.formats import Runtime
from compress.spec.measure import Settings

MOST_REASON = 20_000  # characters; compiler errors quote the whole code
KEYS = ("seed", "limit", "threads", "parent_on_device", "evaluates", "evaluations")


@dataclass(frozen=True)
class Spec:
    """One model to measure: an artifact's folder, or the workload's own model at some precision."""

    name: str
    path: str | None
    dtype: str
    runtime: Runtime
    low_bit: bool
    """Weights are stored in 8 bits or fewer."""
    batch_dependent: bool
    """Activation scales are computed from the batch, so answers can depend on it."""
    reference: bool
    padded_to: int | None = None
    """Tokens that every text is padded to; None pads to the batch's longest. Artifacts record their own length."""
    kv_cache: str = "auto"
    """`static` for a reference that keeps its cache in allocated memory. Artifacts record their own setting."""
    further_of: str | None = None
    """Recipe that this artifact was made by with a further seed. Only its accuracy is measured."""
    seed: int | None = None
    """That further seed."""
    own_vocabulary: bool = False
    """The model has a tokenizer of its own: fewer tokens than the dense model's."""

    @property
    def accuracy_only(self) -> bool:
        """Whether the model is evaluated, but has no rounds, memory or kernels measured."""
        return self.further_of is not None


def judged_against(present: Sequence[Spec]) -> str:
    """Return the name of the reference that verdicts compare with.

    It is the half-precision eager reference if that was measured, else the first.
    """
    return next((s.name for s in present if s.runtime == "eager" and s.dtype != "fp32"), present[0].name)


@dataclass(frozen=True)
class Job:
    """Everything that a session's process needs to measure."""

    workload: Workload
    source: Source
    runners: tuple[Spec, ...]
    """References first, and after each artifact those of its recipe's further seeds."""
    settings: Settings
    device: Device
    """Holds the models; of several GPUs, batches go to the first."""
    gpus: tuple[Gpu, ...]
    """GPUs whose meters are read; empty on a CPU."""
    seed: int
    limit: int | None
    threads: int
    parent_on_device: bool = False
    """Whether the parent process, which waits for the session, holds the device too."""
    evaluates: bool = True
    """Whether accuracy, kernels and memory are measured; a further session of the same artifacts only has rounds."""
    evaluations: str | None = None
    """Folder of the evaluations of references by earlier runs; None evaluates all again."""
    kept: Path | None = None
    """Folder of the finished sessions until results are written; the job file lacks it. None keeps no session."""


def failure(error: Exception) -> str:
    """Return an error as a reason, with the middle cut out of texts too long for a trace."""
    return shortened(f"{type(error).__name__}: {error}", MOST_REASON)


def session_folder(path: Path) -> Path:
    """Return the folder that the process of a job file writes its session to."""
    return path.with_name("session")


def write_job(path: Path, job: Job) -> None:
    """Write a job as JSON."""
    plain = {
        "workload": job.workload.model_dump(mode="json"),
        "source": {**asdict(job.source), "workload": None},
        "runners": [asdict(spec) for spec in job.runners],
        "settings": job.settings.model_dump(mode="json"),
        "device": str(job.device),
        "gpus": [asdict(gpu) for gpu in job.gpus],
        **{key: getattr(job, key) for key in KEYS},
    }
    write_atomic(path, json.dumps(plain).encode())


def read_job(path: Path) -> Job:
    """Read a job from its file."""
    plain = json.loads(path.read_text())
    workload = Workload.model_validate(plain["workload"])
    return Job(
        workload=workload,
        source=Source(**{**plain["source"], "workload": workload}),
        runners=tuple(Spec(**spec) for spec in plain["runners"]),
        settings=Settings.model_validate(plain["settings"]),
        device=Device.parse(plain["device"]),
        gpus=tuple(Gpu(**gpu) for gpu in plain["gpus"]),
        **{key: plain[key] for key in KEYS},
    )
