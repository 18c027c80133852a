"""Data: the IDX reader, the data sources, and batches as a function of (seed, step).

Nothing is imported here, so that ``import minigan.data`` stays light: take `load_images` from
`minigan.data.sources` and `Batches` from `minigan.data.batches`.
"""
