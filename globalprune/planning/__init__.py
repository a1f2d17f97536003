"""From a table and a budget to a plan. No torch."""
