/* What a flow spends its time with, for tools/live.py (which says how it is compiled to WebAssembly).
 *
 * Maps are (positions, channels) of floats, `stride` floats from one position to the next. Weights
 * lie as (outputs / 8, k, k, inputs, 8), the outputs filled up with zeros to a multiple of 8. */

typedef float f4 __attribute__((vector_size(16), aligned(4)));
typedef int i4 __attribute__((vector_size(16), aligned(4)));
#define SPLAT(a) ((f4){a, a, a, a})
#define LOAD(p) (*(const f4 *)(p))
#define STORE(p, v) (*(f4 *)(p) = (v))
#ifdef __wasm_relaxed_simd__
#define MADD(a, b, c) (f4) __builtin_wasm_relaxed_madd_f32x4(a, b, c)
#else
#define MADD(a, b, c) ((a) * (b) + (c))
#endif
#define EXPORT(name) __attribute__((export_name(#name))) void name
#define INLINE static inline __attribute__((always_inline))

/* e^x to 2 units in the last place, x held in (-87, 88): 2^n times a polynomial in (-ln 2, ln 2) / 2 */
INLINE f4 exponential(f4 x) {
  x = __builtin_elementwise_min(__builtin_elementwise_max(x, SPLAT(-87.0f)), SPLAT(88.0f));
  f4 whole = __builtin_elementwise_roundeven(x * 1.44269504f);
  i4 n = __builtin_convertvector(whole, i4);
  f4 r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  f4 p = SPLAT(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * (f4)((n + 127) << 23);
}

/* bound tanh(raw / bound) */
INLINE f4 bounded(f4 raw, float bound) {
  return bound - 2 * bound / (exponential(raw * (2 / bound)) + 1);
}

INLINE f4 activated(f4 t, int activation) {
  if (activation == 1) return __builtin_elementwise_max(t, SPLAT(0.0f));
  if (activation == 2) return t / (exponential(-t) + 1);
  return t;
}

typedef struct {
  const float *in, *weights, *bias, *add;
  float *out;
  int width, in_stride, inputs, size, out_stride, add_stride, activation;
} Conv;

/* Eight outputs at n positions from `at` on, from the taps (y0..y1) x (x0..x1) that are inside. */
INLINE void block(const Conv *c, int n, int at, int first, int y0, int y1, int x0, int x1) {
  f4 sum[4][2];
  for (int k = 0; k < n; k++) {
    sum[k][0] = LOAD(c->bias + first);
    sum[k][1] = LOAD(c->bias + first + 4);
    if (c->add) {
      sum[k][0] += LOAD(c->add + (at + k) * c->add_stride + first);
      sum[k][1] += LOAD(c->add + (at + k) * c->add_stride + first + 4);
    }
  }
  const int half = c->size / 2, inputs = c->inputs, stride = c->in_stride;
  const float *weights = c->weights + first * c->size * c->size * inputs;
  for (int y = y0; y < y1; y++)
    for (int x = x0; x < x1; x++) {
      const float *in = c->in + (at + (y - half) * c->width + x - half) * stride;
      const float *w = weights + (y * c->size + x) * inputs * 8;
      for (int i = 0; i < inputs; i++, w += 8) {
        f4 w0 = LOAD(w), w1 = LOAD(w + 4);
        for (int k = 0; k < n; k++) {
          f4 t = SPLAT(in[k * stride + i]);
          sum[k][0] = MADD(t, w0, sum[k][0]);
          sum[k][1] = MADD(t, w1, sum[k][1]);
        }
      }
    }
  for (int k = 0; k < n; k++) {
    float *out = c->out + (at + k) * c->out_stride + first;
    STORE(out, activated(sum[k][0], c->activation));
    STORE(out + 4, activated(sum[k][1], c->activation));
  }
}

/* out = activation(conv(in) + bias + add), 1x1 or 3x3, zeros around; add 0: nothing is added. */
EXPORT(conv)(const float *in, int in_stride, int height, int width, int inputs, int size,
             const float *weights, const float *bias, int outputs, const float *add, int add_stride,
             int activation, float *out, int out_stride) {
  const Conv c = {in, weights, bias, add, out, width, in_stride, inputs, size, out_stride,
                  add_stride, activation};
  const int half = size / 2;
  for (int row = 0; row < height; row++) {
    const int y0 = row < half ? half - row : 0;
    const int y1 = row + half < height ? size : size - half;
    for (int first = 0; first < outputs; first += 8)
      for (int x = 0, at = row * width; x < width;) {
        const int x0 = x < half ? half - x : 0;
        if (!x0 && x + 4 + half <= width) {
          block(&c, 4, at + x, first, y0, y1, 0, size);
          x += 4;
        } else {
          block(&c, 1, at + x, first, y0, y1, x0, x + half < width ? size : size - half);
          x++;
        }
      }
  }
}

/* The first `channels` channels, held in (-bound, bound). */
EXPORT(clip)(const float *in, int in_stride, int positions, int channels, float bound, float *out,
             int out_stride) {
  for (int at = 0; at < positions; at++)
    for (int i = 0; i < channels; i++) {
      float t = in[at * in_stride + i];
      out[at * out_stride + i] = t < -bound ? -bound : t > bound ? bound : t;
    }
}

/* A coupling: y s + t, or with `back` (y - t) / s; log s = bounded(raw), and parameters are (raw, t).
 * The sum of log s over channels is added to terms. */
EXPORT(couple)(float *y, int stride, int positions, int channels, const float *parameters,
               int parameters_stride, float bound, int back, float *terms) {
  for (int at = 0; at < positions; at++, y += stride, parameters += parameters_stride)
    for (int i = 0; i < channels; i += 4) {
      f4 log_s = bounded(LOAD(parameters + i), bound), t = LOAD(parameters + channels + i);
      f4 s = exponential(back ? -log_s : log_s);
      for (int k = 0; k < 4 && i + k < channels; k++) {
        y[i + k] = back ? (y[i + k] - t[k]) * s[k] : y[i + k] * s[k] + t[k];
        terms[at] += log_s[k];
      }
    }
}

/* A Gaussian prior, parameters (mu, raw), log sigma = bounded(raw). With noise: z = mu + temperature
 * sigma noise, noise without gaps between positions. Else log N(z; mu, sigma) is added to terms. */
EXPORT(prior)(float *z, int stride, int positions, int channels, const float *parameters,
              int parameters_stride, float bound, const float *noise, float temperature,
              float *terms) {
  for (int at = 0; at < positions; at++, z += stride, parameters += parameters_stride)
    for (int i = 0; i < channels; i += 4) {
      f4 mu = LOAD(parameters + i), log_s = bounded(LOAD(parameters + channels + i), bound);
      f4 s = exponential(noise ? log_s : -log_s);
      for (int k = 0; k < 4 && i + k < channels; k++) {
        if (noise) {
          z[i + k] = mu[k] + temperature * s[k] * noise[at * channels + i + k];
        } else {
          float e = (z[i + k] - mu[k]) * s[k];
          terms[at] -= 0.5f * e * e + log_s[k] + 0.918938533f;
        }
      }
    }
}
