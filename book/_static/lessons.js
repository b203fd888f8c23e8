// The small widgets of the lessons: <div class="widget" data-widget="NAME">, one function each below.
// `window.LESSONS` holds their formulas, which tests/browser/test_widgets.py compares with the package.
(() => {
  "use strict";

  const { make, start, paint, clamp, range, plain, signed, sum, normal, cdf, softplus, sigmoid } = window.WIDGETS;
  const { draw, path, trace, put, axes, dot, frame } = window.WIDGETS;
  const LOG_ROOT = Math.log(2 * Math.PI) / 2;

  // the same standard normal numbers at every visit
  function draws(n) {
    let state = 7;
    const uniform = () => (state = (state * 16807) % 2147483647) / 2147483647;
    return Array.from({ length: n }, () => {
      const [r, angle] = [Math.sqrt(-2 * Math.log(uniform())), 2 * Math.PI * uniform()];
      return [r * Math.cos(angle), r * Math.sin(angle)];
    });
  }

  // -- two pixels, drawn by a joint and by a factorised model ------------------------------------

  const pairCost = (rho) => -Math.log2(1 - rho * rho) / 2;

  function pair(ui) {
    const POINTS = draws(160);
    const models = [["joint model", (rho) => rho], ["factorised model", () => 0]].map(([title, used]) => {
      const svg = ui.picture(300, 340, `${title}: points of two pixels, and six pictures of two pixels`);
      const at = axes(svg, { x: [-3, 3], y: [-3, 3], box: [40, 24, 220, 220], title });
      draw(svg, "rect", { x: 40, y: 24, width: 220, height: 220, class: "frame" });
      draw(svg, "text", { x: 150, y: 264, "text-anchor": "middle" }, "pixel 1");
      draw(svg, "text", { x: 28, y: 134, "text-anchor": "middle", transform: "rotate(-90 28 134)" }, "pixel 2");
      const points = POINTS.map(() => draw(svg, "circle", { r: 3, class: "point" }));
      const pixels = range(0, 11, 11).map((k) => draw(svg, "rect", { class: "pixel", width: 20, height: 20,
        x: 12 + 48 * (k >> 1) + 20 * (k % 2), y: 284 }));
      return { used, at, points, pixels };
    });
    const rho = ui.slider({ label: "correlation of the two pixels", min: 0, max: 0.99, step: 0.01, value: 0.9, says: plain });
    ui.shows(() => {
      for (const { used, at, points, pixels } of models) {
        const r = used(rho.value);
        POINTS.forEach(([a, b], k) => {
          const y = [a, r * a + Math.sqrt(1 - r * r) * b];
          put(points[k], at.X(y[0]), at.Y(y[1]));
          if (k < 6) y.forEach((v, side) => {
            const grey = Math.round(255 * cdf(v));
            pixels[2 * k + side].style.fill = `rgb(${grey},${grey},${grey})`;
          });
        });
      }
      ui.say(`Correlation ${plain(rho.value)}. Each pixel by itself has the same distribution in both models.`,
        `The factorised model needs ${plain(pairCost(rho.value))} bits more for each pair.`);
    });
  }

  // -- z = s y + t -------------------------------------------------------------------------------

  function line(ui) {
    const svg = ui.picture(400, 452, "A straight line from y to z. The standard normal density of z stands at the " +
      "left, the density of y at the bottom; one slice of equal mass is shaded in both.");
    const [LEFT, FOOT] = [96, 420];
    const at = axes(svg, { x: [-4, 4], y: [-3, 3], box: [LEFT, 16, 296, 264] });
    const below = axes(svg, { x: [-4, 4], y: [0, 1.4], box: [LEFT, 296, 296, FOOT - 296], ticks: [-4, -2, 0, 2, 4] });
    const beside = (p) => LEFT - 8 - p * 200;
    draw(svg, "rect", { x: LEFT, y: 16, width: 296, height: 264, class: "frame" });
    for (const d of [[[LEFT, at.Y(0)], [392, at.Y(0)]], [[LEFT - 8, 16], [LEFT - 8, 280]]])
      draw(svg, "path", { d: path(d), class: "axis" });
    for (const v of [-2, 0, 2]) draw(svg, "text", { x: LEFT + 5, y: at.Y(v) - 4 }, plain(v, 0));
    for (const [x, y, text] of [[8, 34, "p(z)"], [LEFT + 4, 312, "p(y)"], [380, 414, "y"], [LEFT + 5, 32, "z"]])
      draw(svg, "text", { x, y }, text);
    const [across, down, sliceZ, sliceY, densityZ, densityY, map] = ["way", "way", "slice", "slice", "curve", "curve", "map"]
      .map((name) => draw(svg, "path", { class: name }));
    trace(densityZ, range(-3, 3, 120).map((z) => [beside(normal(z)), at.Y(z)]));
    const slice = range(0, 1, 30); // z from 0 to 1
    trace(sliceZ, [[LEFT - 8, at.Y(0)], ...slice.map((z) => [beside(normal(z)), at.Y(z)]), [LEFT - 8, at.Y(1)]], true);

    const BITS = { min: -1.6, max: 1.6 };
    const logS = ui.slider({ label: "log\u2082 |s|", ...BITS, step: 0.01, value: 1, says: signed });
    const shift = ui.slider({ label: "shift t", min: -3, max: 3, step: 0.01, value: 0, says: signed });
    const label = make(ui.controls, "label", { className: "widget-check" });
    const mirror = make(label, "input", { type: "checkbox" });
    label.append("mirrored (s < 0)");
    mirror.addEventListener("input", ui.changed);
    const slope = () => 2 ** logS.value * (mirror.checked ? -1 : 1);
    const inner = dot(svg, (x) => {
      shift.value = -slope() * at.back(x);
      ui.changed();
    }, "dot inner");
    const outer = dot(svg, (x) => {
      const zero = -shift.value / slope(); // where z = 0 is: it stays there
      const width = at.back(x) - zero;
      mirror.checked = width < 0;
      logS.value = clamp(-Math.log2(Math.max(Math.abs(width), 1e-3)), BITS.min, BITS.max);
      shift.value = -slope() * zero;
      ui.changed();
    });
    ui.button("reset", () => {
      mirror.checked = false;
      [logS.value, shift.value] = [1, 0];
    });
    ui.loop(5, (phase) => {
      mirror.checked = false;
      [logS.value, shift.value] = [Math.cos(2 * Math.PI * phase), 1.5 * Math.sin(2 * Math.PI * phase)];
    });

    ui.shows(() => {
      const [s, t] = [slope(), shift.value];
      const y = (z) => (z - t) / s;
      const p = (v) => Math.abs(s) * normal(s * v + t);
      const ends = [y(-3), y(3)].sort((a, b) => a - b).map((v) => clamp(v, -4, 4));
      trace(map, ends.map((v) => [at.X(v), at.Y(s * v + t)]));
      trace(densityY, below.curve(p));
      const [low, high] = [y(0), y(1)].sort((a, b) => a - b);
      trace(sliceY, below.under(p, clamp(low, -4, 4), clamp(high, -4, 4)), true);
      const corner = (z) => [at.X(y(z)), at.Y(z)];
      trace(across, [[LEFT - 8, at.Y(0)], corner(0), corner(1), [LEFT - 8, at.Y(1)]], true);
      trace(down, [corner(0), corner(1), [at.X(y(1)), FOOT], [at.X(y(0)), FOOT]], true);
      inner(...corner(0));
      outer(...corner(1));
      const nats = Math.log(Math.abs(s));
      const thin = (high - low) / 200; // the shaded mass in y, added up over thin strips
      const kept = sum(range(low + thin / 2, high - thin / 2, 199).map((v) => p(v) * thin));
      ui.say(`s = ${plain(s)}, t = ${plain(t)}.`,
        `log-determinant ${signed(nats)} nats = ${signed(nats / Math.LN2)} bits.`,
        `Peak of p(y) ${plain(Math.abs(s) * normal(0))} = ${plain(Math.abs(s))} \u00d7 0.40.`,
        `Shaded mass: ${plain(cdf(1) - cdf(0))} in z, ${plain(kept)} in y.`);
    });
  }

  // -- a square grid of the latent plane, and where a map carries it -----------------------------

  let meshes = 0;

  // f(z) -> y and log |det dz/dy| at z, for both pictures; `top` is the highest density shown
  function mesh(ui, labels, titles) {
    const EDGES = range(-2.5, 2.5, 10);
    const id = `mesh-${meshes++}`;
    const sides = labels.map((name, k) => {
      const svg = ui.picture(300, 324, name);
      draw(svg, "text", { x: 150, y: 17, "text-anchor": "middle" }, titles[k]);
      draw(draw(svg, "clipPath", { id: `${id}-${k}` }), "rect", { x: 2, y: 24, width: 296, height: 296 });
      draw(svg, "rect", { x: 2, y: 24, width: 296, height: 296, class: "frame" });
      const inside = draw(svg, "g", { "clip-path": `url(#${id}-${k})` });
      const at = ([a, b]) => [150 + a * 41, 172 - b * 41];
      return { svg, inside, at, cells: EDGES.slice(1).map(() => EDGES.slice(1).map(() => draw(inside, "path", { class: "cell" }))) };
    });
    const outline = (a, b, f) => {
      const across = range(a, a + 0.5, 6);
      return [...across.map((v) => f([v, b])), ...across.reverse().map((v) => f([v, b + 0.5]))];
    };
    function show(carry, logDet, top) {
      sides.forEach(({ at, cells }, k) => cells.forEach((column, i) => column.forEach((cell, j) => {
        const [a, b] = [EDGES[i], EDGES[j]];
        const p = normal(a + 0.25) * normal(b + 0.25) * (k ? Math.exp(logDet([a + 0.25, b + 0.25])) : 1);
        cell.setAttribute("fill-opacity", (0.06 + 0.94 * (p / (k ? top : 1 / (2 * Math.PI))) ** 0.8).toFixed(3));
        trace(cell, outline(a, b, k ? (z) => at(carry(z)) : at), true);
      })));
    }
    return { sides, EDGES, outline, show };
  }

  // one coupling: z_a = y_a, z_b = s(y_a) y_b + t(y_a)
  const coupling = {
    logS: (a, scale) => scale * Math.tanh(a),
    t: (a, shift) => shift * (a * a - 1),
    back: ([a, b], scale, shift) => [a, (b - coupling.t(a, shift)) * Math.exp(-coupling.logS(a, scale))],
  };

  function plane(ui) {
    const labels = ["The latent plane with a square grid and a round density. One cell is marked.",
      "The same grid and density, carried to y by the inverse of a coupling, with the same cell marked."];
    const { sides, EDGES, outline, show } = mesh(ui, labels, ["z: round, square grid", "y: bent with its grid"]);
    const marks = sides.map(({ inside }) => draw(inside, "path", { class: "marked" }));
    const scale = ui.slider({ label: "scale follows y\u2090", min: -1, max: 1, step: 0.01, value: 0.6, says: signed });
    const shift = ui.slider({ label: "shift follows y\u2090\u00b2", min: -1, max: 1, step: 0.01, value: 0.35, says: signed });
    const column = ui.slider({ label: "marked column", min: 0, max: 9, step: 1, value: 7, says: (v) => `${v + 1}` });
    ui.button("identity", () => { scale.value = shift.value = 0; });
    ui.loop(5, (phase) => {
      [scale.value, shift.value] = [0.6 * Math.cos(2 * Math.PI * phase), 0.35 + 0.6 * Math.sin(2 * Math.PI * phase)];
    });
    for (const { svg } of sides) svg.addEventListener("pointerdown", (event) => {
      const box = svg.getBoundingClientRect();
      column.value = clamp(Math.floor((((event.clientX - box.x) / box.width) * 300 - 150) / 20.5 + 5), 0, 9);
      ui.changed();
    });
    ui.shows(() => {
      const carry = (z) => coupling.back(z, scale.value, shift.value);
      const logS = (a) => coupling.logS(a, scale.value);
      show(carry, ([a]) => logS(a), normal(0) ** 2 * Math.E);
      const a = EDGES[column.value];
      sides.forEach(({ at }, k) => trace(marks[k], outline(a, 0, k ? (z) => at(carry(z)) : at), true));
      // area and mass in y, added up over thin strips
      const area = sum(range(a + 0.00125, a + 0.49875, 199).map((v) => 0.5 * Math.exp(-logS(v)) * 0.0025));
      const mass = (cdf(a + 0.5) - cdf(a)) * (cdf(0.5) - cdf(0));
      ui.say(`Marked cell, at its centre: s = ${plain(Math.exp(logS(a + 0.25)))},`,
        `t = ${plain(coupling.t(a + 0.25, shift.value))}. log-determinant ${signed(logS(a + 0.25))} nats.`,
        `Area ${plain(0.25)} of z, ${plain(area)} of y; mass ${plain(mass, 3)} in both;`,
        `density ${plain(mass / 0.25, 3)} of z, ${plain(mass / area, 3)} of y.`);
    });
  }

  const train = (ui) => window.TRAIN.widget(ui); // train/page.mjs, which only its lesson loads
  const layers = (ui) => window.STEP.widget(ui); // layers/page.mjs, of the page "Live: layer by layer"
  const vesselLayers = (ui) => ui.seen(0, () => window.STEP.widget(ui, "vessels")); // it takes a second to begin

  // -- squeeze and split, number by number -------------------------------------------------------

  // a tensor is {channels, side, ids}: ids in the order channel, row, column
  function squeeze({ channels, side, ids }) {
    const half = side / 2;
    const to = range(0, ids.length - 1, ids.length - 1).map((k) => {
      const [c, r, q] = [Math.floor(k / (half * half)), Math.floor(k / half) % half, k % half];
      return ids[((c >> 2) * side + 2 * r + ((c >> 1) & 1)) * side + 2 * q + (c & 1)];
    });
    return { channels: 4 * channels, side: half, ids: to };
  }
  function split({ channels, side, ids }) {
    const part = (from, to) => ({ channels: channels / 2, side, ids: ids.slice(from, to) });
    return [part(0, ids.length / 2), part(ids.length / 2)];
  }
  function stages() {
    const y = { channels: 1, side: 8, ids: range(0, 63, 63) };
    const first = squeeze(y);
    const [kept, z1] = split(first);
    const last = squeeze(kept);
    return [{ kept: y, left: [] }, { kept: first, left: [] }, { kept, left: [z1] }, { kept: last, left: [z1] },
      { kept: null, left: [z1, last] }];
  }

  function scales(ui) {
    const STAGES = stages();
    const SAYS = ["The picture y", "Squeeze", "Split: half of the channels leave", "Squeeze", "The last prior takes the rest"];
    const svg = ui.picture(330, 316, "64 numbers as small squares. By squeezes they become channels, and channels leave as latents.");
    for (const [y, text] of [[18, "in the flow"], [176, "latents"]]) draw(svg, "text", { x: 4, y }, text);
    draw(svg, "path", { d: path([[0, 160], [330, 160]]), class: "axis" });
    const cells = STAGES[0].kept.ids.map((id) => {
      const [r, c] = [id >> 3, id & 7];
      return draw(svg, "rect", { width: 15, height: 15, class: `cell tone-${2 * (r & 1) + (c & 1)}`,
        "fill-opacity": 1 - 0.22 * (2 * ((r >> 1) & 1) + ((c >> 1) & 1)) });
    });
    function place({ channels, side, ids }, top) {
      ids.forEach((id, k) => {
        const [c, r, q] = [Math.floor(k / (side * side)), Math.floor(k / side) % side, k % side];
        cells[id].style.transform = `translate(${4 + c * (16 * side + 9) + 16 * q}px, ${top + 16 * r}px)`;
      });
      return `${channels} \u00d7 ${side} \u00d7 ${side}`;
    }
    const step = ui.slider({ label: "layer", min: 0, max: 4, step: 1, value: 2, says: (k) => `${k} of 4` });
    ui.shows(() => {
      const { kept, left } = STAGES[step.value];
      const goes = kept && place(kept, 26);
      const gone = left.map((z, k) => place(z, 186 + 80 * k));
      const count = kept ? kept.ids.length : 0;
      ui.say(`${SAYS[step.value]}.`, kept ? `In the flow: ${goes}, ${count} numbers.` : "Nothing is left in the flow.",
        gone.length ? `Latents: ${gone.join(" and ")}, ${64 - count} numbers.` : "No latents yet.", "64 in all.");
    });
  }

  // -- noise in the cell of a grey level ---------------------------------------------------------

  // lesson 6: a density with two humps, four grey levels, the cell of level 2; u = sigmoid(m + s eps)
  const cell = {
    M: 1.285, // where the fitted noise of that lesson has its middle
    p: (v) => sum([[0.55, 0.36, 0.035], [0.45, 0.7, 0.025]].map(([share, at, width]) => {
      const t = sigmoid((v - at) / width);
      return (share * t * (1 - t)) / width;
    })),
    mass: sum([[0.55, 0.36, 0.035], [0.45, 0.7, 0.025]].map(([share, at, width]) =>
      share * (sigmoid((0.75 - at) / width) - sigmoid((0.5 - at) / width)))),
    posterior: (u) => cell.p((2 + u) / 4) / (4 * cell.mass),
    logQ: (w, s) => -(((w - cell.M) / s) ** 2) / 2 - LOG_ROOT - Math.log(s) + softplus(w) + softplus(-w),
    gap: (s) => sum(range(-9, 9, 1200).map((eps) => {
      const w = cell.M + s * eps;
      return normal(eps) * 0.015 * (cell.logQ(w, s) - Math.log(cell.posterior(sigmoid(w))));
    })),
    uniform: () => -sum(range(0.00025, 0.99975, 1999).map((u) => Math.log(cell.posterior(u)))) / 2000,
  };

  function noise(ui) {
    const one = ui.picture(300, 282, "Inside the cell: the density of the model, shaded, and that of the noise, a curve.");
    const at = axes(one, { x: [0, 1], y: [0, 5], box: [16, 24, 268, 214], ticks: [0, 0.5, 1], name: "place u in the cell", title: "noise q and p(u|y, x)" });
    trace(draw(one, "path", { class: "area" }), at.under(cell.posterior, 0, 1), true);
    const curve = draw(one, "path", { class: "curve second" });
    const two = ui.picture(300, 282, "The gap in nats over the width of the noise: it has one minimum. A dashed line: uniform noise.");
    const of = axes(two, { x: [0.2, 2.6], y: [0, 1], box: [16, 24, 268, 214], ticks: [0.5, 1, 1.5, 2, 2.5], name: "width s", title: "gap, nats" });
    trace(draw(two, "path", { class: "curve" }), of.curve(cell.gap));
    const uniform = cell.uniform();
    draw(two, "path", { d: path([[16, of.Y(uniform)], [284, of.Y(uniform)]]), class: "dashed" });
    draw(two, "text", { x: 280, y: of.Y(uniform) - 6, "text-anchor": "end" }, "uniform noise");
    const width = ui.slider({ label: "width s of the noise", min: 0.2, max: 2.6, step: 0.02, value: 1.6, says: plain });
    const mark = dot(two, (x) => { width.value = of.back(x); ui.changed(); });
    ui.shows(() => {
      const s = width.value;
      const gap = cell.gap(s);
      trace(curve, at.curve((u) => Math.exp(cell.logQ(Math.log(u / (1 - u)), s)), 0.0005, 0.9995));
      mark(of.X(s), of.Y(gap));
      ui.say(`Width ${plain(s)}: the bound lies ${plain(gap)} nats = ${plain(gap / Math.LN2)} bits below log P(y|x).`,
        `Uniform noise: ${plain(uniform)} nats.`);
    });
  }

  // -- a label on its half-line ------------------------------------------------------------------

  const half = {
    MEAN: 0.9, // p(v|x) is normal with this mean and deviation 1
    v: (eps, y) => 0.5 + (2 * y - 1) * softplus(eps),
    logQ: (eps) => -softplus(eps), // log pi(eps) - log sigmoid(eps), pi logistic
    logP: (v) => Math.log(normal(v - half.MEAN)),
    label: (y) => cdf((2 * y - 1) * (half.MEAN - 0.5)), // P(y|x)
  };

  function throws(ui) {
    const svg = ui.picture(360, 392, "Above, the density of the noise and one draw of it. Below, the half-line of the label: " +
      "the density q of v, a curve, and the posterior of the model, shaded.");
    const above = axes(svg, { x: [-6, 6], y: [0, 0.3], box: [10, 24, 340, 76], ticks: [-4, -2, 0, 2, 4], title: "noise \u03b5, logistic" });
    const below = axes(svg, { x: [-4, 5], y: [0, 1.1], box: [10, 206, 340, 134], ticks: [-3, -2, -1, 0, 1, 2, 3, 4],
      name: "v, with q (curve) and p(v|y, x) (shaded)" });
    const area = draw(svg, "path", { class: "area" });
    const way = draw(svg, "path", { class: "dashed" });
    draw(svg, "path", { d: path([[below.X(0.5), 190], [below.X(0.5), 340]]), class: "map" });
    trace(draw(svg, "path", { class: "curve" }), above.curve((e) => sigmoid(e) * sigmoid(-e)));
    const curve = draw(svg, "path", { class: "curve second" });
    const landed = draw(svg, "circle", { r: 8, class: "dot inner" });
    const noise = ui.slider({ label: "noise \u03b5", min: -6, max: 6, step: 0.05, value: 1, says: signed });
    const label = ui.choice({ label: "label y", options: { 1: "y = 1", 0: "y = 0" }, value: "1" });
    const mark = dot(svg, (x) => { noise.value = above.back(x); ui.changed(); });
    ui.shows(() => {
      const [eps, y] = [noise.value, Number(label.value)];
      const v = half.v(eps, y);
      const side = y ? [0.5, 5] : [-4, 0.5];
      trace(curve, below.curve((at) => Math.exp(-Math.abs(at - 0.5)), ...side));
      trace(area, below.under((at) => normal(at - half.MEAN) / half.label(y), ...side), true);
      mark(above.X(eps), above.Y(0));
      put(landed, below.X(v), below.Y(0));
      trace(way, [[above.X(eps), above.Y(0)], [below.X(v), below.Y(0)]]);
      ui.say(`\u03b5 = ${plain(eps)} throws the label ${y} to v = ${plain(v)}, ${y ? "above" : "below"} 1/2.`,
        `log p(v|x) \u2212 log q(v|y) = ${plain(half.logP(v) - half.logQ(eps))} nats: one draw of the bound.`,
        `log P(y|x) = ${plain(Math.log(half.label(y)))} nats.`);
    });
  }

  // -- the weighted likelihood -------------------------------------------------------------------

  const weights = {
    logit: (a, beta) => (1 - beta) * softplus(a) - beta * softplus(-a), // of q, from the logit a of p
    p(eta, beta) { // of the model whose q is eta: halve an interval
      const goal = Math.log(eta / (1 - eta));
      let [low, high] = [-400, 400];
      for (let k = 0; k < 60; k++) {
        const middle = (low + high) / 2;
        if (weights.logit(middle, beta) < goal) low = middle;
        else high = middle;
      }
      return sigmoid(low);
    },
    unnormalised: (eta, beta) => (beta * eta) / (beta * eta + (1 - beta) * (1 - eta)),
  };

  function weighted(ui) {
    const svg = ui.picture(340, 316, "What three numbers say, over the true share of vessels: q on the diagonal, p, and class weights.");
    const at = axes(svg, { x: [0, 1], y: [0, 1], box: [30, 24, 270, 250], ticks: [0, 0.5, 1], name: "true share of vessels", title: "what the model says" });
    const curves = ["map", "curve", "curve second"].map((name) => draw(svg, "path", { class: name }));
    const names = ["q", "p", "class weights"].map((name, k) => draw(svg, "text", { class: `name-${k}` }, name));
    trace(curves[0], at.curve((eta) => eta));
    const beta = ui.slider({ label: "weight \u03b2 of vessels", min: 0.05, max: 0.95, step: 0.01, value: 0.87, says: plain });
    ui.shows(() => {
      const b = beta.value;
      const of = [(eta) => eta, (eta) => weights.p(eta, b), (eta) => weights.unnormalised(eta, b)];
      [1, 2].forEach((k) => trace(curves[k], at.curve((eta) => of[k](eta), 0.002, 0.998)));
      [[0.8, 8, "start"], [0.47, 8, "start"], [0.3, -8, "end"]].forEach(([eta, aside, anchor], k) => {
        names[k].setAttribute("x", at.X(eta) + aside);
        names[k].setAttribute("y", at.Y(of[k](eta)) + (k === 2 ? -4 : 14));
        names[k].setAttribute("text-anchor", anchor);
      });
      ui.say(`\u03b2 = ${plain(b)}. Where half of the pixels are vessel, class-weighted cross-entropy says ${plain(of[2](0.5))}.`,
        `The weighted likelihood says q = 0.50; its p is ${plain(of[1](0.5))}.`);
    });
  }

  // -- samples and their mean: window.DRAWS[name], made by tools/widgets.py ----------------------

  const bits = (hex) => [...hex].flatMap((digit) => [8, 4, 2, 1].map((b) => (parseInt(digit, 16) & b ? 1 : 0)));

  function samples(ui, { draws: name }) {
    const { width, height, x, truth, models } = window.DRAWS[name];
    const tile = (text) => {
      const figure = make(ui.pictures, "figure");
      const canvas = make(figure, "canvas", {}, { role: "img", "aria-label": text });
      const caption = make(figure, "figcaption", { textContent: text });
      return (grey, says = text) => {
        paint(canvas, width, height, (k) => (grey[k].length ? grey[k] : Array(3).fill(Math.round(255 * grey[k]))));
        canvas.setAttribute("aria-label", caption.textContent = says);
      };
    };
    ui.pictures.classList.add("is-tiles");
    tile(x.name)(x.rgb.match(/.{6}/g).map((t) => [0, 2, 4].map((k) => parseInt(t.slice(k, k + 2), 16))));
    const rows = models.map((model, k) => {
      if (k) tile("truth")(bits(truth));
      return { ...model, masks: model.draws.map(bits), one: tile(model.name), mean: tile("mean") };
    });
    const count = rows[0].masks.length;
    const which = ui.slider({ label: "draw", min: 1, max: count, step: 1, value: count, says: (k) => `${k} of ${count}` });
    ui.shows(() => {
      const k = which.value;
      const said = rows.map(({ name: who, masks, pieces, one, mean }) => {
        one(masks[k - 1], `${who}, draw ${k}`);
        mean(masks[0].map((_, j) => sum(masks.slice(0, k).map((mask) => mask[j])) / k), `mean of ${k}`);
        return `${who}: ${pieces[k - 1]}`;
      });
      ui.say(`Pieces in draw ${k}: ${said.join("; ")}.`);
    });
  }

  // -- one sample at eleven temperatures: stills/temperature.png and temperature-numbers.js --------------

  function temperature(ui) {
    const [COLUMNS, ROWS] = [4, 3];
    const tiles = ["", "truth"].map((name) => {
      const figure = make(ui.pictures, "figure");
      const node = make(figure, "div", { className: "temperature-tile" }, { role: "img" });
      const caption = make(figure, "figcaption", { textContent: name });
      return (k, label, says) => {
        const [x, y] = [k % COLUMNS, Math.floor(k / COLUMNS)];
        node.style.backgroundPosition = `${(100 * x) / (COLUMNS - 1)}% ${(100 * y) / (ROWS - 1)}%`;
        node.setAttribute("aria-label", label);
        caption.textContent = says;
      };
    });
    ui.pictures.classList.add("is-tiles", "is-two");
    tiles[1](window.TEMPERATURES.length, "The truth: an eye and the fur of a cat.", "truth");
    const tau = ui.slider({ label: "temperature \u03c4", min: 0, max: 1, step: 0.1, value: 0.8, says: (v) => v.toFixed(1) });
    ui.shows(() => {
      const k = Math.round(10 * tau.value);
      const { psnr, power } = window.TEMPERATURES[k];
      const at = (k / 10).toFixed(1);
      tiles[0](k, `The same crop, one sample of the flow at temperature ${at}.`, `one sample at ${at}`);
      ui.say(`PSNR ${psnr.toFixed(1)} dB (luma). Fine texture, the power beyond a quarter cycle a pixel:`,
        `${signed(power, 1)} dB against the truth.`);
    });
  }

  // -- a file for six pixels: each divides the interval that the ones before it left -----------------

  const coder = {
    PIXELS: [2, 2, 3, 1, 0, 0], // of the levels 0 to 3
    parts: (level, sure) => range(0, 3, 3).map((k) => (k === level ? sure : (1 - sure) / 3)),
    below: (level, sure) => sum(coder.parts(level, sure).slice(0, level)),
    interval: (sure) => coder.PIXELS.reduce(([low, width], level) =>
      [low + width * coder.below(level, sure), width * sure], [0, 1]),
    file(sure) { // the first number in the interval that can be followed by any digits
      const [low, width] = coder.interval(sure);
      const length = Math.ceil(-Math.log2(width)) + 1;
      return Math.ceil(low * 2 ** length).toString(2).padStart(length, "0");
    },
  };

  function file(ui) {
    const [LEFT, WIDTH, HIGH, STEP] = [44, 292, 22, 48];
    const svg = ui.picture(340, 284, "Six bars, one for each pixel, divided by the probabilities of its four levels. " +
      "The part of the level that occurs widens into the next bar.");
    const grey = (level) => `rgb(${Array(3).fill(85 * level).join()})`;
    const bars = coder.PIXELS.map((level, j) => {
      const top = 10 + STEP * j;
      draw(svg, "rect", { x: 6, y: top, width: HIGH, height: HIGH, class: "pixel" }).style.fill = grey(level);
      const parts = range(0, 3, 3).map((k) => {
        const part = draw(svg, "rect", { y: top, height: HIGH, class: "pixel" });
        part.style.fill = grey(k);
        return part;
      });
      const way = j < coder.PIXELS.length - 1 && draw(svg, "path", { class: "way" });
      return { level, top, parts, way, mark: draw(svg, "rect", { y: top - 2, height: HIGH + 4, class: "marked" }) };
    });
    for (const { mark } of bars) mark.style.fill = "none";
    const sure = ui.slider({ label: "probability of the level that occurs", min: 0.05, max: 0.95, step: 0.01, value: 0.7, says: plain });
    ui.shows(() => {
      const p = sure.value;
      for (const { level, top, parts, way, mark } of bars) {
        let at = LEFT;
        coder.parts(level, p).forEach((share, k) => {
          parts[k].setAttribute("x", at.toFixed(2));
          parts[k].setAttribute("width", (WIDTH * share).toFixed(2));
          at += WIDTH * share;
        });
        const from = LEFT + WIDTH * coder.below(level, p);
        mark.setAttribute("x", from.toFixed(2));
        mark.setAttribute("width", (WIDTH * p).toFixed(2));
        const [foot, head] = [top + HIGH + 2, top + STEP];
        if (way) trace(way, [[from, foot], [from + WIDTH * p, foot], [LEFT + WIDTH, head], [LEFT, head]], true);
      }
      const digits = coder.file(p);
      const bits = -Math.log2(coder.interval(p)[1]);
      ui.say(`P(y|x) = ${plain(p)}\u2076, and \u2212log\u2082 P(y|x) = ${plain(bits, 1)} bits.`,
        `The file: ${digits}, ${digits.length} bits. The raw picture: 12 bits.`);
    });
  }

  // -- points carried by a velocity, in some steps -----------------------------------------------

  // lesson 18: data of two narrow normal distributions, and the velocity that flow matching would learn
  const motion = {
    DATA: [[0.6, 1.4, 0.3], [0.4, -1.2, 0.45]], // share, mean, deviation
    truth: (v) => sum(motion.DATA.map(([share, m, s]) => (share * normal((v - m) / s)) / s)),
    at(v, t) { // the velocity, and its slope, which is the divergence in one dimension
      const parts = motion.DATA.map(([share, m, s]) => {
        const V = t * t * s * s + (1 - t) * (1 - t);
        const off = v - t * m;
        return { weight: (share * normal(off / Math.sqrt(V))) / Math.sqrt(V), rate: -off / V,
          slope: (t * s * s - (1 - t)) / V, goes: m + ((t * s * s - (1 - t)) / V) * off };
      });
      const whole = sum(parts.map((part) => part.weight));
      const mean = (of) => sum(parts.map((part) => part.weight * of(part))) / whole;
      const rate = mean((part) => part.rate);
      return [mean((part) => part.goes), mean((part) => part.slope + (part.rate - rate) * part.goes)];
    },
    step(v, t, dt, isEuler) { // how far v goes, and the integral of the divergence
      const k1 = motion.at(v, t);
      if (isEuler) return k1.map((k) => dt * k);
      const k2 = motion.at(v + (dt / 2) * k1[0], t + dt / 2);
      const k3 = motion.at(v + (dt / 2) * k2[0], t + dt / 2);
      const k4 = motion.at(v + dt * k3[0], t + dt);
      return k1.map((k, i) => (dt / 6) * (k + 2 * k2[i] + 2 * k3[i] + k4[i]));
    },
    path(v, steps, isEuler, from = 0) { // [v, integral so far] after every step, from one end to the other
      const [dt, places] = [(1 - 2 * from) / steps, [[v, 0]]];
      for (let n = 0; n < steps; n++) {
        const [here, total] = places[n];
        const [far, more] = motion.step(here, from + n * dt, dt, isEuler);
        places.push([here + far, total + more]);
      }
      return places;
    },
    claimed(v, steps, isEuler) { // the density at v, scored by going back to the noise
      const [z, total] = motion.path(v, steps, isEuler, 1)[steps];
      return normal(z) * Math.exp(total);
    },
    mass: (steps, isEuler) => sum(range(-5.99, 5.99, 599).map((v) => motion.claimed(v, steps, isEuler))) * 0.02,
  };

  function steps(ui) {
    const POINTS = range(-1.9, 1.9, 10);
    const one = ui.picture(300, 300, "Paths of points from the noise at the left to the data at the right.");
    const at = axes(one, { x: [0, 1], y: [-3, 3], box: [34, 24, 256, 220], ticks: [0, 0.5, 1], name: "time t", title: "points on their way" });
    draw(one, "rect", { x: 34, y: 24, width: 256, height: 220, class: "frame" });
    for (const v of [-2, 0, 2]) draw(one, "text", { x: 28, y: at.Y(v) + 5, "text-anchor": "end" }, plain(v, 0));
    const lines = POINTS.map(() => draw(one, "path", { class: "curve thin" }));
    const own = draw(one, "path", { class: "curve second" });
    const two = ui.picture(300, 300, "The density of the data, shaded, and the density that the steps claim, a curve.");
    const of = axes(two, { x: [-4, 4], y: [0, 1.1], box: [16, 24, 268, 220], ticks: [-2, 0, 2], name: "v", title: "density at t = 1" });
    trace(draw(two, "path", { class: "area" }), of.under(motion.truth, -4, 4), true);
    const curve = draw(two, "path", { class: "curve" });
    const count = ui.slider({ label: "steps", min: 1, max: 24, step: 1, value: 4 });
    const start = ui.slider({ label: "start z of one point", min: -2.5, max: 2.5, step: 0.05, value: 0.5, says: signed });
    const kind = ui.choice({ label: "solver", options: { euler: "Euler", rk4: "Runge\u2013Kutta" }, value: "euler" });
    const mark = dot(one, (x, y) => { start.value = clamp(3 - ((y - 24) / 220) * 6, -2.5, 2.5); ui.changed(); });
    ui.shows(() => {
      const [n, isEuler] = [count.value, kind.value === "euler"];
      const drawn = (z) => motion.path(z, n, isEuler).map(([v], k) => [at.X(k / n), at.Y(v)]);
      POINTS.forEach((z, k) => trace(lines[k], drawn(z)));
      trace(own, drawn(start.value));
      mark(at.X(0), at.Y(start.value));
      trace(curve, of.curve((v) => motion.claimed(v, n, isEuler)));
      const [v, total] = motion.path(start.value, n, isEuler)[n];
      const passes = n * (isEuler ? 1 : 4);
      ui.say(`${n} ${n > 1 ? "steps" : "step"}, ${passes} ${passes > 1 ? "evaluations" : "evaluation"} of the velocity.`,
        `The claimed density integrates to ${plain(motion.mass(n, isEuler))} between \u22126 and 6.`,
        `The point from ${signed(start.value)} ends at ${signed(v)}; its log-density changes by ${signed(-total)} nats.`);
    });
  }

  // experiments.mjs, which only lessons 10 to 17 load
  const experiments = Object.fromEntries(["halves", "lowBand", "observers", "threshold", "controls", "means", "connect"]
    .map((name) => [name, (ui) => window.EXPERIMENTS[name](ui)]));

  window.LESSONS = { pairCost, coupling, squeeze, split, stages, cell, half, weights, coder, motion };
  const WIDGETS = { pair, line, plane, scales, train, layers, vesselLayers, noise, throws, weighted, samples, temperature, file, steps, ...experiments };
  start("[data-widget]", (root) => WIDGETS[root.dataset.widget](frame(root), root.dataset));
})();
