"""Pictures from artifacts; no model, no torch."""
