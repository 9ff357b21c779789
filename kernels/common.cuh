// What all kernels share. Every source is compiled for one type of element, T: -DELEMENT=float or -DELEMENT=double.
#pragma once

#ifndef CUDA_ON_CPU  // the CPU's emulation has its own
extern __shared__ __align__(16) unsigned char shared_bytes[];
template <class U>
__device__ U* dynamic_shared() {
  return reinterpret_cast<U*>(shared_bytes);
}
#define EXPORTED(kernel)
#define INFINITY __int_as_float(0x7f800000)  // NVRTC comes without <cmath>
#define NAN __int_as_float(0x7fffffff)
#endif

typedef ELEMENT T;
typedef long long i64;
constexpr unsigned ALL = 0xFFFFFFFFu;
constexpr int WARP = 32;

// A product that no sum is fused with, rounded as the formula rounds it: a coordinate at an edge lies on the same side
// of it on every device.
__device__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ double times(double a, double b) { return __dmul_rn(a, b); }

struct Sum {
  template <class U>
  __device__ U operator()(U a, U b) const { return a + b; }
};

struct Largest {
  template <class U>
  __device__ U operator()(U a, U b) const { return a > b ? a : b; }
};

// The same result in every lane of a warp.
template <class U, class Operation>
__device__ U over_warp(U value, Operation operation) {
  for (int other = WARP / 2; other; other /= 2) value = operation(value, __shfl_xor_sync(ALL, value, other));
  return value;
}

// The same result in every thread of a block of whole warps; `scratch` holds one value a warp, and may be used again at
// once. The order of operations depends on the block's size alone.
template <class U, class Operation>
__device__ U over_block(U value, Operation operation, U* scratch) {
  value = over_warp(value, operation);
  int warps = blockDim.x / WARP;
  if (warps == 1) return value;
  if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
  __syncthreads();
  value = scratch[0];
  for (int warp = 1; warp < warps; warp++) value = operation(value, scratch[warp]);
  __syncthreads();
  return value;
}
