"""Speech: the processor, the models and the texts of automatic speech recognition."""
