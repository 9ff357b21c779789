// Normalisation by mean and variance: (x - mean) · rstd · weight + bias, where every number belongs to one set whose
// mean and rstd = 1 / √(var + eps) it shares, and to one channel, whose weight and bias it shares. One block a set.
//
// | norm  | sets                   | the j-th number of set s, and its channel                                    |
// |-------|------------------------|------------------------------------------------------------------------------|
// | rows  | rows of (n, width)     | s · width + j, channel j                                                     |
// | group | (example, group)       | s · size + j, channel (s mod groups) · channels of a group + j / spatial      |
// | batch | channels of (N, C, S)  | ((j / S) · C + s) · S + j mod S, channel s                                   |
//
// A mean is found in two steps: the second adds the mean of what the first left.
#include "../common.cuh"

enum Norm { ROWS, GROUPS, BATCH };

struct Layout {
  int count, channels, spatial;  // groups of an example, channels of a group or in all, numbers of a channel
};

template <Norm NORM>
__device__ i64 place(Layout at, i64 size, int j) {
  if (NORM == BATCH) return ((i64)(j / at.spatial) * at.channels + blockIdx.x) * at.spatial + j % at.spatial;
  return blockIdx.x * size + j;
}

template <Norm NORM>
__device__ int channel(Layout at, int j) {
  if (NORM == ROWS) return j;
  if (NORM == BATCH) return blockIdx.x;
  return blockIdx.x % at.count * at.channels + j / at.spatial;
}

// statistics (2, sets): means and rstd; they are read instead of found where they are `fixed`
template <Norm NORM>
__device__ void normalize(const T* x, const T* weight, const T* bias, int affine, T* out, T* statistics, T* variances,
                          int size, Layout at, T eps, int centred, int fixed) {
  T* scratch = dynamic_shared<T>();
  T mean = 0, rstd;
  if (fixed) {
    mean = statistics[blockIdx.x], rstd = statistics[gridDim.x + blockIdx.x];
  } else {
    if (centred) {
      for (int j = threadIdx.x; j < size; j += blockDim.x) mean += x[place<NORM>(at, size, j)];
      mean = over_block(mean, Sum(), scratch) / size;
    }
    T rest = 0, square = 0;
    for (int j = threadIdx.x; j < size; j += blockDim.x) {
      T difference = x[place<NORM>(at, size, j)] - mean;
      rest += difference, square += difference * difference;
    }
    rest = centred ? over_block(rest, Sum(), scratch) / size : T(0);
    T variance = over_block(square, Sum(), scratch) / size - rest * rest;
    variance = variance < 0 ? T(0) : variance;
    mean += rest, rstd = 1 / sqrt(variance + eps);
    if (threadIdx.x == 0) {
      statistics[blockIdx.x] = mean, statistics[gridDim.x + blockIdx.x] = rstd;
      if (NORM == BATCH) variances[blockIdx.x] = variance;
    }
  }
  for (int j = threadIdx.x; j < size; j += blockDim.x) {
    i64 i = place<NORM>(at, size, j);
    int c = channel<NORM>(at, j);
    T normal = (x[i] - mean) * rstd;
    out[i] = normal * (affine & 1 ? weight[c] : T(1)) + (affine & 2 ? bias[c] : T(0));
  }
}

#define NORMALIZE(name, NORM)                                                                                          \
  extern "C" __global__ void name(const T* x, const T* weight, const T* bias, int affine, T* out, T* statistics,        \
                                  T* variances, int size, int count, int channels, int spatial, T eps, int centred,     \
                                  int fixed) {                                                                          \
    normalize<NORM>(x, weight, bias, affine, out, statistics, variances, size, {count, channels, spatial}, eps,         \
                    centred, fixed);                                                                                    \
  }                                                                                                                     \
  EXPORTED(name)
NORMALIZE(rows, ROWS)
NORMALIZE(groups, GROUPS)
NORMALIZE(batch, BATCH)

// With n = normalised x and p = g · weight:    gx = rstd (p - mean p - n · mean (p n)),    without mean p if not centred
template <Norm NORM>
__device__ void pull(const T* g, const T* x, const T* weight, int affine, const T* statistics, T* gx, int size,
                     Layout at, int centred) {
  T* scratch = dynamic_shared<T>();
  T mean = statistics[blockIdx.x], rstd = statistics[gridDim.x + blockIdx.x], straight = 0, along = 0;
  for (int j = threadIdx.x; j < size; j += blockDim.x) {
    i64 i = place<NORM>(at, size, j);
    T p = g[i] * (affine & 1 ? weight[channel<NORM>(at, j)] : T(1));
    straight += p, along += p * ((x[i] - mean) * rstd);
  }
  straight = centred ? over_block(straight, Sum(), scratch) / size : T(0);
  along = over_block(along, Sum(), scratch) / size;
  for (int j = threadIdx.x; j < size; j += blockDim.x) {
    i64 i = place<NORM>(at, size, j);
    T p = g[i] * (affine & 1 ? weight[channel<NORM>(at, j)] : T(1));
    gx[i] = (p - straight - (x[i] - mean) * rstd * along) * rstd;
  }
}

#define PULL(name, NORM)                                                                                               \
  extern "C" __global__ void name(const T* g, const T* x, const T* weight, int affine, const T* statistics, T* gx,      \
                                  int size, int count, int channels, int spatial, int centred) {                        \
    pull<NORM>(g, x, weight, affine, statistics, gx, size, {count, channels, spatial}, centred);                        \
  }                                                                                                                     \
  EXPORTED(name)
PULL(rows_pulled, ROWS)
PULL(groups_pulled, GROUPS)

// Of batch norm also the sums for weight and bias, (2, C), since a set is a channel; `moved` (2, C) are the gradients of
// mean and variance as results. With fixed statistics gx is g · weight · rstd.
extern "C" __global__ void batch_pulled(const T* g, const T* x, const T* weight, int affine, const T* statistics,
                                        const T* moved, T* gx, T* sums, int size, int channels, int spatial, int fixed) {
  T* scratch = dynamic_shared<T>();
  Layout at = {1, channels, spatial};
  T mean = statistics[blockIdx.x], rstd = statistics[gridDim.x + blockIdx.x], total = 0, along = 0;
  for (int j = threadIdx.x; j < size; j += blockDim.x) {
    i64 i = place<BATCH>(at, size, j);
    total += g[i], along += g[i] * ((x[i] - mean) * rstd);
  }
  total = over_block(total, Sum(), scratch);
  along = over_block(along, Sum(), scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = along, sums[gridDim.x + blockIdx.x] = total;
  T scale = rstd * (affine & 1 ? weight[blockIdx.x] : T(1)), of_normal = 0, of_one = 0;
  if (!fixed) {
    of_normal = (2 * moved[gridDim.x + blockIdx.x] / rstd - scale * along) / size;
    of_one = (moved[blockIdx.x] - scale * total) / size;
  }
  for (int j = threadIdx.x; j < size; j += blockDim.x) {
    i64 i = place<BATCH>(at, size, j);
    gx[i] = g[i] * scale + (x[i] - mean) * rstd * of_normal + of_one;
  }
}
EXPORTED(batch_pulled)

// ---- the gradients of weight and bias where a set has several channels: Σ g n and Σ g over all numbers of a channel.
// Blocks of 32 × 8 threads: a warp reads 32 neighbouring channels of a row, and 8 rows at a time. Block (., y) adds up
// every gridDim.y-th bundle of 8 rows into partial[y] (2, channels), which are added afterwards, always in one order.
extern "C" __global__ void rows_affine(const T* g, const T* x, const T* statistics, T* partial, int rows, int width) {
  T* shared = dynamic_shared<T>();  // (2, 8, 32)
  int across = threadIdx.x % WARP, down = threadIdx.x / WARP, c = blockIdx.x * WARP + across;
  T along = 0, total = 0;
  if (c < width) {
    for (i64 row = (i64)blockIdx.y * 8 + down; row < rows; row += (i64)gridDim.y * 8) {
      T pulled = g[row * width + c];
      along += pulled * ((x[row * width + c] - statistics[row]) * statistics[rows + row]), total += pulled;
    }
  }
  shared[threadIdx.x] = along, shared[256 + threadIdx.x] = total;
  __syncthreads();
  if (down || c >= width) return;
  for (int k = 1; k < 8; k++) along += shared[k * WARP + across], total += shared[256 + k * WARP + across];
  partial[((i64)blockIdx.y * 2) * width + c] = along;
  partial[((i64)blockIdx.y * 2 + 1) * width + c] = total;
}
EXPORTED(rows_affine)

// A block a channel of (N, C, S); its group's statistics are those of set example · groups + channel / channels of a group.
extern "C" __global__ void groups_affine(const T* g, const T* x, const T* statistics, T* sums, int examples, int groups,
                                         int channels, int spatial) {
  T* scratch = dynamic_shared<T>();
  int all = groups * channels, sets = examples * groups;
  T along = 0, total = 0;
  for (int j = threadIdx.x; j < examples * spatial; j += blockDim.x) {
    int set = j / spatial * groups + blockIdx.x / channels;
    i64 i = ((i64)(j / spatial) * all + blockIdx.x) * spatial + j % spatial;
    along += g[i] * ((x[i] - statistics[set]) * statistics[sets + set]), total += g[i];
  }
  along = over_block(along, Sum(), scratch);
  total = over_block(total, Sum(), scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = along, sums[all + blockIdx.x] = total;
}
EXPORTED(groups_affine)
