// One step of an optimizer over flat arrays, in one pass: what is written comes first, then the gradients g, which are
// only read. The formulas stand in __init__.py; here a thread takes every entry at its own place and at multiples of the
// number of threads behind it.
#include "../common.cuh"

#define EACH(i) for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += (i64)gridDim.x * blockDim.x)

extern "C" __global__ void sgd(T* p, const T* g, i64 size, T lr, T l2) {
  EACH(i) p[i] -= lr * (g[i] + l2 * p[i]);
}
EXPORTED(sgd)

extern "C" __global__ void momentum(T* p, T* buffer, const T* g, i64 size, T lr, T l2, T mu, T keep, int nesterov) {
  EACH(i) {
    T d = g[i] + l2 * p[i], b = mu * buffer[i] + keep * d;
    buffer[i] = b;
    p[i] -= lr * (nesterov ? d + mu * b : b);
  }
}
EXPORTED(momentum)

// v_max may be null; a NaN stays in it
extern "C" __global__ void adam(T* p, T* m, T* v, T* v_max, int largest, const T* g, i64 size, T step, T scale, T beta1,
                                T rest1, T beta2, T rest2, T eps, T l2, T decay) {
  EACH(i) {
    T d = g[i] + l2 * p[i], mean = beta1 * m[i] + rest1 * d, square = beta2 * v[i] + rest2 * (d * d);
    m[i] = mean, v[i] = square;
    if (largest) v_max[i] = square = v_max[i] >= square || v_max[i] != v_max[i] ? v_max[i] : square;
    p[i] = decay * p[i] - step * (mean / (sqrt(square) * scale + eps));
  }
}
EXPORTED(adam)

// with `centered` the variance stands under the root, with `heavy` there is momentum
extern "C" __global__ void rmsprop(T* p, T* squares, T* means, int centered, T* buffer, int heavy, const T* g, i64 size,
                                   T lr, T alpha, T rest, T eps, T l2, T mu) {
  EACH(i) {
    T d = g[i] + l2 * p[i], square = alpha * squares[i] + rest * (d * d);
    squares[i] = square;
    if (centered) {
      T mean = means[i] = alpha * means[i] + rest * d, variance = square - mean * mean;
      square = variance < 0 ? T(0) : variance;
    }
    d = d / (sqrt(square) + eps);
    if (heavy) buffer[i] = d = mu * buffer[i] + d;
    p[i] -= lr * d;
  }
}
EXPORTED(rmsprop)

extern "C" __global__ void adagrad(T* p, T* total, const T* g, i64 size, T lr, T eps, T l2) {
  EACH(i) {
    T d = g[i] + l2 * p[i], sum = total[i] + d * d;
    total[i] = sum;
    p[i] -= lr * (d / (sqrt(sum) + eps));
  }
}
EXPORTED(adagrad)

extern "C" __global__ void ema(T* average, const T* x, i64 size, T decay) {
  EACH(i) average[i] = x[i] + decay * (average[i] - x[i]);
}
EXPORTED(ema)
