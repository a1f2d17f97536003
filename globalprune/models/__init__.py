"""What a checkpoint looks like: facts, tensors, groups; how it is opened, loaded and described."""
