"""The mathematics: pure functions, one operation a file, forward and backward side by side.

Every forward function returns its result, and with it a cache: a small named tuple of exactly what the
backward function needs. Where that is nothing but the arguments (convolutions, upsampling, shuffles of pixels),
it returns the result alone. Nothing is kept anywhere else. A cache may hold the very array that was
given or returned, so neither is to be written into before backward. R is the number of rows (samples),
N the batch size, C the channels; arrays are channels-last.
"""
