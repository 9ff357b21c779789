// Softmax, its logarithm and cross-entropy over the rows of a matrix (n, width): one block a row.
//
// A thread sees every blockDim-th entry of its row, three times: for the largest entry, for the sum, and to write. Rows
// of up to some thousand entries stay in the cache meanwhile.
#include "../common.cuh"

struct Normalizers {
  T top, total;  // the largest entry of the row, and the sum of exp(entry - top)
};

__device__ Normalizers normalizers(const T* row, int width, T* scratch) {
  T top = -INFINITY;
  for (int j = threadIdx.x; j < width; j += blockDim.x) top = Largest()(top, row[j]);
  top = over_block(top, Largest(), scratch);
  T total = 0;
  for (int j = threadIdx.x; j < width; j += blockDim.x) total += exp(row[j] - top);
  return {top, over_block(total, Sum(), scratch)};
}

extern "C" __global__ void softmax(const T* x, T* out, int width) {
  const T* row = x + (i64)blockIdx.x * width;
  Normalizers found = normalizers(row, width, dynamic_shared<T>());
  for (int j = threadIdx.x; j < width; j += blockDim.x)
    out[(i64)blockIdx.x * width + j] = exp(row[j] - found.top) / found.total;
}
EXPORTED(softmax)

// gx = out (g - Σ g out)
extern "C" __global__ void softmax_pulled(const T* g, const T* out, T* gx, int width) {
  i64 start = (i64)blockIdx.x * width;
  T inner = 0;
  for (int j = threadIdx.x; j < width; j += blockDim.x) inner += g[start + j] * out[start + j];
  inner = over_block(inner, Sum(), dynamic_shared<T>());
  for (int j = threadIdx.x; j < width; j += blockDim.x) gx[start + j] = out[start + j] * (g[start + j] - inner);
}
EXPORTED(softmax_pulled)

extern "C" __global__ void log_softmax(const T* x, T* out, int width) {
  const T* row = x + (i64)blockIdx.x * width;
  Normalizers found = normalizers(row, width, dynamic_shared<T>());
  T log_total = log(found.total);
  for (int j = threadIdx.x; j < width; j += blockDim.x)
    out[(i64)blockIdx.x * width + j] = row[j] - found.top - log_total;
}
EXPORTED(log_softmax)

// gx = g - exp(out) Σ g
extern "C" __global__ void log_softmax_pulled(const T* g, const T* out, T* gx, int width) {
  i64 start = (i64)blockIdx.x * width;
  T total = 0;
  for (int j = threadIdx.x; j < width; j += blockDim.x) total += g[start + j];
  total = over_block(total, Sum(), dynamic_shared<T>());
  for (int j = threadIdx.x; j < width; j += blockDim.x) gx[start + j] = g[start + j] - exp(out[start + j]) * total;
}
EXPORTED(log_softmax_pulled)
