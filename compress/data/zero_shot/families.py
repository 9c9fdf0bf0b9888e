"""Model types of zero-shot classifiers, and their own field of a configuration. Without torch."""

TWO_TOWERS = ("clip", "siglip")
"""Models with a vision tower and a text tower."""
WITHOUT_TEXTS = ("clip_vision_model", "siglip_vision_model")
"""The same with the embeddings of their classes in place of the text tower."""
TEMPLATES = "zero_shot_templates"
"""Field of a configuration with the templates of the texts."""
USUAL_TEMPLATES = ("a photo of a {}.",)
"""Those of CLIP's paper, section 3.1.4."""
