"""GGUF, the file that llama.cpp and all that is built on it read."""
