"""The sublayers of a model, run one by one on its residual stream."""
