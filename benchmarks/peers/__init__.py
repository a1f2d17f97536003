"""Recipes of others, from their papers' formulas: one file a recipe, each with its source."""
