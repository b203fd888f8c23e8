// The small widgets of lessons 10 to 17, one function each, which lessons.js calls. `window.EXPERIMENTS.laws`
// holds their formulas; tests/browser/test_experiments.py compares them with the package.
(() => {
  "use strict";

  const { make, paint, clamp, range, plain, signed, sum, draw, trace, put, axes, dot } = window.WIDGETS;

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const grey = (v) => Math.round(clamp(v, 0, 255));

  // a small picture with its name below it: show(width, height, k -> [red, green, blue] of pixel k, name)
  function tile(ui, name) {
    const figure = make(ui.pictures, "figure");
    const canvas = make(figure, "canvas", {}, { role: "img" });
    const caption = make(figure, "figcaption");
    return (width, height, colour, says = name) => {
      paint(canvas, width, height, colour);
      canvas.setAttribute("aria-label", caption.textContent = says);
    };
  }

  // -- what halving does not see: three bands of details, each times a factor ----------------------

  const count = (n) => Array.from({ length: n }, (_, k) => k);
  const transposed = (A) => A[0].map((_, j) => A.map((row) => row[j]));
  const times = (A, B) => {
    const columns = transposed(B);
    return A.map((row) => columns.map((column) => row.reduce((total, v, k) => total + v * column[k], 0)));
  };
  const mixed = (f, ...matrices) => matrices[0].map((row, i) => row.map((_, j) => f(...matrices.map((A) => A[i][j]))));

  const halving = {
    TAPS: [-3, -9, 29, 111, 111, 29, -9, -3].map((w) => w / 256), // of the pixels 2i - 3 to 2i + 4
    matrix: (n) => count(n / 2).map((i) => {
      const row = Array(n).fill(0);
      halving.TAPS.forEach((w, m) => {
        const j = 2 * i + m - 3;
        row[j < 0 ? -1 - j : j < n ? j : 2 * n - 1 - j] += w; // mirrored beyond an edge
      });
      return row;
    }),
    half: (D, y) => times(times(D, y), transposed(D)),
    solved(A, B) { // X of A X = B, for a positive definite A
      const rows = A.map((row, i) => [...row, ...B[i]]);
      rows.forEach((pivot, i) => rows.forEach((row, k) => {
        const factor = k === i ? 0 : row[i] / pivot[i];
        if (factor) row.forEach((_, j) => { row[j] -= factor * pivot[j]; });
      }));
      return rows.map((row, i) => row.slice(A.length).map((v) => v / row[i]));
    },
    seen: (D) => times(transposed(D), halving.solved(times(D, transposed(D)), D)), // a projection, n x n
    bands(S, y) { // y as a sum of four pictures: details along rows, along columns, along both, the low band
      const low = times(y, S);
      const high = mixed((a, b) => a - b, y, low);
      const [lowLow, lowHigh] = [times(S, low), times(S, high)];
      return [lowHigh, mixed((a, b) => a - b, low, lowLow), mixed((a, b) => a - b, high, lowHigh), lowLow];
    },
  };

  const energy = (parts) => sum(parts.flat(2).map((v) => v * v));

  function halves(ui) {
    const { side, rgb } = window.DRAWS.face;
    const pixels = bytes(rgb);
    const D = halving.matrix(side);
    const S = halving.seen(D);
    const channels = [0, 1, 2].map((c) => count(side).map((i) => count(side).map((j) => pixels[3 * (side * i + j) + c])));
    const own = channels.map((y) => halving.bands(S, y));
    let state = 7;
    const random = () => (state = (state * 16807) % 2147483647) / 2147483647 - 0.5;
    const noisy = channels.map((y) => halving.bands(S, mixed(random, y)));
    const loud = [0, 1, 2].map((b) => Math.sqrt(energy(own.map((of) => of[b])) / energy(noisy.map((of) => of[b]))));
    const x = channels.map((y) => halving.half(D, y));
    ui.pictures.classList.add("is-tiles");
    const [large, small, details] = ["the large picture", "its half", "details, times 4"].map((name) => tile(ui, name));
    const scales = ["along rows", "along columns", "along both"].map((name) =>
      ui.slider({ label: `${name}, times`, min: -2, max: 4, step: 0.1, value: 1, says: (v) => plain(v, 1) }));
    const source = ui.choice({ label: "details of", options: { own: "the photograph", noise: "noise" }, value: "own" });
    for (const [name, factor] of [["no details", 0], ["as they are", 1]]) ui.button(name, () => {
      for (const scale of scales) scale.value = factor;
      source.value = "own";
    });
    ui.shows(() => {
      const factors = scales.map((scale, b) => scale.value * (source.value === "own" ? 1 : loud[b]));
      const free = (source.value === "own" ? own : noisy).map((of) =>
        mixed((...d) => d[0] * factors[0] + d[1] * factors[1] + d[2] * factors[2], of[0], of[1], of[2]));
      const y = free.map((d, c) => mixed((a, b) => a + b, own[c][3], d));
      const half = y.map((of) => halving.half(D, of));
      const at = (of, n, f) => (k) => of.map((A) => grey(f(A[Math.floor(k / n)][k % n])));
      large(side, side, at(y, side, (v) => v));
      small(side / 2, side / 2, at(half, side / 2, (v) => v));
      details(side, side, at(free, side, (v) => 128 + 4 * v));
      const moved = y.map((of, c) => mixed((a, b) => a - b, of, channels[c]));
      const off = Math.max(...half.map((of, c) => mixed((a, b) => Math.abs(a - b), of, x[c])).flat(2));
      ui.say(`Details times ${scales.map((scale) => plain(scale.value, 1)).join(", ")}.`,
        `The large picture is ${plain(Math.sqrt(energy(moved) / (3 * side * side)), 1)} grey levels from the photograph`,
        `(root mean square). No value of its half has moved by more than ${plain(off)}.`);
    });
  }

  // -- the bits of noise under a Gaussian that expects another deviation -----------------------------

  const band = {
    NOISE: 1 / 12, // variance of the noise of dequantization, grey levels squared
    bits: (sigma, error) =>
      (Math.log2(2 * Math.PI * sigma * sigma) + (band.NOISE + error * error) / (sigma * sigma * Math.LN2)) / 2,
    best: (error) => Math.sqrt(band.NOISE + error * error),
  };

  function lowBand(ui) {
    const svg = ui.picture(360, 300, "Bits of a value over the deviation that the prior expects: a curve with one minimum. " +
      "A dashed curve: without an error.");
    const at = axes(svg, { x: [0.15, 1.2], y: [0, 5], box: [34, 24, 310, 226], ticks: [0.2, 0.4, 0.6, 0.8, 1],
      name: "deviation that the prior expects, grey levels", title: "bits of a value of the low band" });
    for (const v of [0, 1, 2, 3, 4, 5]) draw(svg, "text", { x: 28, y: at.Y(v) + 5, "text-anchor": "end" }, plain(v, 0));
    trace(draw(svg, "path", { class: "dashed" }), at.curve((sigma) => band.bits(sigma, 0)));
    const curve = draw(svg, "path", { class: "curve" });
    const lowest = draw(svg, "path", { class: "axis" });
    const expects = ui.slider({ label: "the prior expects", min: 0.15, max: 1.2, step: 0.01, value: 0.29, says: plain });
    const error = ui.slider({ label: "error of the value", min: 0, max: 1, step: 0.01, value: 0.5, says: plain });
    const mark = dot(svg, (x) => { expects.value = at.back(x); ui.changed(); });
    ui.shows(() => {
      const [sigma, e] = [expects.value, error.value];
      const best = band.best(e);
      trace(curve, at.curve((s) => band.bits(s, e)));
      trace(lowest, [[at.X(best), at.Y(0)], [at.X(best), at.Y(band.bits(best, e))]]);
      mark(at.X(sigma), at.Y(band.bits(sigma, e)));
      ui.say(`Noise of deviation 0.29 and an error of ${plain(e)}: a prior that expects ${plain(sigma)} needs`,
        `${plain(band.bits(sigma, e))} bits. The best one expects ${plain(best)} and needs ${plain(band.bits(best, e))} bits.`);
    });
  }

  // -- masks --------------------------------------------------------------------------------------

  // a mask from its runs, of 0 first: a digit for each length, the last digit if the run goes on by as much
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
  function unrolled(text) {
    const mask = [];
    let value = 0;
    for (const digit of text) {
      const length = DIGITS.indexOf(digit);
      for (let k = 0; k < length; k++) mask.push(value);
      if (length < DIGITS.length - 1) value = 1 - value;
    }
    return mask;
  }

  const entropy = (p) => (p > 0 && p < 1 ? -p * Math.log2(p) - (1 - p) * Math.log2(1 - p) : 0);

  const overlap = {
    F: (a, b) => (2 * sum(a.map((v, k) => v * b[k]))) / Math.max(sum(a) + sum(b), 1),
    alone: (y) => entropy(sum(y) / y.length), // bits of a label of y if only their share is known
    given(y, c) { // and if the label there of another mask is known
      return sum([0, 1].map((label) => {
        const there = y.filter((_, k) => c[k] === label);
        return there.length && (there.length / y.length) * overlap.alone(there);
      }));
    },
  };

  // -- three observers, of whom the reader is one ----------------------------------------------------

  function observers(ui) {
    const { side, photograph, dark, first, second } = window.DRAWS.observers;
    const [one, two] = [first, second].map(unrolled);
    const depths = [...dark].map((digit) => parseInt(digit, 16));
    const hand = new Map(); // pixel -> 1 or 0, where a pen was
    let [cursor, last, isDown] = [[side / 2, side / 2], null, false];
    ui.pictures.classList.add("is-tiles", "is-two");
    const figure = make(ui.pictures, "figure");
    const canvas = make(figure, "canvas", { width: side, height: side, tabIndex: 0, className: "observer-pen" },
      { role: "application", "aria-label": "The photograph and your drawing on it. Arrow keys move a mark, the space bar draws there." });
    canvas.style.backgroundImage = `url(data:image/jpeg;base64,${photograph})`;
    make(figure, "figcaption", { textContent: "photograph and your drawing" });
    const beside = tile(ui, "");
    const depth = ui.slider({ label: "vessel if darker by", min: 1, max: 15, step: 1, value: 5 });
    const pen = ui.choice({ label: "pen", options: { draw: "draws", erase: "erases", off: "off" },
      value: matchMedia("(pointer: coarse)").matches ? "off" : "draw" });
    const shown = ui.choice({ label: "beside it", options: { you: "yours", first: "observer 1", second: "observer 2" }, value: "you" });
    ui.button("empty", () => { hand.clear(); depth.value = 15; });

    function drop([row, column]) {
      for (const [i, j] of [[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]]) {
        const [r, c] = [row + i, column + j];
        if (Math.min(r, c) >= 0 && Math.max(r, c) < side) hand.set(side * r + c, pen.value === "draw" ? 1 : 0);
      }
    }
    function reach(event) { // a line from the last place to this one
      const box = canvas.getBoundingClientRect();
      const to = [(event.clientY - box.y) / box.height, (event.clientX - box.x) / box.width].map((v) => Math.floor(v * side));
      const from = last ?? to;
      const far = Math.max(...to.map((v, k) => Math.abs(v - from[k])), 1);
      for (const t of range(0, 1, far)) drop(from.map((v, k) => Math.round(v + t * (to[k] - v))));
      last = cursor = to;
      ui.changed();
    }
    canvas.addEventListener("pointerdown", (event) => {
      if (pen.value === "off") return;
      canvas.setPointerCapture(event.pointerId);
      last = null;
      isDown = true;
      reach(event);
    });
    canvas.addEventListener("pointermove", (event) => isDown && reach(event));
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, () => (isDown = false));
    const KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], " ": [0, 0] };
    canvas.addEventListener("keydown", (event) => {
      const step = KEYS[event.key];
      if (!step) return;
      event.preventDefault();
      cursor = cursor.map((v, k) => clamp(v + step[k], 0, side - 1));
      if (event.key === " " && pen.value !== "off") drop(cursor);
      ui.changed();
    });
    for (const event of ["focus", "blur"]) canvas.addEventListener(event, ui.changed);

    const COLOURS = [[0, 0, 0], [230, 120, 0], [86, 180, 233], [255, 255, 255]]; // neither, you, the other, both
    ui.shows(() => {
      const mine = depths.map((d, k) => hand.get(k) ?? (d >= depth.value ? 1 : 0));
      const image = new ImageData(side, side);
      const isMarked = document.activeElement === canvas;
      mine.forEach((v, k) => {
        const near = Math.max(...cursor.map((at, axis) => Math.abs(at - (axis ? k % side : Math.floor(k / side)))));
        if (isMarked && near === 3) image.data.set([86, 180, 233, 255], 4 * k);
        else if (v) image.data.set([255, 255, 255, 190], 4 * k);
      });
      canvas.getContext("2d").putImageData(image, 0, 0);
      canvas.style.touchAction = pen.value === "off" ? "auto" : "none";
      const other = { you: mine, first: one, second: two }[shown.value];
      beside(side, side, (k) => COLOURS[mine[k] + 2 * other[k]], shown.value === "you" ? "your drawing alone"
        : "white: both; orange: you alone; blue: the observer alone");
      ui.say(`F of your drawing: ${plain(overlap.F(mine, one))} against the first observer, ${plain(overlap.F(mine, two))}`,
        `against the second; of one against the other ${plain(overlap.F(one, two))}.`,
        `Bits a pixel of the first observer's drawing: ${plain(overlap.alone(one))} alone,`,
        `${plain(overlap.given(one, mine))} given yours, ${plain(overlap.given(one, two))} given the second's.`);
    });
  }

  // -- a threshold, its F, and whether the probabilities are right -----------------------------------

  // of `samples` samples k have a vessel at counts[k] pixels, and vessels[k] of those are vessel in the truth
  const cutting = {
    WARPS: { own: (p) => p, squared: (p) => p * p, root: Math.sqrt },
    levels: ({ samples }, warp) => count(samples + 1).map((k) => cutting.WARPS[warp](k / samples)),
    F(data, warp, t) {
      const isVessel = cutting.levels(data, warp).map((p) => (p >= t - 1e-9 ? 1 : 0));
      const inside = (of) => sum(of.map((n, k) => n * isVessel[k]));
      return (2 * inside(data.vessels)) / (inside(data.counts) + sum(data.vessels));
    },
    best: (data, warp) => cutting.levels(data, warp).slice(1)
      .map((t) => [cutting.F(data, warp, t), t]).reduce((a, b) => (b[0] > a[0] ? b : a)),
    groups(data, warp) { // what neighbouring levels say on average, and the share that is vessel
      const levels = cutting.levels(data, warp);
      return count(data.samples / 4).map((g) => {
        const ks = [1, 2, 3, 4].map((k) => 4 * g + k);
        const pixels = sum(ks.map((k) => data.counts[k]));
        return [sum(ks.map((k) => data.counts[k] * levels[k])) / pixels, sum(ks.map((k) => data.vessels[k])) / pixels];
      });
    },
  };

  function threshold(ui) {
    const data = window.DRAWS.marginals;
    const one = ui.picture(300, 300, "F over the threshold: a curve with a flat top. A dashed line: half of the best F.");
    const at = axes(one, { x: [0, 1], y: [0, 1], box: [30, 24, 256, 220], ticks: [0, 0.5, 1], name: "threshold", title: "F of the mask" });
    const two = ui.picture(300, 300, "The share of vessels over the probability that the model gives: dots, and a diagonal.");
    const of = axes(two, { x: [0, 1], y: [0, 1], box: [30, 24, 256, 220], ticks: [0, 0.5, 1], name: "probability given", title: "share that is vessel" });
    for (const [svg, scale] of [[one, at], [two, of]]) for (const v of [0, 0.5, 1])
      draw(svg, "text", { x: 26, y: scale.Y(v) + 5, "text-anchor": "end" }, plain(v, v % 1 ? 1 : 0));
    const half = draw(one, "path", { class: "dashed" });
    const curve = draw(one, "path", { class: "curve" });
    trace(draw(two, "path", { class: "dashed" }), [[of.X(0), of.Y(0)], [of.X(1), of.Y(1)]]);
    const cut = draw(two, "path", { class: "axis" });
    const points = cutting.groups(data, "own").map(() => draw(two, "circle", { r: 6, class: "point" }));
    const where = ui.slider({ label: "threshold", min: 0.02, max: 0.98, step: 0.01, value: 0.5, says: plain });
    const warp = ui.choice({ label: "probabilities", options: { own: "as they are", squared: "squared", root: "square roots" }, value: "own" });
    const mark = dot(one, (x) => { where.value = at.back(x); ui.changed(); });
    ui.shows(() => {
      const t = where.value;
      const [most, place] = cutting.best(data, warp.value);
      trace(curve, at.curve((v) => cutting.F(data, warp.value, v), 0.01, 1));
      trace(half, [[at.X(most / 2), at.Y(0)], [at.X(most / 2), at.Y(1)]]);
      trace(cut, [[of.X(t), of.Y(0)], [of.X(t), of.Y(1)]]);
      cutting.groups(data, warp.value).forEach(([p, share], k) => put(points[k], of.X(p), of.Y(share)));
      mark(at.X(t), at.Y(cutting.F(data, warp.value, t)));
      ui.say(`Threshold ${plain(t)}: F ${plain(cutting.F(data, warp.value, t), 3)}.`,
        `Best F ${plain(most, 3)}, at ${plain(place)}; half of it is ${plain(most / 2)}.`);
    });
  }

  // -- what each model saves: bars, one after the other ------------------------------------------------

  const saves = ({ models }, k) => (models[0].bits - models[k].bits) / (models[0].bits - models[models.length - 1].bits);

  function controls(ui) {
    const data = window.DRAWS.controls;
    const most = Math.max(...Object.values(data).map(({ models }) => models.length));
    const svg = ui.picture(360, 18 + 50 * most, "Horizontal bars of bits, each with the part that the model saves against the one before it.");
    const rows = count(most).map((k) => {
      const group = draw(svg, "g");
      const bar = { x: 4, y: 24 + 50 * k, height: 20 };
      return { group, name: draw(group, "text", { x: 4, y: 18 + 50 * k }), saved: draw(group, "rect", { ...bar, class: "way" }),
        kept: draw(group, "rect", bar), bits: draw(group, "text", { y: 39 + 50 * k }) };
    });
    const shown = ui.slider({ label: "models shown", min: 1, max: most, step: 1, value: 3 });
    const kind = ui.choice({ label: "bits of", options: { vessels: "vessels", pictures: "pictures" }, value: "vessels" });
    ui.shows(() => {
      const { models, digits, unit } = data[kind.value];
      const n = Math.min(shown.value, models.length);
      const width = (bits) => (280 * bits) / models[0].bits;
      rows.forEach(({ group, name, saved, kept, bits }, k) => {
        group.setAttribute("visibility", k < n ? "visible" : "hidden");
        if (k >= models.length) return;
        name.textContent = models[k].name;
        kept.setAttribute("class", `cell tone-${models[k].tone}`);
        kept.setAttribute("width", width(models[k].bits).toFixed(2));
        saved.setAttribute("width", width(models[Math.max(k - 1, 0)].bits).toFixed(2));
        bits.setAttribute("x", (10 + width(models[Math.max(k - 1, 0)].bits)).toFixed(2));
        bits.textContent = (models[k].isBound ? "\u2264 " : "") + plain(models[k].bits, digits);
      });
      const { name, bits } = models[n - 1];
      const less = models[0].bits - bits;
      ui.say(`${n} of ${models.length}: ${name}, ${plain(bits, digits)} ${unit}.`, n === 1 ? "The others are measured against it."
        : `It saves ${plain(less, digits)}, ${plain(100 * saves(data[kind.value], n - 1), 0)} % of what the last model saves.`);
    });
  }

  // -- the mean of n samples: stills/means.webp, tiles of the means and the truth last -----------------

  const averaging = { psnr: ({ A, V }, n) => 10 * Math.log10((255 * 255) / (A + V / n)) };

  function means(ui) {
    const [COLUMNS, ROWS] = [6, 3];
    const data = window.DRAWS.means; // psnr of the mean of the first 1, 2, ... samples
    const most = data.psnr.length;
    const tiles = [0, 1].map(() => {
      const figure = make(ui.pictures, "figure");
      const node = make(figure, "div", { className: "means-tile" }, { role: "img" });
      const caption = make(figure, "figcaption");
      return (k, says) => {
        node.style.backgroundPosition = `${(100 * (k % COLUMNS)) / (COLUMNS - 1)}% ${(100 * Math.floor(k / COLUMNS)) / (ROWS - 1)}%`;
        node.setAttribute("aria-label", caption.textContent = says);
      };
    });
    ui.pictures.classList.add("is-tiles", "is-two");
    tiles[1](most, "truth: a cat's fur");
    const svg = ui.picture(360, 220, "PSNR over the number of samples that are averaged: it rises, ever more slowly, to a dashed limit.");
    const limit = averaging.psnr(data, Infinity);
    const [low, high] = [Math.floor(data.psnr[0]), Math.ceil(limit)];
    const at = axes(svg, { x: [1, most], y: [low, high], box: [36, 24, 310, 150], ticks: [1, 4, 8, 12, 16], name: "samples averaged", title: "PSNR, dB" });
    for (const v of [low, high]) draw(svg, "text", { x: 30, y: at.Y(v) + 5, "text-anchor": "end" }, plain(v, 0));
    trace(draw(svg, "path", { class: "dashed" }), [[at.X(1), at.Y(limit)], [at.X(most), at.Y(limit)]]);
    trace(draw(svg, "path", { class: "curve" }), at.curve((n) => averaging.psnr(data, n)));
    data.psnr.forEach((v, k) => put(draw(svg, "circle", { r: 3, class: "point" }), at.X(k + 1), at.Y(v)));
    const n = ui.slider({ label: "samples averaged", min: 1, max: most, step: 1, value: 4 });
    const mark = dot(svg, (x) => { n.value = at.back(x); ui.changed(); });
    ui.shows(() => {
      const here = data.psnr[n.value - 1];
      tiles[0](n.value - 1, n.value > 1 ? `mean of ${n.value} samples` : "one sample");
      mark(at.X(n.value), at.Y(here));
      ui.say(`${n.value > 1 ? `Mean of ${n.value}` : "One sample"}: ${plain(here, 1)} dB, by A + V/N ${plain(averaging.psnr(data, n.value), 1)} dB.`,
        `The limit of many: ${plain(limit, 1)} dB. One sample: ${plain(data.psnr[0], 1)} dB.`);
    });
  }

  // -- are two pixels in one piece? -------------------------------------------------------------------

  const connected = {
    labels(mask, width) { // of every pixel the number of its piece, from 1; 0 outside. Diagonals connect
      const label = Array(mask.length).fill(0);
      let pieces = 0;
      mask.forEach((v, start) => {
        if (!v || label[start]) return;
        const ahead = [start];
        label[start] = ++pieces;
        while (ahead.length) {
          const k = ahead.pop();
          for (const i of [-1, 0, 1]) for (const j of [-1, 0, 1]) {
            const [column, to] = [(k % width) + j, k + i * width + j];
            if (column < 0 || column >= width || !mask[to] || label[to]) continue;
            label[to] = pieces;
            ahead.push(to);
          }
        }
      });
      return label;
    },
    share: (labels, [a, b]) => sum(labels.map((label) => (label[a] && label[a] === label[b] ? 1 : 0))) / labels.length,
    shuffled(masks) { // at every pixel the labels of all masks in another order
      let state = 11;
      const below = (n) => Math.floor((n * (state = (state * 16807) % 2147483647)) / 2147483647);
      const mixed = masks.map((mask) => [...mask]);
      mixed[0].forEach((_, k) => {
        for (let m = mixed.length - 1; m; m--) {
          const other = below(m + 1);
          [mixed[m][k], mixed[other][k]] = [mixed[other][k], mixed[m][k]];
        }
      });
      return mixed;
    },
    brier: (labels, truth, pairs) =>
      sum(pairs.map((pair) => (connected.share(labels, pair) - connected.share([truth], pair)) ** 2)) / pairs.length,
  };

  function connect(ui) {
    const { side, photograph, truth: rolled, samples, ends, pairs } = window.DRAWS.pieces;
    const truth = unrolled(rolled);
    const masks = samples.map(unrolled);
    const of = { samples: masks, shuffled: connected.shuffled(masks) };
    const labels = Object.fromEntries(Object.entries(of).map(([name, all]) => [name, all.map((mask) => connected.labels(mask, side))]));
    const right = connected.labels(truth, side);
    const whole = Object.fromEntries(Object.keys(of).map((name) => [name, connected.brier(labels[name], right, pairs)]));
    const SIZE = 288;
    const svg = ui.picture(SIZE, SIZE, "A photograph of vessels with two marks, A and B, that can be moved.");
    draw(svg, "image", { href: `data:image/jpeg;base64,${photograph}`, width: SIZE, height: SIZE, style: "image-rendering: pixelated" });
    let pair = ends;
    let isOwn = false;
    const nearest = (x, y) => { // the nearest pixel that is vessel in the truth
      const far = (k) => Math.hypot(((k % side) + 0.5) * (SIZE / side) - x, (Math.floor(k / side) + 0.5) * (SIZE / side) - y);
      return count(truth.length).filter((k) => truth[k]).reduce((a, b) => (far(b) < far(a) ? b : a));
    };
    const marks = ["dot", "dot inner"].map((name, end) => dot(svg, (x, y) => {
      pair = pair.map((k, e) => (e === end ? nearest(x, y) : k));
      isOwn = true;
      ui.changed();
    }, name));
    const letters = ["A", "B"].map((letter) => draw(svg, "text", { class: "letter" }, letter));
    const show = tile(ui, "");
    ui.pictures.lastElementChild.classList.add("connect-sample");
    const which = ui.slider({ label: "pair", min: 0, max: pairs.length, step: 1, value: 0 });
    which.input.addEventListener("input", () => {
      pair = which.value ? pairs[which.value - 1] : ends;
      isOwn = false;
      ui.changed();
    });
    const drawn = ui.slider({ label: "draw", min: 1, max: masks.length, step: 1, value: 1 });
    const kind = ui.choice({ label: "of", options: { samples: "samples", shuffled: "shuffled" }, value: "samples" });
    ui.shows(() => {
      pair.forEach((k, end) => {
        const [x, y] = [(k % side) + 0.5, Math.floor(k / side) + 0.5].map((v) => v * (SIZE / side));
        marks[end](x, y);
        letters[end].setAttribute("x", clamp(x + 12, 0, SIZE - 14));
        letters[end].setAttribute("y", clamp(y - 8, 14, SIZE));
      });
      const label = labels[kind.value][drawn.value - 1];
      const [a, b] = pair.map((k) => label[k]);
      show(side, side, (k) => (!label[k] ? [0, 0, 0] : label[k] === a ? [230, 120, 0] : label[k] === b ? [86, 180, 233] : [190, 190, 190]),
        `${kind.value === "samples" ? "sample" : "shuffled"} ${drawn.value}: ${a && a === b ? "A and B are in one piece" : "A and B are apart"}`);
      const answer = connected.share([right], pair);
      const [p, q] = [labels.samples, labels.shuffled].map((each) => connected.share(each, pair));
      ui.say(`${isOwn ? "Your pair" : which.value ? `Pair ${which.value}` : "A and B of the figure"}: in one piece in`,
        `${plain(p * masks.length, 0)} of ${masks.length} samples, ${plain(q * masks.length, 0)} shuffled; in the truth: ${answer ? "yes" : "no"}.`,
        `Brier score ${plain((p - answer) ** 2)}, shuffled ${plain((q - answer) ** 2)}, a coin 0.25;`,
        `mean of ${pairs.length} pairs ${plain(whole.samples)}, shuffled ${plain(whole.shuffled)}.`);
    });
  }

  const laws = { halving, band, unrolled, overlap, cutting, saves, averaging, connected };
  window.EXPERIMENTS = { halves, lowBand, observers, threshold, controls, means, connect, laws };
})();
