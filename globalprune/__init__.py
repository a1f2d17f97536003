"""globalprune cuts a language model to a budget, and shows, edits and reuses the decision."""
