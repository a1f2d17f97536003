"""Phases in a row; the only place that knows several of them."""
