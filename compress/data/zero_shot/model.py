"""The model of a zero-shot classifier: a vision tower and the stored embeddings of its classes.

    pixel_values -> vision tower -> (projection) -> image embedding of length 1
                                                      . class_embeddings [classes, width] * exp(scale) (+ bias)
                                                    -> logits [batch, classes]

Names of modules are those of CLIPModel and SiglipModel, without their text towers. Embeddings, scale and bias are
buffers: no step changes or trains them. Logits are computed in float32, since in bf16 close classes would be equal.
"""

import copy
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionModelWithProjection, SiglipVisionConfig, SiglipVisionModel
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.siglip.modeling_siglip import SiglipPreTrainedModel

from compress.base.config import InputError
from compress.data.auto_class import AutoClass
from compress.data.zero_shot.families import TWO_TOWERS


class CLIPForZeroShotImageClassification(CLIPVisionModelWithProjection):
    """A CLIP model for fixed classes."""

    class_embeddings: torch.Tensor
    logit_scale: torch.Tensor

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("class_embeddings", torch.zeros(config.num_labels, config.projection_dim))
        self.register_buffer("logit_scale", torch.zeros(()))

    def forward(self, pixel_values: Any = None, **given: Any) -> Any:
        """Return logits [batch, classes] of pixel_values [batch, channels, height, width]."""
        found = self.vision_model(pixel_values=pixel_values, **given)
        scores = cosines(self.visual_projection(found.pooler_output), self.class_embeddings)
        return answered(found, scores * self.logit_scale.float().exp())


class SiglipForZeroShotImageClassification(SiglipPreTrainedModel):
    """A SigLIP model for fixed classes."""

    config: SiglipVisionConfig
    class_embeddings: torch.Tensor
    logit_scale: torch.Tensor
    logit_bias: torch.Tensor
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.vision_model = SiglipVisionModel._from_config(config)
        self.register_buffer("class_embeddings", torch.zeros(config.num_labels, config.hidden_size))
        self.register_buffer("logit_scale", torch.zeros(1))
        self.register_buffer("logit_bias", torch.zeros(1))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the convolution that reads patches."""
        patches: nn.Module = self.vision_model.embeddings.patch_embedding
        return patches

    def forward(self, pixel_values: Any = None, **given: Any) -> Any:
        """Return logits [batch, classes] of pixel_values [batch, channels, height, width]."""
        found = self.vision_model(pixel_values=pixel_values, **given)
        scores = cosines(found.pooler_output, self.class_embeddings)
        return answered(found, scores * self.logit_scale.float().exp() + self.logit_bias.float())


def cosines(images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return the cosines [batch, classes] of image embeddings [batch, width] and class embeddings of length 1."""
    images = images.float()
    return images / images.norm(dim=-1, keepdim=True) @ classes.float().T


def answered(found: Any, logits: torch.Tensor) -> Any:
    """Return the output of a vision tower with logits."""
    return ImageClassifierOutput(
        logits=logits, hidden_states=found.get("hidden_states"), attentions=found.get("attentions")
    )


CLASSES: dict[str, Any] = {
    "clip_vision_model": CLIPForZeroShotImageClassification,
    "siglip_vision_model": SiglipForZeroShotImageClassification,
}


def class_of(config: Any, trust_remote_code: bool = False) -> Any:
    """Return the class of the classifier with this vision tower. Raises InputError for other models."""
    if config.model_type not in CLASSES:
        raise InputError(f"is a {config.model_type}; expected a model of pictures and texts: {', '.join(TWO_TOWERS)}")
    return CLASSES[config.model_type]


ZERO_SHOT_CLASSIFIER = AutoClass(class_of)
"""The Auto class of zero-shot classifiers."""


def without_texts(config: Any) -> Any:
    """Return the configuration of the vision tower of a model with two. Raises InputError if it embeds no pictures."""
    vision = copy.deepcopy(config.vision_config)
    if config.model_type == "clip":
        vision.projection_dim = config.projection_dim
    elif not getattr(vision, "vision_use_head", True):
        raise InputError("config.json vision_config.vision_use_head: false, so pictures have no embedding")
    return vision
