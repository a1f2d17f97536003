"""Weights on disk: safetensors, GGUF and adapters, read and written without building a model."""
