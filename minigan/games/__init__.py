"""Who plays whom: training steps, written to be read beside the papers' algorithms."""
