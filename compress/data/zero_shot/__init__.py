"""Zero-shot classifiers of pictures: a vision tower, and the embeddings of class names that its text tower gave."""
