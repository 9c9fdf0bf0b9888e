"""Model types of zero-shot classifiers. Without torch."""

TWO_TOWERS = ("clip", "siglip")
"""Models with a vision tower and a text tower."""
WITHOUT_TEXTS = ("clip_vision_model", "siglip_vision_model")
"""The same with the embeddings of their classes in place of the text tower."""
