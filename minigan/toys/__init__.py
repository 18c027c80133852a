"""Toy data of one and two dimensions, where everything can be drawn: both densities, D, and every gradient."""
