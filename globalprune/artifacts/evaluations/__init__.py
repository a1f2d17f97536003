"""Models judged side by side, swept by many plans, or timed: records, and their tables."""
