"""gp eval and gp measure: perplexity, tasks, size and speed of models side by side."""
