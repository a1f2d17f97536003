"""Cut models for other runtimes: one file, or one folder, for each."""
