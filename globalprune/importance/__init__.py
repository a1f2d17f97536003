"""What a group is worth: one file a method, one literal registry."""
