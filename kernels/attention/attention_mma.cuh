// What attention by tensor cores needs, forward and backward.
//
// Tiles in shared memory have rows of WIDE columns and 16 bytes more: the eight rows that load_matrices reads at once
// then lie in different banks. A warp owns 16 rows of a tile. Of lane = 4 g + t see tensor_cores.cuh.
#pragma once

constexpr int TILE = 64;  // rows of the tile that a block owns
constexpr int THREADS = 128;
constexpr float LOG2_E = 1.4426950408889634f;

// ROWS rows of x, filled up with zeros to WIDE columns: eight columns a thread at a time.
template <int WIDE, int ROWS>
__device__ void copy_tile(T* to, const Matrix& x, int row) {
  for (int i = threadIdx.x; i < ROWS * (WIDE / 8); i += THREADS) {
    int r = i / (WIDE / 8), c = i % (WIDE / 8) * 8;
    bool inside = row + r < x.rows && c < x.columns;
    copy_later(to + r * (WIDE + 8) + c, inside ? x.at + (i64)(row + r) * x.stride + c : x.at, inside);
  }
}

// A: columns 16 d to 16 d + 15 of 16 rows of a tile.
template <int WIDE>
__device__ void load_left(u32 (&a)[4], const T* rows, int d) {
  int lane = threadIdx.x % WARP;
  load_matrices(a, rows + lane % 16 * (WIDE + 8) + d * 16 + lane / 16 * 8);
}

// near, far += A times the transpose of two times 8 rows of a tile, of columns 16 d to 16 d + 15.
template <int WIDE>
__device__ void add_inner_products(float (&near)[4], float (&far)[4], const u32 (&a)[4], const T* rows, int d) {
  int lane = threadIdx.x % WARP;
  u32 b[4];
  load_matrices(b, rows + (lane % 8 + lane / 16 * 8) * (WIDE + 8) + d * 16 + lane / 8 % 2 * 8);
  multiply_add<T>(near, a, b[0], b[1]);
  multiply_add<T>(far, a, b[2], b[3]);
}

// sums += weights times 16 rows of a tile. The weights, 16 x 16, lie as two products side by side left them.
template <int WIDE>
__device__ void add_weighted(float (&sums)[WIDE / 8][4], const float (&near)[4], const float (&far)[4], const T* rows) {
  int lane = threadIdx.x % WARP;
  u32 weights[4] = {rounded<T>(near[0], near[1]), rounded<T>(near[2], near[3]), rounded<T>(far[0], far[1]),
                    rounded<T>(far[2], far[3])};
#pragma unroll
  for (int j = 0; j < WIDE / 16; j++) {  // two times 8 columns
    u32 b[4];
    load_matrices_transposed(b, rows + lane % 16 * (WIDE + 8) + j * 16 + lane / 16 * 8);
    multiply_add<T>(sums[2 * j], weights, b[0], b[1]);
    multiply_add<T>(sums[2 * j + 1], weights, b[2], b[3]);
  }
}

// What a warp summed, to 16 rows of a result from `row` on; rows g are multiplied by factors[0], g + 8 by factors[1].
template <int WIDE>
__device__ void store(const float (&sums)[WIDE / 8][4], const Matrix& out, int row, const float (&factors)[2]) {
  int lane = threadIdx.x % WARP;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    int own = row + lane / 4 + r * 8;
    if (own >= out.rows) continue;
#pragma unroll
    for (int j = 0; j < WIDE / 8; j++)
      if (j * 8 < out.columns) {
        u32 pair = rounded<T>(sums[j][2 * r] * factors[r], sums[j][2 * r + 1] * factors[r]);
        *(u32*)(out.at + (i64)own * out.stride + j * 8 + lane % 4 * 2) = pair;
      }
  }
}

// The four lanes that hold a row are neighbours.
template <class Operation>
__device__ float over_row(float value, Operation operation) {
  value = operation(value, __shfl_xor_sync(ALL, value, 1));
  return operation(value, __shfl_xor_sync(ALL, value, 2));
}
