"""Robust training: recipes, objectives, and a loop that can be interrupted at any time."""
