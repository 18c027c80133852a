"""How good are the samples? One number a file, each with its formula, its source and what it cannot see."""
