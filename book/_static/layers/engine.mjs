// The flow of book/one_file.py, layer by layer, in float64: what the page "Live: layer by layer" steps through.
// `STEP.build(model, bytes)` takes the weights that tools/widgets.py wrote to strokes.mjs. A tensor is {channels, side,
// data}: channel by channel, row by row, as in torch. A layer has `forward(y, h)` -> {out, term, left} and
// `back(z, h, left)`: term in nats, left what it takes out of the flow. tests/browser/test_layers.py compares them.
(() => {
  "use strict";

  const { softplus } = window.WIDGETS;
  const tensor = (channels, side, data = new Float64Array(channels * side * side)) => ({ channels, side, data });
  const join = (a, b) => tensor(a.channels + b.channels, a.side, Float64Array.from([...a.data, ...b.data]));
  const part = ({ side, data }, from, to) => tensor(to - from, side, data.slice(from * side * side, to * side * side));
  const relu = (t) => tensor(t.channels, t.side, t.data.map((v) => Math.max(v, 0)));
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
            for (let r = Math.max(0, -dr); r < Math.min(side, side - dr); r++)
              for (let c = Math.max(0, -dc); c < Math.min(side, side - dc); c++)
                plane[r * side + c] += w * data[(i * side + r + dr) * side + c + dc];
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

  // numbers in float16, little end first
  function halves(bytes) {
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 2 }, (_, k) => {
      const bits = view.getUint16(2 * k, true);
      const [sign, power, rest] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
      return sign * (power ? 2 ** (power - 25) * (1024 + rest) : 2 ** -24 * rest);
    });
  }

  function build(model, bytes) {
    const numbers = halves(bytes);
    const get = (name) => {
      const [start, length] = model.tensors[name];
      return numbers.subarray(start, start + length);
    };
    const matrix = (name, n) => Array.from({ length: n }, (_, i) => [...get(name).slice(n * i, n * i + n)]);
    const convolve = (t, name, k) => conv(t, get(`${name}.weight`), get(`${name}.bias`), k);

    // what the switch breaks: "sign", "order", "threshold" or ""
    const state = { broken: "" };
    const BREAKS = { sign: 13, order: 21, threshold: 0 }; // the layer that each of them breaks

    const kinds = {
      noise: () => ({
        forward(y, h, eps) {
          const v = tensor(1, y.side, y.data.map((label, k) => 0.5 + (2 * label - 1) * softplus(3 + eps[k])));
          const logQ = eps.map((e) => softplus(-(3 + e)) - softplus(e) - softplus(-e));
          return { out: v, term: -total(logQ) };
        },
        // the noise with which v comes from its labels
        noiseOf: (v) => v.data.map((t) => Math.log(Math.expm1(Math.abs(t - 0.5))) - 3),
        labels: (v) => tensor(1, v.side, v.data.map((t) => Number(t > 0.5))),
        back: (v) => tensor(1, v.side, v.data.map((t) => Number(t > (state.broken === "threshold" ? 0 : 0.5)))),
      }),
      squeeze: (k) => ({
        forward: (y) => ({ out: squeeze(y), term: 0 }),
        back: (z) => squeeze(z, true, state.broken === "order" && k === BREAKS.order ? [0, 2, 1, 3] : ORDER),
      }),
      actnorm(k) {
        const [l, b] = ["l", "b"].map((name) => get(`layers.${k}.${name}`));
        const each = (t, f) => {
          const area = t.side * t.side;
          return tensor(t.channels, t.side, t.data.map((v, j) => f(v, Math.floor(j / area))));
        };
        return {
          forward: (y) => ({ out: each(y, (v, c) => Math.exp(l[c]) * (v + b[c])), term: y.side * y.side * total(l) }),
          back: (z) => each(z, (v, c) => v * Math.exp(-l[c]) - b[c]),
        };
      },
      conv1x1(k, { channels }) {
        const W = matrix(`layers.${k}.W`, channels);
        const [back, log] = [inverted(W), logDet(W.map((row) => [...row]))];
        const zeros = new Float64Array(channels);
        return {
          forward: (y) => ({ out: conv(y, W.flat(), zeros, 1), term: y.side * y.side * log }),
          back: (z) => conv(z, back.flat(), zeros, 1),
        };
      },
      coupling(k, { passed, bound }) {
        const net = parts(k, passed, bound);
        return {
          forward(y, h) {
            const { a, b, log, t } = net(y, h);
            const out = join(a, tensor(b.channels, b.side, b.data.map((v, j) => v * Math.exp(log[j]) + t[j])));
            const term = total(log);
            return { out, term: state.broken === "sign" && k === BREAKS.sign ? -term : term };
          },
          back(z, h) {
            const { a, b, log, t } = net(z, h);
            return join(a, tensor(b.channels, b.side, b.data.map((v, j) => (v - t[j]) * Math.exp(-log[j]))));
          },
        };
      },
      prior(k, { passed, bound, channels }) {
        const net = parts(k, passed, bound);
        return {
          forward(y, h) {
            const { a, b, log, t } = net(y, h);
            const logP = b.data.map((v, j) => -(((v - t[j]) / Math.exp(log[j])) ** 2) / 2 - log[j] - Math.log(2 * Math.PI) / 2);
            return { out: a, term: total(logP), left: b };
          },
          back: (z, h, left) => join(z, left),
          // what to put back in a sample: mu + tau sigma eps
          draw(z, h, tau, normal) {
            const { log, t } = net(z, h);
            return tensor(channels - passed, h.side, t.map((mu, j) => mu + tau * Math.exp(log[j]) * normal()));
          },
        };
      },
    };
    // of couplings and priors: the two halves, and what the network makes of the first and of h
    function parts(k, passed, bound) {
      return (y, h) => {
        const [a, b] = [part(y, 0, passed), part(y, passed, y.channels)];
        let t = join(a, h);
        for (const [name, side] of [[0, 3], [2, 1], [4, 3]])
          t = (name < 4 ? relu : (u) => u)(convolve(t, `layers.${k}.net.${name}`, side));
        const [raw, shift] = [0, 1].map((j) => part(t, (j * t.channels) / 2, ((j + 1) * t.channels) / 2).data);
        return { a, b, log: raw.map((v) => bound * Math.tanh(v / bound)), t: shift };
      };
    }
    const layers = model.layers.map((layer, k) => ({ ...layer, ...kinds[layer.kind](k, layer) }));

    // h by the side of y, from the means x of the quarters, 4x4
    function features(x) {
      const at4 = relu(convolve(x, "at_4", 3));
      const twice = tensor(at4.channels, 8);
      for (let j = 0; j < inner(twice); j++) {
        const [c, r, q] = [j >> 6, (j >> 3) & 7, j & 7];
        twice.data[j] = at4.data[c * 16 + (r >> 1) * 4 + (q >> 1)];
      }
      return { 4: at4, 8: relu(convolve(twice, "at_8", 3)) };
    }

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
      const [states, put] = [[tensor(0, 4)], []];
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
