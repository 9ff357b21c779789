// Attention of 16-bit numbers by tensor cores (arXiv 2307.08691): up to 128 columns, a multiple of 8, in Q, K and V.
//
// A block makes 64 queries, 16 a warp, against 64 keys at a time. Scores stay in registers, where what the product
// Q K' leaves in a lane is what the product P V takes from it. While a tile is multiplied the next one is on its way to
// the other half of the shared memory. Scores and sums are float; weights are rounded to 16 bits.
#include "../tensor_cores.cuh"
#include "../common.cuh"
#include "attention.cuh"
#include "attention_mma.cuh"

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

  copy_tile<WIDE, TILE>(q_tile, Q, row);
  copy_tile<WIDE, TILE>(k_tiles, K, 0);
  copy_tile<WIDE, TILE>(v_tiles, V, 0);
  end_of_group();
  u32 q_part[WIDE / 16][4];
  float sums[WIDE / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};  // of rows g and g + 8
  for (int first = 0, half = 0; first < end; first += TILE, half ^= 1) {
    if (first + TILE < end) {
      copy_tile<WIDE, TILE>(k_tiles + (half ^ 1) * SIZE, K, first + TILE);
      copy_tile<WIDE, TILE>(v_tiles + (half ^ 1) * SIZE, V, first + TILE);
    }
    end_of_group();
    wait_for_copies<1>();
    __syncthreads();  // this tile is there
    if (first == 0) {
#pragma unroll
      for (int d = 0; d < WIDE / 16; d++) load_left<WIDE>(q_part[d], q_tile + warp * 16 * ROW, d);
    }
    float scores[TILE / 8][4] = {};
#pragma unroll
    for (int d = 0; d < WIDE / 16; d++)
#pragma unroll
      for (int j = 0; j < TILE / 16; j++) {
        const T* sixteen = k_tiles + half * SIZE + j * 16 * ROW;
        add_inner_products<WIDE>(scores[2 * j], scores[2 * j + 1], q_part[d], sixteen, d);
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
    for (int j = 0; j < TILE / 16; j++)
      add_weighted<WIDE>(sums, scores[2 * j], scores[2 * j + 1], v_tiles + half * SIZE + j * 16 * ROW);
    __syncthreads();  // this tile has been read, and the next but one may come
  }
  float shares[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float whole = over_row(total[r], Sum());
    shares[r] = whole == 0 ? 0 : 1 / whole;
    int query = row + warp * 16 + g + r * 8;
    if (t == 0 && query < queries)
      logs[(i64)head * queries + query] = whole == 0 ? INFINITY : top[r] / LOG2_E + logf(whole);
  }
  store<WIDE>(sums, matrix(out, head, heads, queries, values, lasts & 8), row + warp * 16, shares);
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
