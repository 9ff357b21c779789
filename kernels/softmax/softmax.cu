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

// ---- cross-entropy. With p = softmax(x), t the target, w the classes' weights (1 where `weighted` is 0) and ε the
// smoothing: q_c = ε / C + (1 - ε) [c = t], and the loss of a row is - Σ q_c w_c log p_c. A target that is no class gives
// NaN; one that is to be ignored, 0.

__device__ T weight_of(const T* weights, int weighted, int c) { return weighted ? weights[c] : T(1); }

// losses (n), the weight of every row's target (n), and (2, n) normalizers: the largest entry, and the logarithm of the sum
extern "C" __global__ void cross_entropy(const T* x, const i64* target, const T* weights, int weighted, T* losses,
                                         T* counts, T* normalizers_out, int width, i64 ignored, T smoothing) {
  T* scratch = dynamic_shared<T>();
  const T* row = x + (i64)blockIdx.x * width;
  Normalizers found = normalizers(row, width, scratch);
  T log_total = log(found.total), spread = 0;
  if (smoothing != 0) {
    for (int j = threadIdx.x; j < width; j += blockDim.x)
      spread += weight_of(weights, weighted, j) * (row[j] - found.top - log_total);
    spread = over_block(spread, Sum(), scratch);
  }
  if (threadIdx.x) return;
  i64 t = target[blockIdx.x];
  T loss = 0, count = 0;
  if (t != ignored) {
    bool known = t >= 0 && t < width;
    count = known ? weight_of(weights, weighted, (int)t) : T(NAN);
    loss = known ? -(1 - smoothing) * count * (row[t] - found.top - log_total) - smoothing / width * spread : T(NAN);
  }
  losses[blockIdx.x] = loss;
  counts[blockIdx.x] = count;
  normalizers_out[blockIdx.x] = found.top;
  normalizers_out[gridDim.x + blockIdx.x] = log_total;
}
EXPORTED(cross_entropy)

// gx_c = share · g (p_c Σ q w - q_c w_c), with one g for all rows or (each) one a row
extern "C" __global__ void cross_entropy_pulled(const T* g, int each, const T* x, const i64* target, const T* weights,
                                                int weighted, const T* normalizers_in, const T* share, T* gx, int width,
                                                i64 ignored, T smoothing) {
  i64 start = (i64)blockIdx.x * width, t = target[blockIdx.x];
  T total = 0;  // Σ w
  if (weighted && smoothing != 0) {
    for (int j = threadIdx.x; j < width; j += blockDim.x) total += weights[j];
    total = over_block(total, Sum(), dynamic_shared<T>());
  } else {
    total = width;
  }
  T scale = t == ignored ? T(0) : *share * g[each ? blockIdx.x : 0];
  T even = smoothing / width, own = t >= 0 && t < width ? (1 - smoothing) * weight_of(weights, weighted, (int)t) : T(0);
  T top = normalizers_in[blockIdx.x], log_total = normalizers_in[gridDim.x + blockIdx.x];
  for (int j = threadIdx.x; j < width; j += blockDim.x) {
    T p = exp(x[start + j] - top - log_total);
    T q = even * weight_of(weights, weighted, j) + (j == t ? own : T(0));
    gx[start + j] = scale == 0 ? T(0) : scale * (p * (own + even * total) - q);
  }
}
EXPORTED(cross_entropy_pulled)
