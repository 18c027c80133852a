"""Measurements of speed and of agreement between processors; each is a command of its own."""
