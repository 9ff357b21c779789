// Philox4x32-10 (Salmon et al., SC 2011), bitwise the CPU's words. Word 4i + w of a stream is word w of block i: ten rounds
// over the counter (i, i >> 32, key[2], key[3]). A thread makes whole blocks of four words.
#include "../common.cuh"

typedef unsigned u32;
typedef unsigned long long u64;

struct Words {
  u32 of[4];
};

__device__ Words philox(i64 block, const u32* key) {
  u32 c0 = (u32)block, c1 = (u32)(block >> 32), c2 = key[2], c3 = key[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    u32 high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    u32 high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ k0, c1 = low1, c2 = high0 ^ c3 ^ k1, c3 = low0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

extern "C" __global__ void words(const u32* key, u64* out, i64 size) {
  for (i64 block = (i64)blockIdx.x * blockDim.x + threadIdx.x; 4 * block < size; block += (i64)gridDim.x * blockDim.x) {
    Words made = philox(block, key);
    for (int w = 0; w < 4 && 4 * block + w < size; w++) out[4 * block + w] = made.of[w];
  }
}
EXPORTED(words)

// x · factor where the upper 24 bits of a word are at least the threshold, else 0
extern "C" __global__ void dropout(const T* x, const u32* key, T* out, i64 size, u32 threshold, T factor) {
  for (i64 block = (i64)blockIdx.x * blockDim.x + threadIdx.x; 4 * block < size; block += (i64)gridDim.x * blockDim.x) {
    Words made = philox(block, key);
    for (int w = 0; w < 4 && 4 * block + w < size; w++) {
      i64 i = 4 * block + w;
      out[i] = made.of[w] >> 8 >= threshold ? x[i] * factor : T(0);
    }
  }
}
EXPORTED(dropout)
