// Gradients of attention of 16-bit numbers by tensor cores (arXiv 2307.08691), for what attention_mma.cu takes.
//
//   P = exp(Q K' * scale - logs)    dP = dO V'    dS = P * (dP - inner), inner of a query its sum of dO * O
//   dQ = dS K * scale               dK = dS' Q * scale               dV = P' dO
//
// One kernel makes dQ, a block 64 queries, and walks over the keys; one makes dK and dV, a block 64 keys, and walks
// over the queries. Both make P and dP anew: two products more than if one kernel added to dQ what each tile of keys
// gives to it, but every entry is summed by one lane in one order, and nothing depends on the schedule.
//
// A warp owns 16 rows of the block's two tiles, the left sides of the products that make P and dP (or P' and dP'); both
// stay in registers, 32 rows of the other side at a time, where what these products leave in a lane is what the next
// products take from it. While a tile is multiplied the next one is on its way to the other half of the shared memory.
// Sums are float; P and dS are rounded to 16 bits before they multiply.
#include "../tensor_cores.cuh"
#include "../common.cuh"
#include "attention.cuh"
#include "attention_mma.cuh"

constexpr int SPAN = 32;  // rows of a walking tile whose P and dP are in registers

// Wide rows come in tiles of half the height, so that a block needs 70 KB of shared memory at most.
template <int WIDE>
struct Layout {
  static constexpr int ROW = WIDE + 8, OWN = TILE * ROW, WALK = WIDE <= 64 ? 64 : 32, STEP = WALK * ROW;
};

// The 16 rows of a tile that are a warp's, as left sides of products: kept in registers up to 64 columns, read out of
// shared memory each time beyond, where the sums leave no room for them.
template <int WIDE>
struct Own {
  static constexpr int KEPT = WIDE <= 64 ? WIDE / 16 : 1;
  const T* rows;
  u32 parts[KEPT][4];

  __device__ void keep(const T* tile) {
    rows = tile + threadIdx.x / WARP * 16 * (WIDE + 8);
    if (KEPT == 1) return;
#pragma unroll
    for (int d = 0; d < KEPT; d++) load_left<WIDE>(parts[d], rows, d);
  }
  __device__ const u32 (&part(int d))[4] {
    if (KEPT == 1) load_left<WIDE>(parts[0], rows, d);
    return parts[d % KEPT];
  }
};

// made = the inner products of a warp's rows and SPAN rows of a tile.
template <int WIDE>
__device__ void inner_products(float (&made)[SPAN / 8][4], Own<WIDE>& own, const T* rows) {
#pragma unroll
  for (int j = 0; j < SPAN / 8; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) made[j][i] = 0;
#pragma unroll
  for (int d = 0; d < WIDE / 16; d++) {
    const u32(&a)[4] = own.part(d);
#pragma unroll
    for (int j = 0; j < SPAN / 16; j++)
      add_inner_products<WIDE>(made[2 * j], made[2 * j + 1], a, rows + j * 16 * (WIDE + 8), d);
  }
}

// sums += what a warp made, 16 x SPAN, times SPAN rows of a tile.
template <int WIDE>
__device__ void weigh(float (&sums)[WIDE / 8][4], const float (&made)[SPAN / 8][4], const T* rows) {
#pragma unroll
  for (int j = 0; j < SPAN / 16; j++)
    add_weighted<WIDE>(sums, made[2 * j], made[2 * j + 1], rows + j * 16 * (WIDE + 8));
}

// The sum of x * y over a row of each, by the four lanes that hold it: eight columns a lane at a time.
__device__ float inner_of_row(const Matrix& x, const Matrix& y, int row) {
  float sum = 0;
  for (int c = threadIdx.x % 4 * 8; row < x.rows && c < x.columns; c += 32) {
    uint4 a = *reinterpret_cast<const uint4*>(x.at + (i64)row * x.stride + c);
    uint4 b = *reinterpret_cast<const uint4*>(y.at + (i64)row * y.stride + c);
    u32 left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      sum += number<T>(left[i], 0) * number<T>(right[i], 0);
      sum += number<T>(left[i], 1) * number<T>(right[i], 1);
    }
  }
  return over_row(sum, Sum());
}

// dQ of 64 queries, and `inner` of each for the other kernel.
template <int WIDE>
__device__ void pull_queries(const T* q, const T* k, const T* v, const unsigned char* hidden, const T* g, const T* out,
                             const float* logs, float* inner, T* gq, SIZES(float)) {
  using L = Layout<WIDE>;
  T *q_tile = dynamic_shared<T>(), *g_tile = q_tile + L::OWN;
  T *k_tiles = g_tile + L::OWN, *v_tiles = k_tiles + 2 * L::STEP;
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  int of_queries = (queries + TILE - 1) / TILE, head = blockIdx.x / of_queries;
  int row = (of_queries - 1 - (int)blockIdx.x % of_queries) * TILE;  // causal, the most keys first
  Matrix Q = matrix(q, head, heads, queries, columns, lasts & 1);
  Matrix K = matrix(k, head, heads, keys, columns, lasts & 2);
  Matrix V = matrix(v, head, heads, keys, values, lasts & 4);
  Matrix G = matrix(g, head, heads, queries, values, lasts & 8);
  Matrix O = matrix(out, head, heads, queries, values, lasts & 8);
  Sight seen = {masked ? hidden + (i64)(head / heads) * keys : nullptr, queries, keys, causal != 0};
  int end = causal ? min(keys, row + TILE) : keys;

  copy_tile<WIDE, TILE>(q_tile, Q, row);
  copy_tile<WIDE, TILE>(g_tile, G, row);
  copy_tile<WIDE, L::WALK>(k_tiles, K, 0);
  copy_tile<WIDE, L::WALK>(v_tiles, V, 0);
  end_of_group();
  float log[2], mean[2];  // of queries `own` and own + 8, which this lane has entries of
  int own = row + warp * 16 + lane / 4;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    int query = own + r * 8;
    i64 place = (i64)head * queries + query;
    log[r] = query < queries ? logs[place] * LOG2_E : INFINITY;
    mean[r] = inner_of_row(G, O, query);
    if (lane % 4 == 0 && query < queries) inner[place] = mean[r];
  }
  Own<WIDE> q_rows, g_rows;
  float sums[WIDE / 8][4] = {};
  for (int first = 0, half = 0; first < end; first += L::WALK, half ^= 1) {
    if (first + L::WALK < end) {
      copy_tile<WIDE, L::WALK>(k_tiles + (half ^ 1) * L::STEP, K, first + L::WALK);
      copy_tile<WIDE, L::WALK>(v_tiles + (half ^ 1) * L::STEP, V, first + L::WALK);
    }
    end_of_group();
    wait_for_copies<1>();
    __syncthreads();  // these keys are there
    if (first == 0) q_rows.keep(q_tile), g_rows.keep(g_tile);
    bool all_seen = !masked && first + L::WALK <= keys && (!causal || first + L::WALK - 1 <= row);
#pragma unroll 1  // two at once, of 32 columns, would need more registers than the four blocks of a processor have
    for (int span = 0; span < L::WALK; span += SPAN) {
      const T *k_rows = k_tiles + half * L::STEP + span * L::ROW, *v_rows = v_tiles + half * L::STEP + span * L::ROW;
      float scores[SPAN / 8][4], pulled[SPAN / 8][4];
      inner_products(scores, q_rows, k_rows);
      inner_products(pulled, g_rows, v_rows);
#pragma unroll
      for (int j = 0; j < SPAN / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          bool here = all_seen || seen(own + i / 2 * 8, first + span + j * 8 + lane % 4 * 2 + i % 2);
          float weight = here ? exp2f(scores[j][i] * (scale * LOG2_E) - log[i / 2]) : 0;
          pulled[j][i] = weight * (pulled[j][i] - mean[i / 2]);
        }
      weigh<WIDE>(sums, pulled, k_rows);
    }
    __syncthreads();  // these keys have been read, and the next but one may come
  }
  store<WIDE>(sums, matrix(gq, head, heads, queries, columns, lasts & 1), row + warp * 16, {scale, scale});
}

// dK and dV of 64 keys: the tiles lie the other way round here, a row a key. What is of each query, a column here, its
// log and its inner sum, is in shared memory too, in two halves: it comes to a register while a tile is multiplied.
// Queries behind the last one have log = inf, and so no weight.
template <int WIDE>
__device__ void pull_keys(const T* q, const T* k, const T* v, const unsigned char* hidden, const T* g,
                          const float* logs, const float* inner, T* gk, T* gv, SIZES(float)) {
  using L = Layout<WIDE>;
  T *k_tile = dynamic_shared<T>(), *v_tile = k_tile + L::OWN;
  T *q_tiles = v_tile + L::OWN, *g_tiles = q_tiles + 2 * L::STEP;
  float* of_queries = reinterpret_cast<float*>(g_tiles + 2 * L::STEP);  // of each half, WALK logs, WALK inner sums
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  int of_keys = (keys + TILE - 1) / TILE, head = blockIdx.x / of_keys, row = blockIdx.x % of_keys * TILE;
  Matrix Q = matrix(q, head, heads, queries, columns, lasts & 1);
  Matrix K = matrix(k, head, heads, keys, columns, lasts & 2);
  Matrix V = matrix(v, head, heads, keys, values, lasts & 4);
  Matrix G = matrix(g, head, heads, queries, values, lasts & 8);
  Sight seen = {masked ? hidden + (i64)(head / heads) * keys : nullptr, queries, keys, causal != 0};
  int start = causal ? row : 0, own = row + warp * 16 + lane / 4;

  // The first WALK threads read logs, the next as many inner sums.
  bool second = threadIdx.x >= L::WALK;
  const float* read = (second ? inner : logs) + (i64)head * queries;
  auto of_query = [&](int query) {
    if (query >= queries) return second ? 0 : INFINITY;
    return second ? read[query] : read[query] * LOG2_E;
  };
  copy_tile<WIDE, TILE>(k_tile, K, row);
  copy_tile<WIDE, TILE>(v_tile, V, row);
  copy_tile<WIDE, L::WALK>(q_tiles, Q, start);
  copy_tile<WIDE, L::WALK>(g_tiles, G, start);
  end_of_group();
  if (threadIdx.x < 2 * L::WALK) of_queries[threadIdx.x] = of_query(start + threadIdx.x % L::WALK);
  Own<WIDE> k_rows, v_rows;
  float of_k[WIDE / 8][4] = {}, of_v[WIDE / 8][4] = {};
  for (int first = start, half = 0; first < queries; first += L::WALK, half ^= 1) {
    float next = 0;
    if (first + L::WALK < queries) {
      copy_tile<WIDE, L::WALK>(q_tiles + (half ^ 1) * L::STEP, Q, first + L::WALK);
      copy_tile<WIDE, L::WALK>(g_tiles + (half ^ 1) * L::STEP, G, first + L::WALK);
      next = of_query(first + L::WALK + threadIdx.x % L::WALK);
    }
    end_of_group();
    wait_for_copies<1>();
    __syncthreads();  // these queries are there
    if (first == start) k_rows.keep(k_tile), v_rows.keep(v_tile);
    bool all_seen = !masked && (!causal || row + TILE - 1 <= first);
#pragma unroll
    for (int span = 0; span < L::WALK; span += SPAN) {
      const T *q_rows = q_tiles + half * L::STEP + span * L::ROW, *g_rows = g_tiles + half * L::STEP + span * L::ROW;
      const float* of_column = of_queries + half * 2 * L::WALK + span + lane % 4 * 2;
      float weights[SPAN / 8][4], pulled[SPAN / 8][4];
      inner_products(weights, k_rows, q_rows);
      inner_products(pulled, v_rows, g_rows);
#pragma unroll
      for (int j = 0; j < SPAN / 8; j++) {
        float2 log = *reinterpret_cast<const float2*>(of_column + j * 8);
        float2 mean = *reinterpret_cast<const float2*>(of_column + j * 8 + L::WALK);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          bool here = all_seen || seen(first + span + j * 8 + lane % 4 * 2 + i % 2, own + i / 2 * 8);
          weights[j][i] = here ? exp2f(weights[j][i] * (scale * LOG2_E) - (i % 2 ? log.y : log.x)) : 0;
          pulled[j][i] = weights[j][i] * (pulled[j][i] - (i % 2 ? mean.y : mean.x));
        }
      }
      weigh<WIDE>(of_v, weights, g_rows);
      weigh<WIDE>(of_k, pulled, q_rows);
    }
    if (threadIdx.x < 2 * L::WALK) of_queries[(half ^ 1) * 2 * L::WALK + threadIdx.x] = next;
    __syncthreads();  // these queries have been read, and the next but one may come
  }
  store<WIDE>(of_k, matrix(gk, head, heads, keys, columns, lasts & 2), row + warp * 16, {scale, scale});
  store<WIDE>(of_v, matrix(gv, head, heads, keys, values, lasts & 4), row + warp * 16, {1, 1});
}

#define PULLED(WIDE)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(THREADS) attention_pulled_queries_##WIDE(                              \
      const T* q, const T* k, const T* v, const unsigned char* hidden, const T* g, const T* out, const float* logs,   \
      float* inner, T* gq, SIZES(float)) {                                                                            \
    pull_queries<WIDE>(q, k, v, hidden, g, out, logs, inner, gq, heads, queries, keys, columns, values, scale,        \
                       causal, masked, lasts);                                                                        \
  }                                                                                                                   \
  EXPORTED(attention_pulled_queries_##WIDE)                                                                           \
  extern "C" __global__ void __launch_bounds__(THREADS) attention_pulled_keys_##WIDE(                                 \
      const T* q, const T* k, const T* v, const unsigned char* hidden, const T* g, const float* logs,                 \
      const float* inner, T* gk, T* gv, SIZES(float)) {                                                               \
    pull_keys<WIDE>(q, k, v, hidden, g, logs, inner, gk, gv, heads, queries, keys, columns, values, scale, causal,    \
                    masked, lasts);                                                                                   \
  }                                                                                                                   \
  EXPORTED(attention_pulled_keys_##WIDE)
PULLED(32)
PULLED(64)
PULLED(128)
