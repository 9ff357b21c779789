"""Classic algorithms and data structures on the standard library, NumPy and Numba, a module a topic.

Imported as `tinygrad_zoo.algorithms`. Nothing here imports the rest of the package. Every structure is readable Python;
functions that are given NumPy arrays of numbers run compiled loops instead, with the same results.

>>> from tinygrad_zoo.algorithms.heaps import MinHeap
>>> from tinygrad_zoo.algorithms.running_median import running_median
>>> MinHeap([3, 1, 2]).pop(), running_median(np.array([1, 2, 3]))
(1, array([1. , 1.5, 2. ]))
"""
