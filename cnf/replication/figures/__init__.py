"""Figures that an evaluation writes: what a model makes of the pictures of a set."""
