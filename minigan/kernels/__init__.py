"""Fast twins of the hot spots of functional/, with the same signatures; `minigan.ops` decides who is called.

operations
  conv, winograd, toom_cook      which convolution is computed how; on tiles; the matrices for that
  batchnorm, pointwise, dropout  in two passes over the numbers; activations, by pieces; masks and what they leave
  dense, maxout, resample        parts of the columns; a pass without a search; some of the images
  updates                        of parameters, in one pass
inner loops
  blocks, compiled, loops, jit   in NumPy, by pieces; by numba; which of the two; numba's compiler and its cache
threads and memory
  workers, awake, placement      who shares the work; how threads wait for each other; on which processors
  memory, kept, subnormals       freed memory that stays; weights on tiles, until the update; numbers nearly zero
"""
