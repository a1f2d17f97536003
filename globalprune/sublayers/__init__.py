"""Attention and MLP of a layer, run alone on streams of hidden states."""
