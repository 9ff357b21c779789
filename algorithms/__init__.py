"""Classic algorithms and data structures on the standard library, NumPy and Numba.

Imported as `tinygrad_zoo.algorithms`. Nothing here imports the rest of the package.
"""
