"""What a checkpoint looks like: its facts, its tensors, its groups, and how it is opened and saved."""
