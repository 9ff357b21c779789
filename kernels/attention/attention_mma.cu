// Attention of 16-bit numbers by tensor cores (arXiv 2307.08691): up to 128 columns, a multiple of 8, in Q, K and V.
//
// A block makes 64 queries, 16 a warp, against 64 keys at a time. Scores stay in registers, where what the product
// Q K' leaves in a lane is what the product P V takes from it. While a tile is multiplied the next one is on its way to
// the other half of the shared memory. Rows there are 16 bytes longer than they need to be: the eight rows that
// load_matrices reads at once then lie in different banks. Scores and sums are float; weights are rounded to 16 bits.
#include "../tensor_cores.cuh"
#include "../common.cuh"
#include "attention.cuh"

constexpr int TILE = 64;  // queries, and keys
constexpr int THREADS = 128;
constexpr float LOG2_E = 1.4426950408889634f;

// 64 rows of x, filled up with zeros to WIDE columns: eight columns a thread at a time.
template <int WIDE>
__device__ void copy_tile(T* to, const Matrix& x, int row) {
  for (int i = threadIdx.x; i < TILE * (WIDE / 8); i += THREADS) {
    int r = i / (WIDE / 8), c = i % (WIDE / 8) * 8;
    bool inside = row + r < x.rows && c < x.columns;
    copy_later(to + r * (WIDE + 8) + c, inside ? x.at + (i64)(row + r) * x.stride + c : x.at, inside);
  }
}

// The four lanes that hold a row are neighbours.
template <class Operation>
__device__ float over_row(float value, Operation operation) {
  value = operation(value, __shfl_xor_sync(ALL, value, 1));
  return operation(value, __shfl_xor_sync(ALL, value, 2));
}

// out = softmax(Q K' * scale) V and logs = log sum exp(scores), as in attention.cu, but with powers of two.
template <int WIDE>
__device__ void attend(const T* q, const T* k, const T* v, const unsigned char* hidden, T* out, float* logs,
                       SIZES(float)) {
  constexpr int ROW = WIDE + 8, SIZE = TILE * ROW;
  T *q_tile = dynamic_shared<T>(), *k_tiles = q_tile + SIZE, *v_tiles = k_tiles + 2 * SIZE;
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
  int of_queries = (queries + TILE - 1) / TILE, head = blockIdx.x / of_queries;
  int row = (of_queries - 1 - (int)blockIdx.x % of_queries) * TILE;  // causal, the most keys first
  Matrix Q = matrix(q, head, heads, queries, columns, lasts & 1);
  Matrix K = matrix(k, head, heads, keys, columns, lasts & 2);
  Matrix V = matrix(v, head, heads, keys, values, lasts & 4);
  Sight seen = {masked ? hidden + (i64)(head / heads) * keys : nullptr, queries, keys, causal != 0};
  int end = causal ? min(keys, row + TILE) : keys;

  copy_tile<WIDE>(q_tile, Q, row);
  copy_tile<WIDE>(k_tiles, K, 0);
  copy_tile<WIDE>(v_tiles, V, 0);
  end_of_group();
  u32 q_part[WIDE / 16][4];
  float sums[WIDE / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};  // of rows g and g + 8
  for (int first = 0, half = 0; first < end; first += TILE, half ^= 1) {
    if (first + TILE < end) {
      copy_tile<WIDE>(k_tiles + (half ^ 1) * SIZE, K, first + TILE);
      copy_tile<WIDE>(v_tiles + (half ^ 1) * SIZE, V, first + TILE);
    }
    end_of_group();
    wait_for_copies<1>();
    __syncthreads();  // this tile is there
    if (first == 0) {
#pragma unroll
      for (int d = 0; d < WIDE / 16; d++)
        load_matrices(q_part[d], q_tile + (warp * 16 + lane % 16) * ROW + d * 16 + lane / 16 * 8);
    }
    float scores[TILE / 8][4] = {};
#pragma unroll
    for (int d = 0; d < WIDE / 16; d++)
#pragma unroll
      for (int j = 0; j < TILE / 16; j++) {  // two times 8 keys
        u32 b[4];
        load_matrices(b, k_tiles + half * SIZE + (j * 16 + lane % 8 + lane / 16 * 8) * ROW + d * 16 + lane / 8 % 2 * 8);
        multiply_add<T>(scores[2 * j], q_part[d], b[0], b[1]);
        multiply_add<T>(scores[2 * j + 1], q_part[d], b[2], b[3]);
      }
    bool all_seen = !masked && first + TILE <= keys && (!causal || first + TILE - 1 <= row);
    float most[2] = {top[0], top[1]};
#pragma unroll
    for (int j = 0; j < TILE / 8; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        bool here = all_seen || seen(row + warp * 16 + g + i / 2 * 8, first + j * 8 + t * 2 + i % 2);
        scores[j][i] = here ? scores[j][i] * (scale * LOG2_E) : -INFINITY;
        most[i / 2] = Largest()(most[i / 2], scores[j][i]);
      }
    float base[2], shrunk[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      most[r] = over_row(most[r], Largest());
      base[r] = most[r] == -INFINITY ? 0 : most[r];
      shrunk[r] = exp2f(top[r] - base[r]);
      top[r] = most[r];
      total[r] *= shrunk[r];
    }
#pragma unroll
    for (int j = 0; j < TILE / 8; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        scores[j][i] = exp2f(scores[j][i] - base[i / 2]);
        total[i / 2] += scores[j][i];
      }
#pragma unroll
    for (int j = 0; j < WIDE / 8; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) sums[j][i] *= shrunk[i / 2];
#pragma unroll
    for (int x = 0; x < TILE / 16; x++) {  // 16 keys
      float(&near)[4] = scores[2 * x], (&far)[4] = scores[2 * x + 1];
      u32 weights[4] = {rounded<T>(near[0], near[1]), rounded<T>(near[2], near[3]), rounded<T>(far[0], far[1]),
                        rounded<T>(far[2], far[3])};
#pragma unroll
      for (int j = 0; j < WIDE / 16; j++) {  // two times 8 columns
        u32 b[4];
        load_matrices_transposed(b, v_tiles + half * SIZE + (x * 16 + lane % 16) * ROW + j * 16 + lane / 16 * 8);
        multiply_add<T>(sums[2 * j], weights, b[0], b[1]);
        multiply_add<T>(sums[2 * j + 1], weights, b[2], b[3]);
      }
    }
    __syncthreads();  // this tile has been read, and the next but one may come
  }
  Matrix O = matrix(out, head, heads, queries, values, lasts & 8);
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float whole = over_row(total[r], Sum()), share = whole == 0 ? 0 : 1 / whole;
    int query = row + warp * 16 + g + r * 8;
    if (query >= queries) continue;
    if (t == 0)
      logs[(i64)head * queries + query] = whole == 0 ? INFINITY : top[r] / LOG2_E + logf(whole);
#pragma unroll
    for (int j = 0; j < WIDE / 8; j++)
      if (j * 8 < values) {
        u32 pair = rounded<T>(sums[j][2 * r] * share, sums[j][2 * r + 1] * share);
        *(u32*)(O.at + (i64)query * O.stride + j * 8 + t * 2) = pair;
      }
  }
}

#define ATTENTION(WIDE)                                                                                             \
  extern "C" __global__ void __launch_bounds__(THREADS) attention_##WIDE(                                           \
      const T* q, const T* k, const T* v, const unsigned char* hidden, T* out, float* logs, SIZES(float)) {         \
    attend<WIDE>(q, k, v, hidden, out, logs, heads, queries, keys, columns, values, scale, causal, masked, lasts);  \
  }                                                                                                                 \
  EXPORTED(attention_##WIDE)
ATTENTION(32)
ATTENTION(64)
ATTENTION(128)
