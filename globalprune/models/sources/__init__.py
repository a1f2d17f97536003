"""Where a model is: a folder, a file, or the Hub."""
