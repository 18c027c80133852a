"""Fast twins of the hot spots of functional/, with the same signatures; `minigan.ops` decides who is called.

toom_cook  matrices of short convolutions          winograd   convolution by them, on tiles
workers    a few threads that share the work       conv       which convolution is computed how
blocks     the inner loops, in NumPy by pieces     batchnorm  in two passes over the numbers
compiled   the same loops, compiled by numba       pointwise  activations, by pieces
                                                updates    of parameters, in one pass
awake      how its threads wait for each other     dense, resample  parts of the columns, of the images
"""
