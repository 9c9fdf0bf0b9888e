"""Zero-shot image classification: the class whose description is closest to a picture (CLIP, SigLIP).

    class names x templates -> text tower, once -> class embeddings, stored with the model
    picture -> vision tower -> image embedding -> logits [classes]: scaled cosines with the class embeddings

What is judged, measured, exported and compressed is the vision tower with the stored embeddings. So costs per picture
exclude texts, and steps leave the text side as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.errors import some
from compress.data.tasks import image_classification
from compress.data.tasks.class_names import class_names
from compress.data.tasks.task import Task
from compress.data.tasks.view import WorkloadView
from compress.data.zero_shot.families import TEMPLATES, TWO_TOWERS, WITHOUT_TEXTS

if TYPE_CHECKING:
    import datasets

NAME_HERE = "name the classes as the data does (classes in the workload)"
MOST_SHOWN = 3
TEMPLATE_LINE = 'templates: ["a photo of a {}."]  # texts of a class; several are averaged'


def fits(config: Mapping[str, Any]) -> bool:
    """Return whether the settings in `config.json` are of a model of this task."""
    return config.get("model_type") in (*TWO_TOWERS, *WITHOUT_TEXTS)


def auto(task: Task) -> Any:
    """Return the class that makes zero-shot classifiers."""
    from compress.data.zero_shot.model import ZERO_SHOT_CLASSIFIER

    return ZERO_SHOT_CLASSIFIER


def derive(folder: Path, place: str, workload: WorkloadView, load: Any, content: str) -> Path:
    """Return the folder of the vision tower with the embeddings of the workload's classes."""
    from compress.data.zero_shot import texts

    return texts.derive(folder, place, workload, load, content)


def derive_like(folder: Path, place: str, config: Any) -> Path:
    """Return the same for a student, with the classes and templates of the teacher's configuration."""
    from compress.data.zero_shot import texts

    return texts.derive_like(folder, place, config)


def unusable(model: Any) -> str:
    """Return why a model in memory cannot be used: it has no embeddings of classes."""
    if hasattr(model, "class_embeddings"):
        return ""
    return (
        "its classes are not known; save it with its processor in a folder, and name the folder in a workload of "
        "zero-shot-image-classification"
    )


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return examples with pixel_values (float32 [channels, height, width]) and labels."""
    examples = image_classification.prepare_named(raw, processor, workload, config, NAME_HERE)
    notes = (described(class_names(config), getattr(config, TEMPLATES, ())), examples.info.description)
    examples.info.description = "; ".join(filter(None, notes))
    return examples


def described(classes: Sequence[str], templates: Sequence[str]) -> str:
    """Return a note on the texts that were encoded, and on what steps change."""
    count = f"{len(templates)} templates" if len(templates) > 1 else "1 template"
    named, written = some(classes, MOST_SHOWN), some([*map(repr, templates)], MOST_SHOWN)
    return (
        f"{len(classes)} classes ({named}) x {count} ({written}): their texts were encoded once by the text tower, "
        "whose embeddings are stored; steps change the vision tower only"
    )


def lines(folder: Path) -> list[str]:
    """Return the line of a workload with the templates."""
    return [TEMPLATE_LINE]


TASK = replace(
    image_classification.TASK,
    name="zero-shot-image-classification",
    auto_model="AutoModelForZeroShotImageClassification",
    auto_processor="AutoProcessor",
    architectures=("CLIPModel", "SiglipModel", "ForZeroShotImageClassification"),
    pipeline_tag="zero-shot-image-classification",
    prepare=prepare,
    fits=fits,
    auto=auto,
    own_classes=True,
    derive=derive,
    derive_like=derive_like,
    unusable=unusable,
    lines=lines,
    settings=("classes", "templates"),
    trains_by_losses=True,
)
