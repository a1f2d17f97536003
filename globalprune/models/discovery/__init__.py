"""How a model type that no table knows is cut: found out and proved on a small model of its own."""
