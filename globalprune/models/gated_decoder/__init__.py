"""Decoder layers of grouped-query attention and a gated MLP: the shape that all families share."""
