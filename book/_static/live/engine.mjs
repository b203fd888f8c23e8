// A flow in the browser, of super-resolution or of vessels, or a factorised model: `tools/live.py` writes the list of its
// layers, its weights and the compiled tools/live.c; the layers are those of the package, and a test
// holds the two together. This function runs as it is in a worker, and asks for nothing. Of the kernels it takes the
// first that the browser can run. What networks make of h is kept for the next sample, unless it takes
// more than mayKeep bytes.
(window.LIVE ??= {}).engine = function (model, weights, kernels, mayKeep) {
  "use strict";

  const LOG_2 = Math.log(2);
  const padded = (n) => 8 * Math.ceil(n / 8);
  const ACTIVATIONS = { relu: 1, silu: 2 };

  // -- memory: weights first, then the maps of one picture --------------------------------------

  const bytes = kernels.find((b) => globalThis.WebAssembly?.validate(b));
  if (!bytes) throw new Error("this browser cannot run WebAssembly");
  const memory = new WebAssembly.Memory({ initial: 32 });
  const kernel = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } }).exports;
  let top = kernel.__heap_base.value;

  function allocate(count) {
    const at = 16 * Math.ceil(top / 16);
    top = at + 4 * count + 64; // the kernel may read a few numbers past the end
    const missing = top - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return at;
  }
  const floats = (at, count) => new Float32Array(memory.buffer, at, count);
  const map = (level, channels) => {
    const stride = padded(channels);
    return { at: allocate(level.count * stride), stride, level };
  };
  const numbers = (m) => floats(m.at, m.level.count * m.stride);

  // -- weights ------------------------------------------------------------------------------------

  const singles = new Float32Array(weights, 0, model.halves / 4);
  const halves = new Uint16Array(weights, model.halves);
  const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
    const [exponent, fraction] = [(bits >> 10) & 31, (bits & 1023) / 1024];
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
    return bits >> 15 ? -size : size;
  });

  // weights (outputs, inputs, size, size) and bias as the kernel reads them
  function packed(weight, bias, outputs, inputs, size) {
    const taps = size * size;
    const conv = { outputs: padded(outputs), inputs, size };
    conv.weight = allocate(conv.outputs * taps * inputs);
    conv.bias = allocate(conv.outputs);
    const w = floats(conv.weight, conv.outputs * taps * inputs).fill(0);
    const b = floats(conv.bias, conv.outputs).fill(0);
    for (let o = 0, from = 0; o < outputs; o++) {
      if (bias) b[o] = bias[o];
      for (let i = 0; i < inputs; i++)
        for (let tap = 0; tap < taps; tap++)
          w[(((o >> 3) * taps + tap) * inputs + i) * 8 + (o & 7)] = weight[from++];
    }
    return conv;
  }
  // with a gain and a shift of its outputs where batch norm followed
  function stored([weight, bias, outputs, inputs, size, gain, shift]) {
    const part = (at, count) => Float32Array.from(halves.subarray(at, at + count), (b) => HALF[b]);
    const w = part(weight, outputs * inputs * size * size);
    if (gain !== undefined) {
      const of = w.length / outputs;
      w.forEach((t, k) => (w[k] = t * singles[gain + Math.floor(k / of)]));
      return packed(w, singles.subarray(shift, shift + outputs), outputs, inputs, size);
    }
    // a 2x2 convolution of stride 2 is a 1x1 convolution of what was squeezed
    const [i, k] = size === 2 ? [4 * inputs, 1] : [inputs, size];
    return packed(w, bias === null ? null : part(bias, outputs), outputs, i, k);
  }
  function linear({ channels: c, weight, bias, inverse, origin }) {
    const part = (at, count) => singles.subarray(at, at + count);
    return {
      forward: packed(part(weight, c * c), part(bias, c), c, c, 1),
      back: packed(part(inverse, c * c), part(origin, c), c, c, 1),
    };
  }

  const everyConv = (part) => {
    if (!Array.isArray(part)) return part;
    return Array.isArray(part[0]) || !part.length ? part.map(everyConv) : stored(part);
  };
  const features = Object.fromEntries(Object.entries(model.features).map(([name, part]) => [name, everyConv(part)]));
  let depth = 0;
  const layers = model.layers.map((layer) => {
    if (["subbands", "squeeze"].includes(layer.kind)) return { ...layer, level: depth++ };
    if (layer.kind === "linear") return { ...layer, level: depth, ...linear(layer) };
    if (!layer.net) return { ...layer, level: depth };
    const net = { clip: layer.net.clip, act: ACTIVATIONS[layer.net.activation] };
    for (const name of ["y", "h", "middle", "last"])
      net[name] = layer.net[name] ? stored(layer.net[name]) : null;
    return { ...layer, level: depth, net };
  });
  const priors = layers.filter((layer) => layer.kind === "prior");
  const scale = layers.find((layer) => layer.kind === "residual")?.scale;
  const [{ bins, noise: kindOfNoise }] = layers;
  const finest = model.factor === 2 ? 1 : 0; // the level at the resolution of x
  const base = top;

  // out = activation(conv(m) + bias + add)
  function convolve(conv, m, out, { from = 0, add = null, act = 0 } = {}) {
    const { height, width } = m.level;
    const added = add ? [add.at, add.stride] : [0, 0];
    const { inputs, size, weight, bias, outputs } = conv;
    const sizes = [height, width, inputs, size, weight, bias, outputs];
    kernel.conv(m.at + 4 * from, m.stride, ...sizes, ...added, act, out.at, out.stride);
    return out;
  }

  // -- halving and doubling, in double precision: see cnf/resample.py and cnf/layers/subbands.py --

  const matrix = (rows, columns) => ({ rows, columns, values: new Float64Array(rows * columns) });
  function product(a, b, weight = null) {
    const out = matrix(a.rows, b.columns);
    for (let i = 0; i < a.rows; i++) {
      const row = out.values.subarray(i * b.columns, (i + 1) * b.columns);
      for (let k = 0; k < a.columns; k++) {
        const f = a.values[i * a.columns + k] * (weight ? weight[k] : 1);
        if (!f) continue;
        const from = k * b.columns;
        for (let j = 0; j < row.length; j++) row[j] += f * b.values[from + j];
      }
    }
    return out;
  }
  function transposed(a) {
    const out = matrix(a.columns, a.rows);
    for (let i = 0; i < a.rows; i++)
      for (let j = 0; j < a.columns; j++) out.values[j * a.rows + i] = a.values[i * a.columns + j];
    return out;
  }
  // rows a columns^T
  const both = (rows, a, columns) =>
    product(rows, transposed(product(columns, transposed(a))));

  function cubic(t) {
    t = Math.abs(t);
    if (t <= 1) return (1.5 * t - 2.5) * t * t + 1;
    return t <= 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
  }
  // weights at `taps` places around `centre(i)`, the kernel stretched, edges mirrored
  function resampling(rows, columns, centre, taps, stretch) {
    const out = matrix(rows, columns);
    for (let i = 0; i < rows; i++)
      for (let tap = 1 - taps / 2; tap <= taps / 2; tap++) {
        const place = Math.floor(centre(i)) + tap;
        let j = ((place % (2 * columns)) + 2 * columns) % (2 * columns);
        if (j >= columns) j = 2 * columns - 1 - j;
        out.values[i * columns + j] += cubic((place - centre(i)) / stretch) / stretch;
      }
    return out;
  }
  // the orthonormal DCT-II (shift 0, cosine) and DST-II (shift 1, sine) of m numbers
  function transform(m, wave, shift) {
    const out = matrix(m, m);
    for (let k = 0; k < m; k++) {
      const size = Math.sqrt((k === (shift ? m - 1 : 0) ? 1 : 2) / m);
      for (let j = 0; j < m; j++)
        out.values[k * m + j] = size * wave((Math.PI * (j + 0.5) * (k + shift)) / m);
    }
    return out;
  }
  // F^T diag(|A_k|^power) A with A = F b: (b b^T)^(power / 2) b, where F diagonalises b b^T
  function whitened(f, b, power) {
    const a = product(f, b);
    const sizes = Array.from({ length: a.rows }, (_, k) =>
      a.values.subarray(k * a.columns, (k + 1) * a.columns).reduce((sum, t) => sum + t * t, 0));
    const out = product(transposed(f), a, sizes.map((t) => t ** (power / 2)));
    out.values.forEach((t, k) => { // subnormal numbers are slow
      if (Math.abs(t) < 1e-12) out.values[k] = 0;
    });
    return out;
  }
  const kept = new Map();
  function matricesOf(size) {
    if (kept.has(size)) return kept.get(size);
    const m = size / 2;
    const half = resampling(m, size, (i) => 2 * i + 0.5, 8, 2);
    const cosine = transform(m, Math.cos, 0);
    const low = whitened(cosine, half, -1);
    const unseen = matrix(m, size);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < m; j++) {
        const f = low.values[j * size + 2 * i + 1] - low.values[j * size + 2 * i];
        if (f)
          for (let k = 0; k < size; k++)
            unseen.values[i * size + k] += f * low.values[j * size + k];
      }
      unseen.values[i * size + 2 * i] += 1;
      unseen.values[i * size + 2 * i + 1] -= 1;
    }
    const detail = whitened(transform(m, Math.sin, 1), unseen, -1);
    const bands = matrix(size, size);
    bands.values.set(low.values);
    bands.values.set(detail.values, m * size);
    const found = {
      half,
      double: resampling(size, m, (i) => i / 2 - 0.25, 4, 1),
      inverse: transposed(whitened(cosine, half, -2)),
      bands,
    };
    kept.clear(); // of one size, or of height and width
    return kept.set(size, found).get(size);
  }
  // (positions, 3) to three planes, and back
  const planes = (x, height, width) => [0, 1, 2].map((c) => {
    const out = matrix(height, width);
    for (let k = 0; k < height * width; k++) out.values[k] = x[3 * k + c];
    return out;
  });
  function joined(parts) {
    const out = new Float64Array(3 * parts[0].values.length);
    parts.forEach((part, c) => part.values.forEach((t, k) => (out[3 * k + c] = t)));
    return out;
  }

  // a picture halved, (positions, 3) grey levels, not rounded
  function halved(y, height, width) {
    const [rows, columns] = [matricesOf(height), matricesOf(width)];
    return joined(planes(y, height, width).map((p) => both(rows.half, p, columns.half)));
  }

  // -- one picture --------------------------------------------------------------------------------

  let at = null; // what is known of the picture at hand
  let last = 0;
  const channel = new MessageChannel();
  const waiting = [];
  channel.port1.onmessage = () => waiting.shift()();
  // lets messages in, and gives up if one of them said so
  async function breathe(share) {
    if (performance.now() - last > 40) {
      engine.progress(share);
      await new Promise((resolve) => {
        waiting.push(resolve);
        channel.port2.postMessage(0);
      });
      last = performance.now();
    }
    if (engine.stopped()) throw new Error("stopped");
  }

  // x: (positions, 3) grey levels; both sides multiples of multiple / factor
  async function condition(x, height, width) {
    const step = model.multiple / model.factor;
    if (height % step || width % step || Math.min(height, width) < 4)
      throw new Error(`x of ${height}x${width}: both sides must be multiples of ${step}, from 4 on`);
    top = base;
    at = null;
    const levels = Array.from({ length: Math.max(depth, finest) + 1 }, (_, l) => {
      const [h, w] = [(model.factor * height) >> l, (model.factor * width) >> l];
      return { height: h, width: w, count: h * w, terms: l < finest ? 0 : allocate(h * w) };
    });
    const here = { levels, z: [], h: [], parts: new Map() };
    await { residual, unet }[features.kind](here, x, height, width);

    // maps of every level, and scratch for the largest
    const channels = Array(depth + 1).fill(0);
    const most = { hidden: 0, out: 0, in: 0 };
    for (const { kind, level, kept: k, channels: c, net } of layers) {
      const { count } = levels[level];
      if (kind === "linear" || kind === "binary") channels[level] = Math.max(channels[level], c);
      if (kind === "prior") channels[level] = Math.max(channels[level], k + c);
      if (!net) continue;
      most.hidden = Math.max(most.hidden, count * (net.middle?.outputs ?? 0));
      most.out = Math.max(most.out, count * (net.last ?? net.y ?? net.h).outputs);
      most.in = Math.max(most.in, count * padded(net.y?.inputs ?? 0));
    }
    channels.forEach((c, l) => c && (here.z[l] = [map(levels[l], c), map(levels[l], c)]));
    const floatsFor = { t: most.hidden, u: most.hidden, p: most.out, in: most.in, given: Math.max(most.hidden, most.out) };
    here.scratch = Object.fromEntries(Object.entries(floatsFor).map(([name, count]) => [name, { at: allocate(count) }]));
    here.eps = new Map(priors.map((layer) => [layer, allocate(levels[layer.level].count * layer.channels)]));
    const total = layers.reduce((sum, { net, level }) =>
      sum + (net?.h ? 4 * levels[level].count * net.h.outputs : 0), 0);
    here.keeps = total <= mayKeep;
    at = here;
    return { bicubic: here.bicubic, bytes: top + (here.keeps ? total : 0) };
  }

  // the features of super-resolution: cnf.features.ResidualFeatures, and the bands of y
  async function residual(here, x, height, width) {
    const { levels } = here;
    const one = levels[1];
    const [rows, columns] = [matricesOf(2 * height), matricesOf(2 * width)];
    here.rows = packed(rows.bands.values, null, 2 * height, 2 * height, 1);
    here.columns = packed(columns.bands.values, null, 2 * width, 2 * width, 1);
    here.rowsBack = packed(transposed(rows.bands).values, null, 2 * height, 2 * height, 1);
    here.columnsBack = packed(transposed(columns.bands).values, null, 2 * width, 2 * width, 1);
    here.planes = [0, 1].map(() => allocate(3 * Math.max(2 * height * padded(2 * width), 2 * width * padded(2 * height))));
    const low = planes(x, height, width);
    const cubes = low.map((p) => both(rows.double, p, columns.double));
    here.bicubic = joined(cubes);
    here.doubled = cubes.map((cube, c) => {
      const again = both(rows.half, cube, columns.half);
      const missing = matrix(height, width);
      missing.values.set(low[c].values.map((t, k) => t - again.values[k]));
      const part = both(rows.inverse, missing, columns.inverse);
      return Float32Array.from(cube.values, (t, k) => Math.fround(Math.fround(t + part.values[k]) + 0.5) / 256);
    });
    await breathe(0);

    const width1 = features.head.outputs;
    const seen = map(one, features.head.inputs);
    const s = numbers(seen);
    for (let k = 0; k < one.count; k++)
      for (let c = 0; c < 3; c++) {
        const t = Math.fround(x[3 * k + c]);
        s[k * seen.stride + c] = t / 256 - 0.5;
        if (features.fractions) s[k * seen.stride + 3 + c] = 2 * Math.abs(t - even(t));
      }
    const hidden = map(one, width1);
    let [trunk, other] = [map(one, width1), map(one, width1)];
    convolve(features.head, seen, trunk);
    for (const [k, [first, second]] of features.blocks.entries()) {
      await breathe((k + 1) / (features.blocks.length + 2));
      convolve(first, trunk, hidden, { act: ACTIVATIONS[features.activation] });
      convolve(second, hidden, other, { add: trunk });
      [trunk, other] = [other, trunk];
    }
    if (features.clip)
      kernel.clip(trunk.at, trunk.stride, one.count, width1, features.clip, trunk.at, trunk.stride);
    here.h[1] = trunk;
    if (features.full) { // h[0]: the doubled picture, then four channels for each of the rest, a 2x2 block
      const [fine, rest] = [map(levels[0], 3 + features.full.outputs / 4), map(one, features.full.outputs)];
      convolve(features.full, trunk, rest, { act: ACTIVATIONS.relu });
      squeeze({ ...fine, at: fine.at + 4 * 3 }, rest, features.full.outputs / 4, 1);
      const h = numbers(fine);
      here.doubled.forEach((part, c) => part.forEach((t, p) => (h[p * fine.stride + c] = t)));
      here.h[0] = fine;
    }
    features.down.forEach((conv, k) => {
      const squeezed = map(levels[k + 2], conv.inputs);
      squeeze(here.h[k + 1], squeezed, conv.inputs / 4, 0);
      here.h[k + 2] = convolve(conv, squeezed, map(levels[k + 2], conv.outputs));
    });
  }

  // the features of vessels: cnf.features.UNetFeatures
  async function unet({ levels, h }, x, height, width) {
    const { down, lift, up } = features;
    const sizes = down.map((_, l) => levels[l] ??
      { height: height >> l, width: width >> l, count: (height >> l) * (width >> l) });
    const pairs = up.map(([first], l) => map(sizes[l], first.inputs)); // the skip, then what comes from below
    let t = map(sizes[0], 3);
    const seen = numbers(t);
    for (let k = 0; k < x.length; k++) seen[Math.floor(k / 3) * t.stride + (k % 3)] = x[k] / 128 - 1;
    let done = 0;
    const twice = async ([first, second], into) => {
      await breathe(done++ / (down.length + up.length));
      const hidden = convolve(first, t, map(t.level, first.outputs), { act: 1 });
      t = convolve(second, hidden, into, { act: 1 });
    };
    for (const [l, block] of down.entries()) {
      if (l) t = pooled(t, map(sizes[l], block[0].inputs), block[0].inputs);
      await twice(block, pairs[l] ?? map(sizes[l], block[1].outputs));
    }
    h[down.length - 1] = t;
    for (let l = up.length - 1; l >= 0; l--) {
      const c = up[l][0].inputs / 2;
      repeated(convolve(lift[l], t, map(sizes[l + 1], lift[l].outputs)), pairs[l], c, c);
      t = pairs[l];
      await twice(up[l], map(sizes[l], up[l][1].outputs));
      h[l] = t;
    }
  }
  // the maximum of 2x2 blocks
  function pooled(fine, coarse, channels) {
    const [a, b] = [numbers(fine), numbers(coarse)];
    const { height, width } = coarse.level;
    const row = 2 * width * fine.stride;
    for (let y = 0, to = 0; y < height; y++)
      for (let x = 0; x < width; x++, to += coarse.stride)
        for (let c = 0, k = 2 * y * row + 2 * x * fine.stride; c < channels; c++, k++)
          b[to + c] = Math.max(a[k], a[k + fine.stride], a[k + row], a[k + row + fine.stride]);
    return coarse;
  }
  // every position four times, as channels `from`, ... of the finer map
  function repeated(coarse, fine, channels, from) {
    const [a, b] = [numbers(coarse), numbers(fine)];
    const { height, width } = fine.level;
    for (let y = 0, to = from; y < height; y++)
      for (let x = 0; x < width; x++, to += fine.stride) {
        const k = ((y >> 1) * coarse.level.width + (x >> 1)) * coarse.stride;
        for (let c = 0; c < channels; c++) b[to + c] = a[k + c];
      }
  }

  // to the nearest whole number, halves to the even one
  function even(t) {
    const low = Math.floor(t);
    const rest = t - low;
    return rest === 0.5 ? low + (low & 1) : low + (rest > 0.5);
  }

  // a scratch map at another level
  const on = (level, m, channels) => ({ at: m.at, stride: padded(channels), level });

  // what a network makes of h alone: kept for the next sample
  function fromH(net, level) {
    if (at.parts.has(net)) return at.parts.get(net);
    const [where, h, { t, u, given }] = [at.levels[level], at.h[level], at.scratch];
    const whole = !net.y && net.middle; // then all of the network
    const outputs = whole ? net.last.outputs : net.h.outputs;
    const out = at.keeps ? map(where, outputs) : on(where, given, outputs);
    if (whole) {
      const one = convolve(net.h, h, on(where, t, net.h.outputs), { act: net.act });
      const two = convolve(net.middle, one, on(where, u, net.middle.outputs), { act: net.act });
      convolve(net.last, two, out);
    } else convolve(net.h, h, out);
    if (at.keeps) at.parts.set(net, out);
    return out;
  }

  // the parameters that a network gives for channels `from`, ... of z
  function parametersOf({ net, level }, z, from) {
    const where = at.levels[level];
    const add = net.h ? fromH(net, level) : null;
    if (!net.y) return add;
    const { t, u, p, in: clipped } = at.scratch;
    let input = z;
    if (net.clip) {
      input = on(where, clipped, net.y.inputs);
      kernel.clip(z.at + 4 * from, z.stride, where.count, net.y.inputs, net.clip, input.at, input.stride);
      from = 0;
    }
    if (!net.middle) return convolve(net.y, input, on(where, p, net.y.outputs), { from, add });
    const one = convolve(net.y, input, on(where, t, net.y.outputs), { from, add, act: net.act });
    const two = convolve(net.middle, one, on(where, u, net.middle.outputs), { act: net.act });
    return convolve(net.last, two, on(where, p, net.last.outputs));
  }

  // 2x2 blocks of positions to channels, or back
  function squeeze(fine, coarse, channels, back) {
    const [a, b] = [numbers(fine), numbers(coarse)];
    const { height, width } = coarse.level;
    for (let y = 0; y < 2 * height; y++)
      for (let x = 0; x < 2 * width; x++) {
        const from = (y * 2 * width + x) * fine.stride;
        const to = ((y >> 1) * width + (x >> 1)) * coarse.stride + 2 * (y & 1) + (x & 1);
        for (let c = 0; c < channels; c++)
          if (back) a[from + c] = b[to + 4 * c];
          else b[to + 4 * c] = a[from + c];
      }
  }

  // three planes of (height, width) times matrices along rows, then along columns, transposed on the
  // way: the result is (3, width, height)
  function throughBands(alongWidth, alongHeight, fill) {
    const { height, width } = at.levels[0];
    const [one, two] = at.planes;
    const positions = (n) => ({ height: 1, width: n, count: n });
    const [wide, high] = [padded(width), padded(height)];
    const a = floats(one, 3 * height * wide);
    for (let c = 0; c < 3; c++) fill(c, a.subarray(c * height * wide, (c + 1) * height * wide), wide);
    convolve(alongWidth, { at: one, stride: wide, level: positions(3 * height) }, { at: two, stride: wide });
    const b = floats(two, 3 * height * wide);
    const turned = floats(one, 3 * width * high);
    for (let c = 0; c < 3; c++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++)
          turned[(c * width + x) * high + y] = b[(c * height + y) * wide + x];
    convolve(alongHeight, { at: one, stride: high, level: positions(3 * width) }, { at: two, stride: high });
    const out = floats(two, 3 * width * high);
    return (c, y, x) => out[(c * width + x) * high + y];
  }
  // which quarter of the bands channel 3 q + c of z holds: rows, columns
  const QUARTERS = [[0, 1], [1, 0], [1, 1], [0, 0]];

  // labels to v by noise on their side of 1/2: see cnf/layers/binary.py
  const softplus = (w) => Math.max(w, 0) + Math.log1p(Math.exp(-Math.abs(w)));
  function halfLine(layer, y, u) {
    const { channels: c, bound } = layer;
    const [where, [z, labels]] = [at.levels[0], at.z[0]];
    const { stride } = z;
    const place = (n) => Math.floor(n / c) * stride + (n % c);
    const sign = (n) => 2 * y[n] - 1;
    let [v, given] = [numbers(z), numbers(labels)];
    for (let n = 0; n < y.length; n++) [v[place(n)], given[place(n)]] = [u[n], sign(n)];
    const p = parametersOf(layer, labels, 0);
    kernel.couple(z.at, stride, where.count, c, p.at, p.stride, bound, 0, where.terms);
    v = numbers(z); // memory may have grown
    const terms = floats(where.terms, where.count);
    for (let n = 0; n < y.length; n++) {
      const w = v[place(n)];
      const logPi = kindOfNoise === "gaussian" ? -0.5 * (u[n] ** 2 + Math.log(2 * Math.PI)) : -softplus(u[n]) - softplus(-u[n]);
      terms[Math.floor(n / c)] -= softplus(-w) + logPi;
      v[place(n)] = 0.5 + sign(n) * Math.max(softplus(w), 2 ** -23);
    }
  }

  function clearTerms() {
    at.levels.forEach(({ terms, count }) => terms && floats(terms, count).fill(0));
  }

  // A sample: v of (positions, channels), not rounded: in grey levels, or a vessel above 1/2. noise(count) gives standard normal
  // numbers, (positions, channels), for one prior after the other, the last first.
  async function sample(noise, temperature = 1) {
    const { levels, eps } = at;
    for (const layer of [...priors].reverse()) {
      const count = levels[layer.level].count * layer.channels;
      floats(eps.get(layer), count).set(noise(count));
    }
    clearTerms();
    let v = null;
    for (let k = layers.length - 1, c = 0; k >= 0; k--) {
      const { kind, level, channels, bound, back, kept: keeps } = layers[k];
      const where = levels[level];
      if (level || kind === "squeeze") await breathe(1 - k / layers.length);
      const pair = at.z[level];
      if (kind === "prior") {
        const p = parametersOf(layers[k], pair[0], 0);
        kernel.prior(pair[0].at + 4 * keeps, pair[0].stride, where.count, channels, p.at, p.stride,
          bound, eps.get(layers[k]), temperature, where.terms);
        c = keeps + channels;
      } else if (kind === "linear") {
        convolve(back, pair[0], pair[1]);
        pair.reverse();
      } else if (kind === "coupling") {
        couple(layers[k], pair[0], c, 1);
      } else if (kind === "squeeze") {
        squeeze(at.z[level][0], at.z[level + 1][0], c / 4, 1);
        c /= 4;
      } else if (kind === "binary") {
        const z = numbers(pair[0]);
        v = Float32Array.from({ length: where.count * c }, (_, n) => z[Math.floor(n / c) * pair[0].stride + (n % c)]);
      } else if (kind === "subbands") {
        const z = numbers(at.z[1][0]);
        const { stride } = at.z[1][0];
        const { width } = levels[1];
        v = throughBands(at.columnsBack, at.rowsBack, (colour, out, wide) => {
          QUARTERS.forEach(([down, across], q) => {
            for (let p = 0; p < levels[1].count; p++) {
              const [y, x] = [Math.floor(p / width), p % width];
              out[(y + down * levels[1].height) * wide + x + across * width] = z[p * stride + 3 * q + colour];
            }
          });
        });
      } else if (kind === "residual") {
        const { height, width } = levels[0];
        const out = new Float32Array(3 * levels[0].count);
        for (let colour = 0; colour < 3; colour++)
          for (let y = 0, p = 0; y < height; y++)
            for (let x = 0; x < width; x++, p++)
              out[3 * p + colour] = bins * (v(colour, y, x) / scale + at.doubled[colour][p]);
        v = out;
      }
    }
    return v;
  }

  function couple({ flip, channels: c, bound, ...layer }, z, whole, back) {
    const p = parametersOf(layer, z, flip ? c : 0);
    const where = at.levels[layer.level];
    const changed = z.at + 4 * (flip ? 0 : whole - c);
    kernel.couple(changed, z.stride, where.count, c, p.at, p.stride, bound, back, where.terms);
  }

  // log p(y|x) under one draw of noise u, both (positions, channels): bits per dimension, in all and at
  // every position of x, {bits, map}. y: whole grey levels, u uniform in [0, 1); or labels 0 and 1, u
  // standard normal or logistic, as the model has it.
  async function score(y, u) {
    const { levels, doubled } = at;
    clearTerms();
    let constant = 0;
    let c = 0;
    for (const [k, layer] of layers.entries()) {
      const { kind, level, channels, bound, forward, log_det, kept: keeps } = layer;
      const where = levels[level];
      await breathe(k / layers.length);
      const pair = at.z[level];
      if (kind === "uniform") constant -= 3 * where.count * Math.log(bins);
      else if (kind === "binary") {
        c = channels;
        halfLine(layer, y, u);
      }
      else if (kind === "residual") constant += 3 * where.count * Math.log(scale);
      else if (kind === "subbands") {
        const { height, width } = where;
        const bands = throughBands(at.columns, at.rows, (colour, out, wide) => {
          for (let row = 0, p = 0; row < height; row++)
            for (let x = 0; x < width; x++, p++) {
              const v = Math.fround(Math.fround(y[3 * p + colour] + Math.fround(u[3 * p + colour])) / bins);
              out[row * wide + x] = scale * (v - doubled[colour][p]);
            }
        });
        c = 12;
        const [z, { stride }, one] = [numbers(at.z[1][0]), at.z[1][0], levels[1]];
        for (let row = 0, p = 0; row < one.height; row++)
          for (let x = 0; x < one.width; x++, p++)
            QUARTERS.forEach(([down, across], q) => {
              for (let colour = 0; colour < 3; colour++)
                z[p * stride + 3 * q + colour] = bands(colour, row + down * one.height, x + across * one.width);
            });
      } else if (kind === "squeeze") {
        squeeze(at.z[level][0], at.z[level + 1][0], c, 0);
        c *= 4;
      } else if (kind === "linear") {
        convolve(forward, pair[0], pair[1]);
        pair.reverse();
        constant += where.count * log_det;
      } else if (kind === "coupling") {
        couple(layer, pair[0], c, 0);
      } else if (kind === "prior") {
        const p = parametersOf(layer, pair[0], 0);
        kernel.prior(pair[0].at + 4 * keeps, pair[0].stride, where.count, channels, p.at, p.stride,
          bound, 0, 0, where.terms);
        c = keeps;
      }
    }
    const { height, width, count } = levels[finest];
    const spent = new Float64Array(count).fill(constant / count);
    levels.slice(finest).forEach(({ terms, width: w, count: n }, l) => {
      const t = floats(terms, n);
      for (let row = 0, p = 0; row < height; row++)
        for (let x = 0; x < width; x++, p++) spent[p] += t[(row >> l) * w + (x >> l)] / 4 ** l;
    });
    const bits = spent.map((t) => (-t * count) / (y.length * LOG_2));
    return { bits: bits.reduce((sum, t) => sum + t, 0) / count, map: bits };
  }

  // E[y|x] of a factorised model, grey levels (positions, 3): the probabilities to lie above a level,
  // summed; see DiscretisedLogistic in cnf/factorised.py. Terms within e^-16 of 0 or 1 count as 0 or 1.
  function mean() {
    const given = parametersOf(layers[0], null, 0);
    const p = numbers(given);
    const out = new Float32Array(3 * given.level.count);
    for (let k = 0; k < given.level.count; k++)
      for (let c = 0; c < 3; c++) {
        const middle = bins * (at.doubled[c][k] + p[k * given.stride + c]) - 1; // P(y > middle) = 1/2
        const size = bins * Math.exp(6 * Math.tanh(p[k * given.stride + 3 + c] / 6) - 4);
        const first = Math.min(Math.max(Math.ceil(middle - 16 * size), 0), 255);
        let sum = first;
        let odds = Math.exp((first - middle) / size); // against y > level
        const factor = Math.exp(1 / size);
        for (let level = first; level < 255 && odds < 9e6; level++, odds *= factor) sum += 1 / (1 + odds);
        out[3 * k + c] = sum;
      }
    return out;
  }

  // -- noise from seeds ---------------------------------------------------------------------------

  // uniform in (0, 1), 32 bits each: sfc32, begun with the seed and run in
  function uniform(seed, stream) {
    let [a, b, c, d] = [seed >>> 0, (seed / 2 ** 32) >>> 0, stream, 1];
    const next = () => {
      const t = (((a + b) | 0) + d) | 0;
      d = (d + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (c << 21) | (c >>> 11);
      c = (c + t) | 0;
      return ((t >>> 0) + 0.5) / 2 ** 32;
    };
    for (let k = 0; k < 16; k++) next();
    return (count) => {
      const u = new Float32Array(count);
      for (let k = 0; k < count; k++) u[k] = Math.min(next(), 1 - 2 ** -24);
      return u;
    };
  }
  // standard normal, by Box and Muller
  function normal(seed, stream = 1) {
    const draw = uniform(seed, stream);
    return (count) => {
      const u = draw(2 * Math.ceil(count / 2));
      for (let k = 0; k < u.length; k += 2) {
        const [radius, angle] = [Math.sqrt(-2 * Math.log(u[k])), 2 * Math.PI * u[k + 1]];
        u[k] = radius * Math.cos(angle);
        u[k + 1] = radius * Math.sin(angle);
      }
      return u.subarray(0, count);
    };
  }

  // on the arc from the noise of a seed, at 0 degrees, to that of the next, at 90: standard normal
  function between(seed, degrees) {
    const [from, to] = [normal(seed), normal(seed + 1)];
    if (!degrees) return from;
    const [u, w] = [Math.cos, Math.sin].map((f) => f((degrees * Math.PI) / 180));
    return (count) => {
      const [a, b] = [from(count), to(count)];
      return a.map((t, k) => u * t + w * b[k]);
    };
  }

  // what `score` spreads y by
  function spreading(seed) {
    if (kindOfNoise === "gaussian") return normal(seed, 2);
    const draw = uniform(seed, 2);
    return kindOfNoise === "logistic" ? (count) => draw(count).map((u) => Math.log(u / (1 - u))) : draw;
  }

  const engine = {
    condition, sample, score, mean, halved, normal, between, spreading,
    progress: () => {},
    stopped: () => false,
  };
  return engine;
};

// What a worker does with its messages: {id, task, inputs} in order; {stop: id} gives up all up to it.
LIVE.serve = function (makeEngine) {
  "use strict";
  let [engine, current, stopped, queue] = [null, 0, 0, Promise.resolve()];
  const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const tasks = {
    begin(model, weights, kernel) {
      const kernels = ["relaxed", "simd", "plain"].map((name) => decoded(kernel[name]));
      engine = makeEngine(model, decoded(weights).buffer, kernels, 3e8);
      engine.stopped = () => current <= stopped;
      engine.progress = (share) => postMessage({ id: current, share });
    },
    halved: (y, height, width) => engine.halved(y, height, width),
    condition: (x, height, width) => engine.condition(x, height, width),
    mean: () => engine.mean(),
    sample: (seed, temperature, degrees) => engine.sample(engine.between(seed, degrees), temperature),
    score: (y, seed) => engine.score(y, engine.spreading(seed)(y.length)),
  };
  self.onmessage = ({ data }) => {
    if (data.stop) return void (stopped = data.stop);
    queue = queue.then(async () => {
      current = data.id;
      const began = performance.now();
      try {
        if (current <= stopped) throw new Error("stopped");
        const result = await tasks[data.task](...data.inputs);
        postMessage({ id: data.id, result, seconds: (performance.now() - began) / 1000 });
      } catch (error) {
        postMessage({ id: data.id, error: error.message });
      }
    });
  };
};

// A worker with a flow in it: ask(task, ...inputs) -> {result, seconds}; stop() gives up what was asked.
LIVE.begin = function ({ model, weights }, kernel, onProgress = () => {}) {
  const source = `self.LIVE = {}; (${LIVE.serve})(${LIVE.engine});`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address);
  const open = new Map();
  let id = 0;
  worker.onmessage = ({ data }) => {
    if ("share" in data) return onProgress(data.share);
    const { resolve, reject } = open.get(data.id);
    open.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data);
  };
  worker.onerror = (event) => open.forEach(({ reject }) => reject(new Error(event.message)));
  const ask = (task, ...inputs) => new Promise((resolve, reject) => {
    open.set(++id, { resolve, reject });
    worker.postMessage({ id, task, inputs });
  });
  return { ask, stop: () => worker.postMessage({ stop: id }), begun: ask("begin", model, weights, kernel) };
};
