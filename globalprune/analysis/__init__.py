"""gp analyze: what every group of a model is worth, measured on text."""
