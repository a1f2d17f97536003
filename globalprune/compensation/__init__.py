"""Weights that are left, solved again so that a cut model computes what the whole one did."""
