"""One HTML page, and pictures, from artifacts; no model, no torch."""
