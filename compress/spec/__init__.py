"""Configuration: recipes, steps, measuring, number formats. Does not import torch."""
