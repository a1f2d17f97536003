"""In which order the groups of every half go, and what trials of that cost."""
