"""Recipes side by side: items that run by themselves, one judgement for all, tables."""
