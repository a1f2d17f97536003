"""README.md of a result, made from the records that lie beside it."""
