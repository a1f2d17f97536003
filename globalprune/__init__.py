"""globalprune cuts a large language model down to a budget, and shows, edits and reuses the decision."""

