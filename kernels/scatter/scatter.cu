// Rows added at places of a table. The places come sorted, so that those of one row of the table are a run: the thread
// whose entry begins a run adds all of it up, in order, and the result does not depend on who comes first.
#include "../common.cuh"

// index (n) sorted, the entry of `rows` that each was, rows (n, width), table (length, width)
extern "C" __global__ void add_rows(T* table, const i64* index, const i64* entry, const T* rows, i64 n, int width,
                                    i64 length) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n * width; i += (i64)gridDim.x * blockDim.x) {
    i64 k = i / width, place = index[k];
    int c = (int)(i % width);
    if ((k && index[k - 1] == place) || place < 0 || place >= length) continue;
    T total = 0;
    for (; k < n && index[k] == place; k++) total += rows[entry[k] * width + c];
    table[place * width + c] += total;
  }
}
EXPORTED(add_rows)
