// A flow, layer by layer, in float64: what the page "Live: layer by layer" steps through. `STEP.build(model, bytes)`
// takes a list of layers and their weights, as tools/live.py and tools/widgets.py write them. A tensor is {channels,
// side, data}: channel by channel, row by row, as in torch. A layer has `forward(y, h)` -> {out, term, left} and
// `back(z, h, left)`: term in nats, left what it takes out of the flow. tests/browser/test_layers.py compares them.
(() => {
  "use strict";

  const { softplus } = window.WIDGETS;
  const tensor = (channels, side, data = new Float64Array(channels * side * side)) => ({ channels, side, data });
  const join = (a, b) => tensor(a.channels + b.channels, a.side, Float64Array.from([...a.data, ...b.data]));
  const part = ({ side, data }, from, to) => tensor(to - from, side, data.slice(from * side * side, to * side * side));
  const relu = (t) => tensor(t.channels, t.side, t.data.map((v) => Math.max(v, 0)));
  const logNormal = (e) => -(e * e + Math.log(2 * Math.PI)) / 2;
  const total = (data) => data.reduce((sum, v) => sum + v, 0);
  const inner = (t) => t.channels * t.side * t.side;

  // a convolution with zeros around; weights [outputs][inputs][k][k]
  function conv({ channels, side, data }, weight, bias, k) {
    const [n, edge] = [bias.length, k >> 1];
    const out = tensor(n, side);
    for (let o = 0; o < n; o++) {
      const plane = out.data.subarray(o * side * side, (o + 1) * side * side).fill(bias[o]);
      for (let i = 0; i < channels; i++)
        for (let dr = -edge; dr <= edge; dr++)
          for (let dc = -edge; dc <= edge; dc++) {
            const w = weight[((o * channels + i) * k + dr + edge) * k + dc + edge];
            const [first, end] = [Math.max(0, -dc), Math.min(side, side - dc)];
            for (let r = Math.max(0, -dr); r < Math.min(side, side - dr); r++) {
              const [to, from] = [r * side, (i * side + r + dr) * side + dc];
              for (let c = first; c < end; c++) plane[to + c] += w * data[from + c];
            }
          }
    }
    return out;
  }

  // log |det| of a square matrix, an array of rows that is overwritten
  function logDet(rows) {
    let log = 0;
    for (let k = 0; k < rows.length; k++) {
      let best = k;
      for (let i = k + 1; i < rows.length; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[best][k])) best = i;
      [rows[k], rows[best]] = [rows[best], rows[k]];
      log += Math.log(Math.abs(rows[k][k]));
      for (let i = k + 1; i < rows.length; i++) {
        const ratio = rows[i][k] / rows[k][k];
        if (ratio) for (let j = k; j < rows.length; j++) rows[i][j] -= ratio * rows[k][j];
      }
    }
    return log;
  }
  function inverted(rows) { // Gauss and Jordan, with pivots
    const n = rows.length;
    const both = rows.map((row, i) => [...row, ...rows.map((_, j) => Number(i === j))]);
    for (let k = 0; k < n; k++) {
      let best = k;
      for (let i = k + 1; i < n; i++) if (Math.abs(both[i][k]) > Math.abs(both[best][k])) best = i;
      [both[k], both[best]] = [both[best], both[k]];
      both[k] = both[k].map((v) => v / both[k][k]);
      for (let i = 0; i < n; i++) if (i !== k) both[i] = both[i].map((v, j) => v - both[i][k] * both[k][j]);
    }
    return both.map((row) => row.slice(n));
  }

  // position q of a block of 2x2 becomes channel 4 c + q: `order` says which
  const ORDER = [0, 1, 2, 3];
  function squeeze({ channels, side, data }, up, order = ORDER) {
    const half = up ? side : side / 2;
    const [deep, wide] = [up ? channels : 4 * channels, 2 * half];
    const out = up ? tensor(channels / 4, wide) : tensor(deep, half);
    for (let k = 0; k < deep; k++)
      for (let r = 0; r < half; r++)
        for (let c = 0; c < half; c++) {
          const q = order[k % 4];
          const small = (k * half + r) * half + c;
          const large = ((k >> 2) * wide + 2 * r + (q >> 1)) * wide + 2 * c + (q & 1);
          if (up) out.data[large] = data[small];
          else out.data[small] = data[large];
        }
    return out;
  }

  // every position four times
  function twice({ channels, side, data }) {
    const out = tensor(channels, 2 * side);
    for (let j = 0; j < out.data.length; j++) {
      const [row, column] = [Math.floor(j / out.side), j % out.side]; // of all channels, one below the other
      out.data[j] = data[(row >> 1) * side + (column >> 1)];
    }
    return out;
  }
  // the maximum of 2x2 blocks
  function pooled(t) {
    const { channels, side, data } = squeeze(t);
    const of = (k) => 4 * side * side * Math.floor(k / side / side) + (k % (side * side));
    const largest = (k) => Math.max(...ORDER.map((q) => data[of(k) + q * side * side]));
    return tensor(channels / 4, side, Float64Array.from({ length: inner(t) / 4 }, (_, k) => largest(k)));
  }
  // what f makes of a tensor is computed once
  function kept(f) {
    const known = new WeakMap();
    return (t) => {
      if (!known.has(t)) known.set(t, f(t));
      return known.get(t);
    };
  }

  // numbers in float16, little end first
  function halves(bytes, start) {
    const view = new DataView(bytes.buffer, start);
    return Float64Array.from({ length: view.byteLength / 2 }, (_, k) => {
      const bits = view.getUint16(2 * k, true);
      const [sign, power, rest] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
      return sign * (power ? 2 ** (power - 25) * (1024 + rest) : 2 ** -24 * rest);
    });
  }

  function build(model, bytes) {
    const singles = new Float32Array(bytes.buffer, 0, model.halves / 4);
    const numbers = halves(bytes, model.halves);
    const exact = (at, count) => Float64Array.from(singles.subarray(at, at + count));
    const rounded = (at, count) => numbers.subarray(at, at + count);
    // a convolution, with the gain and the shift of its outputs that batch norm comes down to
    function stored([at, biasAt, outputs, inputs, size, gainAt, shiftAt]) {
      let weight = rounded(at, outputs * inputs * size * size);
      let bias = biasAt === null ? new Float64Array(outputs) : rounded(biasAt, outputs);
      if (gainAt !== undefined) {
        const of = weight.length / outputs;
        weight = weight.map((w, k) => w * singles[gainAt + Math.floor(k / of)]);
        bias = exact(shiftAt, outputs);
      }
      return (t) => conv(t, weight, bias, size);
    }
    // the network of a layer, of some channels of y and of h; the part of h is kept
    function network({ y, h, middle, last, activation, clip }) {
      if (activation !== "relu" || clip) throw new Error(`a network with ${activation} and clip ${clip} is not supported`);
      const [ofY, inside, end] = [y ? stored(y) : null, stored(middle), stored(last)];
      const ofH = kept(stored(h));
      return (a, given) => {
        const first = ofH(given);
        const more = ofY?.(a).data;
        return end(relu(inside(relu(more ? tensor(first.channels, first.side, first.data.map((v, k) => v + more[k])) : first))));
      };
    }
    const bounded = (data, bound) => data.map((v) => bound * Math.tanh(v / bound));
    const half = (t, second) => part(t, second ? t.channels / 2 : 0, second ? t.channels : t.channels / 2).data;

    // what the switch breaks: "sign", "order", "threshold" or ""
    const state = { broken: "" };
    const places = (kind) => [...model.layers.keys()].filter((k) => model.layers[k].kind === kind);
    const BREAKS = { sign: places("coupling")[3], order: places("squeeze").at(-1), threshold: 0 }; // the layer of each

    const kinds = {
      binary(k, { noise, shift, bound, net }) { // w = s eps + t, of labels and h; or eps + shift
        const made = net && network(net);
        const affine = (labels, h) => {
          if (!net) return { log: labels.data.map(() => 0), t: labels.data.map(() => shift) };
          const p = made(tensor(1, labels.side, labels.data.map((label) => 2 * label - 1)), h);
          return { log: bounded(half(p, false), bound), t: half(p, true) };
        };
        const logPi = noise === "gaussian" ? logNormal : (e) => -softplus(e) - softplus(-e);
        const read = (v, threshold) => tensor(1, v.side, v.data.map((t) => Number(t > threshold)));
        return {
          forward(y, h, eps) {
            const { log, t } = affine(y, h);
            const w = eps.map((e, j) => e * Math.exp(log[j]) + t[j]);
            const v = tensor(1, y.side, y.data.map((label, j) => 0.5 + (2 * label - 1) * softplus(w[j])));
            return { out: v, term: total(w.map((u, j) => log[j] - softplus(-u) - logPi(eps[j]))) };
          },
          // the noise with which v comes from its labels
          noiseOf(v, h) {
            const { log, t } = affine(read(v, 0.5), h);
            return v.data.map((u, j) => (Math.log(Math.expm1(Math.abs(u - 0.5))) - t[j]) * Math.exp(-log[j]));
          },
          draw: (random) => (noise === "gaussian" ? random.normal() : random.logistic()),
          labels: (v) => read(v, 0.5),
          back: (v) => read(v, state.broken === "threshold" ? 0 : 0.5),
        };
      },
      squeeze: (k) => ({
        forward: (y) => ({ out: squeeze(y), term: 0 }),
        back: (z) => squeeze(z, true, state.broken === "order" && k === BREAKS.order ? [0, 2, 1, 3] : ORDER),
      }),
      actnorm(k, { channels, l: lAt, b: bAt }) {
        const [l, b] = [lAt, bAt].map((at) => rounded(at, channels));
        const each = (t, f) => {
          const area = t.side * t.side;
          return tensor(t.channels, t.side, t.data.map((v, j) => f(v, Math.floor(j / area))));
        };
        return {
          forward: (y) => ({ out: each(y, (v, c) => Math.exp(l[c]) * (v + b[c])), term: y.side * y.side * total(l) }),
          back: (z) => each(z, (v, c) => v * Math.exp(-l[c]) - b[c]),
        };
      },
      conv1x1: (k, { channels: n, w }) => mix(rounded(w, n * n), new Float64Array(n)),
      linear: (k, { channels: n, weight, bias }) => mix(exact(weight, n * n), exact(bias, n)),
      coupling(k, { channels, flip, bound, net }) {
        const made = network(net);
        const halved = (y, h) => {
          const at = flip ? channels : y.channels - channels;
          const [first, second] = [part(y, 0, at), part(y, at, y.channels)];
          const [a, b] = flip ? [second, first] : [first, second];
          const p = made(a, h);
          return { a, b, log: bounded(half(p, false), bound), t: half(p, true) };
        };
        const whole = (a, b, data) => (flip ? join(tensor(b.channels, b.side, data), a) : join(a, tensor(b.channels, b.side, data)));
        return {
          forward(y, h) {
            const { a, b, log, t } = halved(y, h);
            const term = total(log);
            return { out: whole(a, b, b.data.map((v, j) => v * Math.exp(log[j]) + t[j])),
              term: state.broken === "sign" && k === BREAKS.sign ? -term : term };
          },
          back(z, h) {
            const { a, b, log, t } = halved(z, h);
            return whole(a, b, b.data.map((v, j) => (v - t[j]) * Math.exp(-log[j])));
          },
        };
      },
      prior(k, { kept: passed, channels, bound, net }) {
        const made = network(net);
        const moments = (a, h) => {
          const p = made(a, h);
          return { mu: half(p, false), log: bounded(half(p, true), bound) };
        };
        return {
          forward(y, h) {
            const [a, b] = [part(y, 0, passed), part(y, passed, y.channels)];
            const { mu, log } = moments(a, h);
            return { out: a, left: b, term: total(b.data.map((v, j) => logNormal((v - mu[j]) * Math.exp(-log[j])) - log[j])) };
          },
          back: (z, h, left) => join(z, left),
          // what to put back in a sample: mu + tau sigma eps
          draw(z, h, tau, normal) {
            const { mu, log } = moments(z, h);
            return tensor(channels, h.side, mu.map((m, j) => m + tau * Math.exp(log[j]) * normal()));
          },
        };
      },
    };
    // of every position, W y + b
    function mix(weight, bias) {
      const n = bias.length;
      const W = Array.from({ length: n }, (_, i) => [...weight.subarray(n * i, n * i + n)]);
      const [back, log] = [inverted(W).flat(), logDet(W.map((row) => [...row]))];
      const origin = conv(tensor(n, 1, bias), back, new Float64Array(n), 1).data.map((v) => -v);
      return {
        forward: (y) => ({ out: conv(y, weight, bias, 1), term: y.side * y.side * log }),
        back: (z) => conv(z, back, origin, 1),
      };
    }
    const layers = model.layers.map((layer, k) => ({ ...layer, ...kinds[layer.kind](k, layer) }));

    // from x to h, by the side of y
    const features = kept({
      means({ at_4, at_8 }) { // of one_file.py
        const [coarse, fine] = [stored(at_4), stored(at_8)];
        return (x) => {
          const h = relu(coarse(x));
          return { 4: h, 8: relu(fine(twice(h))) };
        };
      },
      unet({ down, lift, up }) { // cnf.features.UNetFeatures
        const double = ([first, second]) => {
          const [one, two] = [stored(first), stored(second)];
          return (t) => relu(two(relu(one(t))));
        };
        const [downs, lifts, ups] = [down.map(double), lift.map(stored), up.map(double)];
        return (x) => {
          let t = tensor(3, x.side, x.data.map((v) => v / 128 - 1));
          const skips = downs.map((block, l) => (t = block(l ? pooled(t) : t)));
          const h = { [t.side]: t };
          for (let l = ups.length - 1; l >= 0; l--) {
            t = ups[l](join(skips[l], twice(lifts[l](t))));
            h[t.side] = t;
          }
          return h;
        };
      },
    }[model.features.kind](model.features));

    // the way of labels y with noise eps: states[k] is what layer k gets, the last one what the last layer passes on
    function forth(y, h, eps) {
      const [states, terms, left] = [[y], [], []];
      layers.forEach((layer, k) => {
        const now = layer.forward(states[k], h[states[k].side], eps);
        states.push(now.out);
        terms.push(now.term);
        left.push(now.left);
      });
      return { states, terms, left };
    }
    // the way back, with what had left, or with draws if `left` is null; states in the same order
    function back(h, left, tau, normal) {
      const [states, put] = [[tensor(0, Math.min(...Object.keys(h)))], []];
      for (let k = layers.length - 1; k >= 0; k--) {
        const [z, layer] = [states[0], layers[k]];
        if (layer.kind === "prior") put[k] = left ? left[k] : layer.draw(z, h[z.side], tau, normal);
        states.unshift(layer.back(z, h[z.side], put[k]));
      }
      return { states, left: put };
    }

    // one row of the transposed Jacobian of a layer at y: input j is moved a little, both ways
    function slope(k, y, h, j) {
      const step = 1e-4;
      const [up, down] = [step, -step].map((d) => {
        const data = y.data.slice();
        data[j] += d;
        return layers[k].forward(tensor(y.channels, y.side, data), h[y.side]).out.data;
      });
      return up.map((v, i) => (v - down[i]) / (2 * step));
    }

    return { layers, state, BREAKS, features, forth, back, slope };
  }

  window.STEP = { build, tensor, squeeze, logDet };
})();
