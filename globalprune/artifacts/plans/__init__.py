"""Plans: what goes, as a value and as a file, what it does, and what it was asked for."""
