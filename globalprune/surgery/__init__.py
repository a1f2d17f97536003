"""gp apply: a model and a plan become a cut model."""
