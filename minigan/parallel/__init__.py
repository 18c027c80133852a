"""Processes that share each batch: what one of them knows of the others, and how their numbers meet."""
