// What the kernels on regions of images share. A box is five numbers: the index of an image, x1, y1, x2, y2.
#pragma once
#include "../common.cuh"

// x as a whole number in [0, last], rounded down; 0 for NaN.
__device__ int limited(T x, int last) { return x > 0 ? (x < last ? (int)x : last) : 0; }

// The image of a box; -1 of a box that is not finite, or of no image: then nothing is read, and its bins are NaN.
__device__ int image_of(const T* box, int images) {
  for (int i = 1; i < 5; i++)
    if (!(box[i] - box[i] == 0)) return -1;
  return box[0] >= 0 && box[0] < images ? (int)box[0] : -1;
}

// What threads hand in of which `wanted` holds, in the order of the threads, to `list`; returns how many. `counts` has
// room for one number a warp. All threads of the block must come; list and counts may be used again at once.
template <class Entry>
__device__ int listed(bool wanted, const Entry& mine, Entry* list, int* counts) {
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, before = 0, all = 0;
  unsigned votes = __ballot_sync(ALL, wanted);
  if (lane == 0) counts[warp] = __popc(votes);
  __syncthreads();  // the counts are there, and nobody reads the last list any more
  for (int other = 0; other < blockDim.x / WARP; other++) {
    if (other < warp) before += counts[other];
    all += counts[other];
  }
  if (wanted) list[before + __popc(votes & ((1u << lane) - 1))] = mine;
  __syncthreads();  // the list is there, and the counts have been read
  return all;
}
