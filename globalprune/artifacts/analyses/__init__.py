"""What was measured of a model: the table of groups, and the record beside it."""
