"""The knapsack of planning, and how it is solved. Nothing here knows of models or plans."""
