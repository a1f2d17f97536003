"""Closed-form repair of what a cut leaves: least squares and OBS on tensors and Gram matrices."""
