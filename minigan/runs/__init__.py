"""A run: its folder, its checkpoints, metrics and pictures, and the loop that makes them."""
