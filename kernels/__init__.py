"""Array in, array out: the compiled kernels, one folder an operation (`cpu.py`: Numba, `gpu.py` and `NAME.cu`: CUDA).

Imported as `tinygrad_zoo.kernels`. Nothing here knows of tensors or gradients, and nothing imports the rest of the
package; Numba and CuPy load on first use.
"""
