"""Optimal brain surgeon: removal orders, their losses, and trial removals along them."""
