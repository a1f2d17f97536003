"""What a model is like: perplexity, size, speed and memory, side by side."""
