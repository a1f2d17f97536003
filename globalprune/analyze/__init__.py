"""The first phase: passes and importance become a table and a record."""
