"""The second phase: a plan becomes steps, the steps become a smaller checkpoint."""
