"""What the phases hand each other: tables, plans and records, as values and as files. No torch."""
