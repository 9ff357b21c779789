// Attention by tiles, without an N x M array (arXiv 2205.14135, 2307.08691), for any number of queries, keys, columns.
//
// A block makes one tile of a result, TILE rows x TILE columns, and keeps it in registers. It walks over the tiles of
// the other side: a tile of scores S = Q K' * scale is made, turned into weights, and multiplied to what they weigh. Where
// rows have more than TILE columns, the blocks of the further columns make the scores again.
//
// All sums of products are `multiply`: left' * right of two panels in shared memory. A panel holds TILE columns of a
// matrix whose rows are what the product sums over. A team of 8 x 8 threads owns PER x PER entries each, so that a step
// of the sum takes 2 PER numbers out of shared memory for PER^2 multiplications: enough to be bound by arithmetic.
// Panels of float have 16 KB, of double 8 KB. So few threads a block leave each of them some 250 registers.
//
// Every entry of a result is summed by one thread in one order: nothing depends on the schedule.
#include "../common.cuh"
#include "attention.cuh"

constexpr int PER = sizeof(T) == 4 ? 8 : 4;
constexpr int TILE = 8 * PER;
constexpr int TEAM = 64;  // threads
constexpr int PANEL = TILE * TILE;

struct __align__(16) Four {
  T at[4];
};

__device__ int tiles(int n) { return (n + TILE - 1) / TILE; }

// Where entry (k, column) of a panel lies. Four neighbouring columns stay together; fours change places by k so that
// threads that write columns of a matrix into rows of a panel meet different banks.
__device__ int place(int k, int column) { return k * TILE + ((column / 4) ^ (k / 4 % 4 * 2)) * 4 + column % 4; }

// The row in its tile, or column, of entry n of the PER that thread `at` of 8 owns: fours, 32 apart, since eight
// neighbouring threads then read 128 bytes that follow each other.
__device__ int owned(int at, int n) { return (n / 4 * 8 + at) * 4 + n % 4; }

// Columns column.. of a row, with 0 outside of the matrix.
__device__ Four four(const Matrix& x, int row, int column) {
  Four found = {};
  if (row >= x.rows || column >= x.columns) return found;
  const T* from = x.at + (i64)row * x.stride + column;
  if (x.even) return *reinterpret_cast<const Four*>(from);
  for (int i = 0; i < 4 && column + i < x.columns; i++) found.at[i] = from[i];
  return found;
}

// panel[k][r] = x[row + r][column + k]. A warp reads 8 rows, of each the same 16 columns.
__device__ void load_across(T* panel, const Matrix& x, int row, int column) {
  int depth = min(TILE, x.columns - column), rank = threadIdx.x % TEAM;
  for (int r = rank / 4; r < TILE; r += TEAM / 4)
    for (int k = rank % 4 * 4; k < depth; k += 16) {
      Four read = four(x, row + r, column + k);
      for (int i = 0; i < 4; i++) panel[place(k + i, r)] = read.at[i];
    }
}

// panel[k][c] = x[row + k][column + c]. Neighbouring threads read neighbouring columns.
__device__ void load_along(T* panel, const Matrix& x, int row, int column) {
  constexpr int FOURS = TILE / 4;
  int depth = min(TILE, x.rows - row), rank = threadIdx.x % TEAM, c = rank % FOURS * 4;
  for (int k = rank / FOURS; k < (depth + 3) / 4 * 4; k += TEAM / FOURS)
    *reinterpret_cast<Four*>(panel + place(k, c)) = four(x, row + k, column + c);
}

// A tile in the registers of the 8 x 8 threads: entry (owned(down, i), owned(across, j)) is at[i][j].
struct Tile {
  T at[PER][PER];
};

// sums += left' * right over the first `depth` rows of two panels, which are filled with zeros up to a multiple of 4.
__device__ void multiply(Tile& sums, const T* left, const T* right, int depth) {
  int down = threadIdx.x % TEAM / 8, across = threadIdx.x % 8;
  for (int k = 0; k < depth; k += 4) {
#pragma unroll
    for (int step = 0; step < 4; step++) {
      Four a[PER / 4], b[PER / 4];
#pragma unroll
      for (int n = 0; n < PER / 4; n++) {
        a[n] = *reinterpret_cast<const Four*>(left + place(k + step, owned(down, n * 4)));
        b[n] = *reinterpret_cast<const Four*>(right + place(k + step, owned(across, n * 4)));
      }
#pragma unroll
      for (int i = 0; i < PER; i++)
#pragma unroll
        for (int j = 0; j < PER; j++) sums.at[i][j] += a[i / 4].at[i % 4] * b[j / 4].at[j % 4];
    }
  }
}

// x y' for TILE rows of each, `width` columns. The panels are free for other use only after the next barrier.
__device__ Tile inner_products(const Matrix& x, int x_row, const Matrix& y, int y_row, int width, T* left, T* right) {
  Tile sums = {};
  for (int column = 0; column < width; column += TILE) {
    __syncthreads();  // what was in the panels has been read
    load_across(left, x, x_row, column);
    load_across(right, y, y_row, column);
    __syncthreads();
    multiply(sums, left, right, min(TILE, x.columns - column));
  }
  return sums;
}

// sums += weights' * y for a panel of weights, a row for each of the TILE rows of y from `row`.
__device__ void weigh(Tile& sums, const T* weights, const Matrix& y, int row, int column, T* right) {
  __syncthreads();  // the weights are written; what was in the other panel has been read
  load_along(right, y, row, column);
  __syncthreads();
  multiply(sums, weights, right, min(TILE, y.rows - row));
}

// panel[k][r] = tile[r][k]
__device__ void put_across(T* panel, const Tile& tile) {
  int down = threadIdx.x % TEAM / 8, across = threadIdx.x % 8;
#pragma unroll
  for (int j = 0; j < PER; j++)
#pragma unroll
    for (int i = 0; i < PER; i += 4) {
      Four column = {tile.at[i][j], tile.at[i + 1][j], tile.at[i + 2][j], tile.at[i + 3][j]};
      *reinterpret_cast<Four*>(panel + place(owned(across, j), owned(down, i))) = column;
    }
}

// A tile to rows and columns of a result, given as the matrix of its entries before.
__device__ void store(const Tile& tile, const Matrix& out, int row, int column) {
  int down = threadIdx.x % TEAM / 8, across = threadIdx.x % 8;
#pragma unroll
  for (int i = 0; i < PER; i++)
#pragma unroll
    for (int j = 0; j < PER; j += 4) {
      int r = row + owned(down, i), c = column + owned(across, j);
      if (r >= out.rows || c >= out.columns) continue;
      T* to = const_cast<T*>(out.at) + (i64)r * out.stride + c;
      if (out.even) {
        *reinterpret_cast<Four*>(to) = {tile.at[i][j], tile.at[i][j + 1], tile.at[i][j + 2], tile.at[i][j + 3]};
      } else {
#pragma unroll
        for (int x = 0; x < 4; x++)
          if (c + x < out.columns) to[x] = tile.at[i][j + x];
      }
    }
}

// The eight threads that own a row are neighbours in a warp.
template <class Operation>
__device__ T over_row(T value, Operation operation) {
  for (int other = 1; other < 8; other *= 2) value = operation(value, __shfl_xor_sync(ALL, value, other));
  return value;
}

// out = softmax(Q K' * scale) V, and logs = log sum exp(scores) of each query: a block a TILE of queries and columns.
//
// Online softmax (arXiv 1805.02867): each query keeps the largest score m met so far, l = sum exp(score - m) and
// o = sum exp(score - m) v; a tile with a larger score shrinks l and o by exp(m - m'). Nothing is subtracted while m is
// -inf. Blocks are numbered so that, causal, those with the most keys start first.
extern "C" __global__ void __launch_bounds__(TEAM)
attention(const T* q, const T* k, const T* v, const unsigned char* hidden, T* out, T* logs, SIZES(T)) {
  T *left = dynamic_shared<T>(), *right = left + PANEL, *weights = right + PANEL;
  int down = threadIdx.x / 8, across = threadIdx.x % 8;
  int of_values = tiles(values), of_queries = tiles(queries);
  int column = blockIdx.x % of_values * TILE;
  int row = (of_queries - 1 - (int)(blockIdx.x / of_values) % of_queries) * TILE;
  int head = blockIdx.x / of_values / of_queries;
  Matrix Q = matrix(q, head, heads, queries, columns, lasts & 1);
  Matrix K = matrix(k, head, heads, keys, columns, lasts & 2);
  Matrix V = matrix(v, head, heads, keys, values, lasts & 4);
  Sight seen = {masked ? hidden + (i64)(head / heads) * keys : nullptr, queries, keys, causal != 0};

  Tile sums = {};
  T top[PER], total[PER];
#pragma unroll
  for (int i = 0; i < PER; i++) top[i] = -INFINITY, total[i] = 0;
  int end = causal ? min(keys, row + TILE) : keys;
  for (int first = 0; first < end; first += TILE) {
    Tile scores = inner_products(Q, row, K, first, columns, left, right);
#pragma unroll
    for (int i = 0; i < PER; i++) {
      T most = top[i];
#pragma unroll
      for (int j = 0; j < PER; j++) {
        bool here = seen(row + owned(down, i), first + owned(across, j));
        scores.at[i][j] = here ? scores.at[i][j] * scale : -INFINITY;
        most = Largest()(most, scores.at[i][j]);
      }
      most = over_row(most, Largest());
      T base = most == -INFINITY ? 0 : most, shrunk = exp(top[i] - base);
      top[i] = most;
      total[i] *= shrunk;
#pragma unroll
      for (int j = 0; j < PER; j++) {
        scores.at[i][j] = exp(scores.at[i][j] - base);
        total[i] += scores.at[i][j];
        sums.at[i][j] *= shrunk;
      }
    }
    put_across(weights, scores);
    weigh(sums, weights, V, first, column, right);
  }
#pragma unroll
  for (int i = 0; i < PER; i++) {
    T whole = over_row(total[i], Sum());
    int query = row + owned(down, i);
#pragma unroll
    for (int j = 0; j < PER; j++) sums.at[i][j] = whole == 0 ? 0 : sums.at[i][j] / whole;
    if (query < queries && across == 0 && column == 0)
      logs[(i64)head * queries + query] = whole == 0 ? INFINITY : top[i] + log(whole);
  }
  store(sums, matrix(out, head, heads, queries, values, lasts & 8), row, column);
}
EXPORTED(attention)

// inner[query] = sum of g * out: a warp a query, of all heads as they are numbered in logs.
extern "C" __global__ void attention_inner(const T* g, const T* out, T* inner, int count, SIZES(T)) {
  int at = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (at >= count) return;
  int head = at / queries;
  bool last = lasts & 8;
  Matrix G = matrix(g, head, heads, queries, values, last);
  Matrix O = matrix(out, head, heads, queries, values, last);
  i64 row = (i64)(at % queries) * G.stride;
  T sum = 0;
  for (int c = threadIdx.x % WARP; c < values; c += WARP) sum += G.at[row + c] * O.at[row + c];
  sum = over_warp(sum, Sum());
  if (threadIdx.x % WARP == 0) inner[at] = sum;
}
EXPORTED(attention_inner)

// dQ = dS K * scale with dS = P * (dO V' - inner), P = exp(S - logs): a block makes TILE queries, TILE columns.
extern "C" __global__ void __launch_bounds__(TEAM)
attention_pulled_queries(const T* q, const T* k, const T* v, const unsigned char* hidden, const T* g, const T* logs,
                         const T* inner, T* gq, SIZES(T)) {
  T *left = dynamic_shared<T>(), *right = left + PANEL, *weights = right + PANEL;
  int down = threadIdx.x / 8, across = threadIdx.x % 8;
  int of_columns = tiles(columns), of_queries = tiles(queries);
  int column = blockIdx.x % of_columns * TILE;
  int row = (of_queries - 1 - (int)(blockIdx.x / of_columns) % of_queries) * TILE;
  int head = blockIdx.x / of_columns / of_queries;
  Matrix Q = matrix(q, head, heads, queries, columns, lasts & 1);
  Matrix K = matrix(k, head, heads, keys, columns, lasts & 2);
  Matrix V = matrix(v, head, heads, keys, values, lasts & 4);
  Matrix G = matrix(g, head, heads, queries, values, lasts & 8);
  Sight seen = {masked ? hidden + (i64)(head / heads) * keys : nullptr, queries, keys, causal != 0};

  T log[PER], mean[PER];
#pragma unroll
  for (int i = 0; i < PER; i++) {
    int query = row + owned(down, i);
    bool inside = query < queries;
    log[i] = inside ? logs[(i64)head * queries + query] : 0;
    mean[i] = inside ? inner[(i64)head * queries + query] : 0;
  }
  Tile sums = {};
  int end = causal ? min(keys, row + TILE) : keys;
  for (int first = 0; first < end; first += TILE) {
    Tile scores = inner_products(Q, row, K, first, columns, left, right);
#pragma unroll
    for (int i = 0; i < PER; i++)
#pragma unroll
      for (int j = 0; j < PER; j++) {
        bool here = seen(row + owned(down, i), first + owned(across, j));
        scores.at[i][j] = here ? exp(scores.at[i][j] * scale - log[i]) : 0;
      }
    // The weights wait in their panel, where every thread meets its own again, while the registers hold dO V'.
    put_across(weights, scores);
    Tile pulled = inner_products(G, row, V, first, values, left, right);
#pragma unroll
    for (int j = 0; j < PER; j++)
#pragma unroll
      for (int i = 0; i < PER; i += 4) {
        Four weight = *reinterpret_cast<Four*>(weights + place(owned(across, j), owned(down, i)));
#pragma unroll
        for (int n = 0; n < 4; n++) pulled.at[i + n][j] = weight.at[n] * (pulled.at[i + n][j] - mean[i + n]);
      }
    put_across(weights, pulled);
    weigh(sums, weights, K, first, column, right);
  }
#pragma unroll
  for (int i = 0; i < PER; i++)
#pragma unroll
    for (int j = 0; j < PER; j++) sums.at[i][j] *= scale;
  store(sums, matrix(gq, head, heads, queries, columns, lasts & 1), row, column);
}
EXPORTED(attention_pulled_queries)

// dV = P' dO and dK = dS' Q * scale: a block makes TILE keys, of each of the two TILE columns, if there are so many.
//
// The tiles lie the other way round here, a row a key. Two teams share the work, each with one result: the first makes
// K Q', from it P', and adds P' dO to dV; the second makes V dO', with the first's P' from it dS', and adds dS' Q to
// dK: X Y' and then the weights times Z.
extern "C" __global__ void __launch_bounds__(2 * TEAM)
attention_pulled_keys(const T* q, const T* k, const T* v, const unsigned char* hidden, const T* g, const T* logs,
                      const T* inner, T* gk, T* gv, SIZES(T)) {
  bool second = threadIdx.x >= TEAM;
  T *weights = dynamic_shared<T>(), *left = weights + second * 2 * PANEL, *right = left + PANEL;
  int down = threadIdx.x % TEAM / 8, across = threadIdx.x % 8;
  int width = max(columns, values), of_columns = tiles(width), of_keys = tiles(keys);
  int column = blockIdx.x % of_columns * TILE, row = blockIdx.x / of_columns % of_keys * TILE;
  int head = blockIdx.x / of_columns / of_keys;
  Matrix X = matrix(second ? v : k, head, heads, keys, second ? values : columns, lasts & (second ? 4 : 2));
  Matrix Y = matrix(second ? g : q, head, heads, queries, second ? values : columns, lasts & (second ? 8 : 1));
  Matrix Z = matrix(second ? q : g, head, heads, queries, second ? columns : values, lasts & (second ? 1 : 8));
  Sight seen = {masked ? hidden + (i64)(head / heads) * keys : nullptr, queries, keys, causal != 0};
  const T* of_query = (second ? inner : logs) + (i64)head * queries;

  Tile sums = {};
  for (int first = causal ? row : 0; first < queries; first += TILE) {
    Tile made = inner_products(X, row, Y, first, width, left, right);
    __syncthreads();  // the panels have been read
    if (!second) {
#pragma unroll
      for (int j = 0; j < PER; j++) {
        int query = first + owned(across, j);
        T log = query < queries ? of_query[query] : 0;
#pragma unroll
        for (int i = 0; i < PER; i++)
          made.at[i][j] = seen(query, row + owned(down, i)) ? exp(made.at[i][j] * scale - log) : 0;
      }
      put_across(weights, made);
    }
    __syncthreads();  // P' is written
    if (second) {
#pragma unroll
      for (int j = 0; j < PER; j++) {
        int query = first + owned(across, j);
        T mean = query < queries ? of_query[query] : 0;
#pragma unroll
        for (int i = 0; i < PER; i += 4) {
          Four weight = *reinterpret_cast<Four*>(weights + place(owned(across, j), owned(down, i)));
#pragma unroll
          for (int n = 0; n < 4; n++) made.at[i + n][j] = weight.at[n] * (made.at[i + n][j] - mean);
        }
      }
      put_across(left, made);
    }
    weigh(sums, left, Z, first, column, right);
  }
  if (second) {
#pragma unroll
    for (int i = 0; i < PER; i++)
#pragma unroll
      for (int j = 0; j < PER; j++) sums.at[i][j] *= scale;
  }
  bool last = lasts & (second ? 2 : 4);
  store(sums, matrix(second ? gk : gv, head, heads, keys, second ? columns : values, last), row, column);
}
EXPORTED(attention_pulled_keys)
