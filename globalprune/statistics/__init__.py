"""Passes of windows through a model: hooks, losses, accumulated statistics."""
