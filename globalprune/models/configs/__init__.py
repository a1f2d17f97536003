"""What config.json says of a model, as it was and as a cut leaves it."""
