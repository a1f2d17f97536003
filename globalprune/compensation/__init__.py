"""Compensation: the weights that a cut leaves, recomputed to restore the uncut model's outputs."""
