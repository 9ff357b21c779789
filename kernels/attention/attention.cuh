// What both sources of attention need.
#pragma once

// What every kernel is told: Q and K have so many columns, V has so many `values`; causal: query i sees keys 0 to i;
// masked: `hidden` says of each key of a batch entry whether nobody sees it; bits of `lasts`: Q, K, V, the result lie
// with their heads last.
#define SIZES(Number) \
  int heads, int queries, int keys, int columns, int values, Number scale, int causal, int masked, int lasts

struct Sight {
  const unsigned char* hidden;  // of this batch entry, or null
  int queries, keys;
  bool causal;

  __device__ bool operator()(int query, int key) const {
    if (query >= queries || key >= keys || (causal && key > query)) return false;
    return !hidden || !hidden[key];
  }
};

// A matrix of rows x columns among those of all heads; rows are `stride` apart. `even`: every four columns, of 16
// bits every eight, lie on a boundary of 16 bytes, and can be moved at once.
struct Matrix {
  const T* at;
  int stride, rows, columns;
  bool even;
};

// (batch, heads, rows, columns) lies in memory as that or, heads `last`, as (batch, rows, heads, columns).
__device__ Matrix matrix(const T* x, int head, int heads, int rows, int columns, bool last) {
  i64 row = last ? (i64)(head / heads) * rows * heads + head % heads : (i64)head * rows;
  x += row * columns;
  bool even = columns % (sizeof(T) == 2 ? 8 : 4) == 0 && (size_t)x % 16 == 0;
  return {x, last ? heads * columns : columns, rows, columns, even};
}
