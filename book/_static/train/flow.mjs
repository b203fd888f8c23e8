// A conditional flow on points y = (y1, y2), given a number x, and its own reverse mode: what the widget `train` of
// lesson 5 trains. A script, since a page opened from disk may load no module, and .mjs, since Jupyter Book puts every
// .js on every page. Couplings pass the first and the second number in turn:
//
//   z_a = y_a,  z_b = s y_b + t,  (raw, t) = C tanh(B tanh(A (y_a, x))),  log s = m tanh(raw / m), or raw without bound
//
// A, B and C end with a column of biases. All weights lie in one array, one coupling after the other, all gradients in
// another. Points lie in one array too: y1, y2 of the first point, of the second, and so on. Logarithms are natural.
// tests/browser/test_train.py compares densities and gradients with torch.
(() => {
  "use strict";

  const LOG_2PI = Math.log(2 * Math.PI);
  const tanh = (u) => 1 - 2 / (Math.exp(2 * u) + 1);

  // uniform and normal numbers by a seed
  function random(seed) {
    let state = seed;
    const uniform = () => (state = (state * 16807) % 2147483647) / 2147483647;
    const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    return { uniform, normal };
  }

  function flow({ couplings = 4, width = 16, bound = 1.5, seed = 7 } = {}) {
    const [B, C] = [3 * width, 3 * width + width * (width + 1)]; // where these matrices begin in the weights of a coupling
    const size = C + 2 * (width + 1);
    const weights = new Float64Array(couplings * size);
    const gradient = new Float64Array(couplings * size);
    const { uniform } = random(seed);
    for (let k = 0; k < couplings; k++) // C stays 0: every coupling begins as the identity
      for (let j = 0; j < C; j++) weights[k * size + j] = (2 * uniform() - 1) / Math.sqrt(j < B ? 2 : width);

    // the network of coupling k for one point: hidden numbers into h from place o, and (log s, t) into out
    function network(k, passed, x, h, o, out) {
      const W = weights;
      const at = k * size;
      for (let j = 0; j < width; j++)
        h[o + j] = tanh(W[at + 3 * j] * passed + W[at + 3 * j + 1] * x + W[at + 3 * j + 2]);
      for (let j = 0, w = at + B; j < width; j++, w++) {
        let u = 0;
        for (let l = 0; l < width; l++) u += W[w++] * h[o + l];
        h[o + width + j] = tanh(u + W[w]);
      }
      for (let j = 0, w = at + C; j < 2; j++, w++) {
        let u = 0;
        for (let l = 0; l < width; l++) u += W[w++] * h[o + width + l];
        out[j] = u + W[w];
      }
      if (bound) out[0] = bound * tanh(out[0] / bound);
    }

    // coupling k over n points, in place; adds log s to logDet. `kept`, if given, holds what `reverse` will need
    const scratch = new Float64Array(2 * width);
    const out = [0, 0];
    function forward(k, y, x, logDet, kept) {
      const [a, b] = [k % 2, 1 - (k % 2)];
      for (let i = 0; i < x.length; i++) {
        const o = kept ? 2 * width * i : 0;
        network(k, y[2 * i + a], x[i], kept ? kept.hidden : scratch, o, out);
        if (kept) {
          [kept.logS[i], kept.y[2 * i], kept.y[2 * i + 1]] = [out[0], y[2 * i], y[2 * i + 1]];
        }
        y[2 * i + b] = Math.exp(out[0]) * y[2 * i + b] + out[1];
        logDet[i] += out[0];
      }
    }
    function inverse(k, z, x) {
      const [a, b] = [k % 2, 1 - (k % 2)];
      for (let i = 0; i < x.length; i++) {
        network(k, z[2 * i + a], x[i], scratch, 0, out);
        z[2 * i + b] = (z[2 * i + b] - out[1]) * Math.exp(-out[0]);
      }
    }

    // From dL/dz to dL/dy, in place, through coupling k; the gradients of its weights are added. dLogDet: dL by the
    // log-determinant of a point. The chain rule line by line, in the opposite order of `forward` and `network`.
    const dHidden = new Float64Array(2 * width);
    function reverse(k, g, x, dLogDet, kept) {
      const W = weights;
      const [a, b, at] = [k % 2, 1 - (k % 2), k * size];
      for (let i = 0; i < x.length; i++) {
        const o = 2 * width * i;
        const h = kept.hidden;
        const [logS, yA, yB] = [kept.logS[i], kept.y[2 * i + a], kept.y[2 * i + b]];
        const s = Math.exp(logS);
        const dT = g[2 * i + b]; // z_b = s y_b + t
        const dLogS = dT * s * yB + dLogDet;
        const dRaw = bound ? dLogS * (1 - (logS / bound) ** 2) : dLogS;
        for (let l = 0, w = at + C; l < width; l++, w++) {
          gradient[w] += dRaw * h[o + width + l];
          gradient[w + width + 1] += dT * h[o + width + l];
          dHidden[width + l] = (dRaw * W[w] + dT * W[w + width + 1]) * (1 - h[o + width + l] ** 2);
        }
        gradient[at + C + width] += dRaw;
        gradient[at + C + 2 * width + 1] += dT;
        dHidden.fill(0, 0, width);
        for (let j = 0, w = at + B; j < width; j++, w++) {
          const d = dHidden[width + j];
          for (let l = 0; l < width; l++, w++) {
            gradient[w] += d * h[o + l];
            dHidden[l] += d * W[w];
          }
          gradient[w] += d;
        }
        let dPassed = 0;
        for (let j = 0; j < width; j++) {
          const d = dHidden[j] * (1 - h[o + j] ** 2);
          const w = at + 3 * j;
          gradient[w] += d * yA;
          gradient[w + 1] += d * x[i];
          gradient[w + 2] += d;
          dPassed += d * W[w];
        }
        g[2 * i + a] += dPassed;
        g[2 * i + b] = dT * s;
      }
    }

    // what encoding gives: z and the log-determinant, both of every point; `upTo` couplings of all
    function encode(y, x, upTo = couplings) {
      const [z, logDet] = [Float64Array.from(y), new Float64Array(x.length)];
      for (let k = 0; k < upTo; k++) forward(k, z, x, logDet);
      return { z, logDet };
    }
    // from z to y, or to what the first `downTo` couplings make of y
    function decode(z, x, downTo = 0) {
      const y = Float64Array.from(z);
      for (let k = couplings - 1; k >= downTo; k--) inverse(k, y, x);
      return y;
    }
    const score = (z, logDet) => logDet.map((d, i) => d - (z[2 * i] ** 2 + z[2 * i + 1] ** 2) / 2 - LOG_2PI);
    function logProb(y, x) {
      const { z, logDet } = encode(y, x);
      return score(z, logDet);
    }

    // the mean of -log p(y|x) over a batch, nats, and its gradient
    let kept = [];
    function loss(y, x) {
      const n = x.length;
      if (kept[0]?.logS.length !== n)
        kept = Array.from({ length: couplings }, () => ({ hidden: new Float64Array(2 * width * n),
          logS: new Float64Array(n), y: new Float64Array(2 * n) }));
      const [z, logDet] = [Float64Array.from(y), new Float64Array(n)];
      for (let k = 0; k < couplings; k++) forward(k, z, x, logDet, kept[k]);
      kept.z = z;
      const value = -score(z, logDet).reduce((sum, v) => sum + v, 0) / n;
      gradient.fill(0);
      const g = z.map((v) => v / n);
      for (let k = couplings - 1; k >= 0; k--) reverse(k, g, x, -1 / n, kept[k]);
      return value;
    }

    // one step of Adam along the gradient
    const [mean, square] = [new Float64Array(weights.length), new Float64Array(weights.length)];
    let steps = 0;
    function step(rate) {
      steps++;
      const [c1, c2] = [1 - 0.9 ** steps, 1 - 0.999 ** steps];
      for (let j = 0; j < weights.length; j++) {
        mean[j] += 0.1 * (gradient[j] - mean[j]);
        square[j] += 0.001 * (gradient[j] ** 2 - square[j]);
        weights[j] -= (rate * mean[j]) / c1 / (Math.sqrt(square[j] / c2) + 1e-8);
      }
    }

    // of the last batch: |z| of the farthest point, the largest |log s| there, and the share of all log s at the bound
    function extremes() {
      const far = kept[0].logS.map((_, i) => Math.hypot(kept.z[2 * i], kept.z[2 * i + 1])).map((v) => (v >= 0 ? v : Infinity));
      const z = far.reduce((most, v) => (v > most ? v : most));
      const logS = Math.max(...kept.map((one) => Math.abs(one.logS[far.indexOf(z)])));
      const all = kept.flatMap((one) => [...one.logS]);
      return { z, logS, atBound: all.filter((v) => Math.abs(v) > 0.99 * bound).length / all.length };
    }

    return { couplings, weights, gradient, encode, decode, logProb, loss, step, extremes };
  }

  window.TRAIN = { flow, random };
})();
