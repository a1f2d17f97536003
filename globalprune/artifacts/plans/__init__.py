"""Plans: what goes, as a value and as a file, what it does, and the target it was made for."""
