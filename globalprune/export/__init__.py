"""gp export: a model as a GGUF file, which llama.cpp and all that is built on it read."""
