"""Sentence encoders: transformers models whose one output is the pooled vector of a text."""
