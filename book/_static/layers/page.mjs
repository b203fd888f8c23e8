// The widgets `layers` and `vesselLayers`: a drawing on its way through the flow of lesson 9, or the vessels of one eye
// through the released flow, layer by layer, there or back, with the term of every layer in bits, their sum, and three
// laws that are measured while the reader looks.
(() => {
  "use strict";

  const { make, button, draw, paint, plain, signed, sum, axes } = window.WIDGETS;
  const { build, tensor, logDet } = window.STEP;
  const NAMES = { binary: "dequantization", squeeze: "squeeze", actnorm: "ActNorm", conv1x1: "1x1 convolution",
    linear: "ActNorm and 1x1 convolution", coupling: "coupling", prior: "prior" };
  const DOES = {
    binary: "Each label is drawn onto its half-line.",
    squeeze: "Each block of 2 by 2 positions becomes four channels; nothing is computed.",
    actnorm: "Each channel is shifted and scaled.",
    conv1x1: "The channels are mixed by one matrix, the same at every position.",
    linear: "Each channel is shifted and scaled, then the channels are mixed by one matrix.",
    coupling: "Half of the channels are scaled and shifted, as a network says that sees the other half and x.",
    prior: "Channels leave the flow as latents and are scored under a normal distribution.",
  };
  const BREAKS = { none: "nothing", sign: "a term's sign", order: "the order of channels", threshold: "the threshold" };
  const BITS = Math.LN2;
  const DRAWS = 40; // of the noise, for the third law
  const LEFT = 50; // where the axis of layers begins
  const GREY = 4; // what is shown white; its negative is black

  const labels = (hex) => Float64Array.from([...hex].flatMap((digit) => [8, 4, 2, 1].map((b) => Number((parseInt(digit, 16) & b) > 0))));
  const bytes = (hex) => Float64Array.from({ length: hex.length / 2 }, (_, k) => parseInt(hex.slice(2 * k, 2 * k + 2), 16));
  // a square of a tensor, from the place (at, at) on
  const square = (t, at, side) => tensor(t.channels, side, t.data.filter((_, k) =>
    [k % t.side, Math.floor(k / t.side) % t.side].every((place) => place >= at && place < at + side)));
  // what differs between the two flows: their examples {x, y, laws: {x, y}, of which the laws are measured}, the side of y,
  // words, and bits: the most that is drawn, and a round number below
  const FLOWS = {
    strokes() {
      const examples = window.STROKES.examples.map((example) => {
        const pair = { x: tensor(1, 4, Float64Array.from(example.x)), y: tensor(1, 16, labels(example.y)) };
        return { ...pair, laws: pair };
      });
      return { ...window.STROKES, examples, side: 16, what: "drawing", given: "the means of the four quarters", white: 0.5, bits: [700, 600] };
    },
    vessels() {
      const examples = window.EYES.map((example) => {
        const pair = { x: tensor(3, 48, bytes(example.x)), y: tensor(1, 48, labels(example.y)) };
        return { ...pair, laws: { x: square(pair.x, 20, 8), y: square(pair.y, 20, 8) } };
      });
      return { ...window.LIVE.vessels, examples, side: 48, what: "mask", given: "a square of a photograph", white: 255, bits: [7500, 6000] };
    },
  };
  function random(seed) {
    let at = 1 + (seed * 7919) % 2147483646;
    const uniform = () => (at = (at * 16807) % 2147483647) / 2147483647;
    for (let k = 0; k < 5; k++) uniform();
    return {
      logistic: () => { const u = uniform(); return Math.log(u / (1 - u)); },
      normal: () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
    };
  }

  function widget(ui, name = "strokes") {
    const { model, weights, examples, side: SIDE, what, given: says, white, bits: [MOST, ROUND] } = FLOWS[name]();
    const flow = build(model, Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0)));
    const COUNT = flow.layers.length;
    const [spread] = flow.layers;
    const told = (k) => `layer ${k + 1}, ${NAMES[flow.layers[k].kind]}`;
    const first = flow.BREAKS.sign; // its Jacobian is measured first
    const bijective = [first, ...flow.layers.keys()].filter((k, j) => !["binary", "prior"].includes(flow.layers[k].kind) && (k !== first || !j));

    // -- pictures and controls -------------------------------------------------------------------
    const tile = (label, name) => {
      const figure = make(ui.pictures, "figure", { className: name });
      const canvas = make(figure, "canvas", {}, { role: "img", "aria-label": label });
      return { canvas, caption: make(figure, "figcaption") };
    };
    ui.pictures.classList.add("step-pictures");
    const now = tile("What is in the flow, channel by channel, and the latents that have left it.", "step-now");
    const ledger = ui.picture(320, 300, "The term of every layer in bits: a bar upwards adds to log p, a bar downwards takes away. Below, the sum so far.");
    const given = tile(`The input x: ${says}.`, "step-small");
    const result = tile(`The ${what} y.`, "step-small");

    const buttons = make(ui.controls, "div", { className: "widget-buttons" });
    const step = ui.slider({ label: "layers done", min: 0, max: COUNT, step: 1, value: 0, says: (k) => `${k}/${COUNT}` });
    const play = button(buttons, "Play", () => (timer ? halt() : run()));
    play.className = "main";
    button(buttons, "Step", () => { halt(); step.value = (step.value + 1) % (COUNT + 1); ui.changed(); });
    button(buttons, "New noise", () => { seed++; ui.changed(); });
    const way = ui.choice({ label: "direction", options: { forth: `a ${what} to z`, back: "z to a sample" }, value: "forth" });
    const which = ui.slider({ label: `${what} and its x`, min: 1, max: examples.length, step: 1, value: 1, says: (k) => `${k} of ${examples.length}` });
    const tau = ui.slider({ label: "temperature of samples", min: 0, max: 1.2, step: 0.1, value: 0.8, says: (v) => v.toFixed(1) });
    const broken = ui.choice({ label: "break", options: BREAKS, value: "none" });
    const laws = make(ui.controls, "ul", { className: "step-laws" });
    const lines = ["inverse", "jacobian", "labels"].map(() => make(laws, "li"));

    let [timer, seed] = [0, 1];
    function run() {
      if (step.value === COUNT) step.value = 0;
      play.textContent = "Hold still";
      ui.live(false);
      timer = setInterval(() => {
        step.value += 1;
        if (step.value === COUNT) halt();
        ui.changed();
      }, 250);
    }
    function halt() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
      ui.live(true);
    }

    // -- what is computed: anew only if what it depends on has changed ---------------------------
    let journey;
    function travel() {
      const key = [way.value, which.value, broken.value, seed, way.value === "back" && tau.value].join();
      if (journey?.key === key) return journey;
      flow.state.broken = broken.value;
      const { x, y } = examples[which.value - 1];
      const h = flow.features(x);
      const noise = random(seed);
      if (way.value === "forth") {
        const eps = y.data.map(() => spread.draw(noise));
        journey = { key, x, h, y, ...flow.forth(y, h, eps) };
      } else {
        const sample = flow.back(h, null, tau.value, noise.normal);
        const v = sample.states[1];
        const eps = spread.noiseOf(v, h[SIDE]);
        const { terms } = flow.forth(spread.labels(v), h, eps); // of this v
        journey = { key, x, h, y: sample.states[0], states: sample.states, left: sample.left, terms };
      }
      return journey;
    }

    // the laws, of the example of the slider
    const measured = {}; // log |det| of Jacobians, by drawing and layer
    let [checked, waiting] = [{}, 0];
    function check() {
      const key = `${which.value} ${broken.value}`;
      if (checked.key === key) return;
      clearTimeout(waiting);
      const { x, y } = examples[which.value - 1].laws;
      const h = flow.features(x);
      const drawn = () => y.data.map(() => spread.draw(noise));
      flow.state.broken = broken.value;
      const noise = random(0);
      const path = flow.forth(y, h, drawn());
      const far = bijective.map((k) => {
        const again = flow.layers[k].back(path.states[k + 1], h[path.states[k + 1].side]);
        return Math.max(...again.data.map((v, j) => Math.abs(v - path.states[k].data[j])));
      });
      let wrong = 0;
      for (let n = 0; n < DRAWS; n++) {
        const v = spread.forward(y, h[y.side], drawn()).out;
        wrong += sum([...spread.back(v).data].map((label, j) => Number(label !== y.data[j])));
      }
      const worst = far.indexOf(Math.max(...far));
      checked = { key, far: [bijective[worst], far[worst]], wrong, of: DRAWS * y.data.length, path, h, gap: [first, 0], count: 0 };
      tell();
      measure(0, checked);
    }
    // one Jacobian after the other, some rows at a time, so that the page stays quick
    function measure(at, mine, rows = []) {
      if (checked !== mine) return;
      const k = bijective[at];
      const known = (measured[which.value] ??= {});
      const y = mine.path.states[k];
      const end = performance.now() + 12;
      while (known[k] === undefined && performance.now() < end) {
        if (rows.length < y.data.length) rows.push(flow.slope(k, y, mine.h, rows.length));
        else known[k] = logDet(rows);
      }
      if (known[k] === undefined) return void (waiting = setTimeout(() => measure(at, mine, rows)));
      const gap = Math.abs(known[k] - mine.path.terms[k]);
      if (gap >= mine.gap[1]) mine.gap = [k, gap, mine.path.terms[k], known[k]];
      mine.count = at + 1;
      tell();
      if (mine.count < bijective.length) waiting = setTimeout(() => measure(at + 1, mine));
    }
    const small = (v) => v.toExponential(0).replace("-", "\u2212");
    function tell() {
      const { far, wrong, of, gap, count } = checked;
      const verdicts = [
        [far[1] < 1e-6, "back undoes forth", far[1] < 1e-6 ? `largest error ${small(far[1])}` : `off by ${plain(far[1])} at ${told(far[0])}`],
        [gap[1] < 1e-3, "each term is the log |det| of its Jacobian", gap[1] < 1e-3
          ? `${count} of ${bijective.length} layers measured${count ? `, largest error ${small(gap[1])} nats` : ""}`
          : `${told(gap[0])} says ${signed(gap[2] / BITS, 1)} bits, its Jacobian ${signed(gap[3] / BITS, 1)}`],
        [!wrong, "every draw of noise gives its label back", `${wrong} of ${of} labels wrong`],
      ];
      verdicts.forEach(([holds, law, number], k) => {
        lines[k].textContent = `${holds ? "\u2713" : "\u2717"} ${law}: ${number}`;
        lines[k].classList.toggle("fails", !holds);
      });
    }

    // -- drawing ---------------------------------------------------------------------------------
    const at = axes(ledger, { x: [0, COUNT], y: [-MOST, MOST], box: [LEFT, 24, 316 - LEFT, 150], title: "term of each layer, bits" });
    for (const v of [-ROUND, 0, ROUND]) draw(ledger, "text", { x: LEFT - 4, y: at.Y(v) + 5, "text-anchor": "end" }, plain(v, 0));
    draw(ledger, "path", { d: `M${LEFT} ${at.Y(0)}H316`, class: "axis" });
    const bars = flow.layers.map((_, k) => draw(ledger, "rect", { x: at.X(k) + 0.7, width: at.X(1) - at.X(0) - 1.4, class: "step-bar" }));
    const mark = draw(ledger, "path", { class: "dashed" });
    const total = axes(ledger, { x: [-MOST, MOST], y: [0, 1], box: [16, 236, 290, 26], ticks: [-ROUND, 0, ROUND], title: "sum so far, bits" });
    const filled = draw(ledger, "rect", { y: 236, height: 26, class: "step-bar" });
    draw(ledger, "path", { d: `M${total.X(0)} 230V266`, class: "axis" });
    ledger.addEventListener("pointerdown", (event) => {
      const box = ledger.getBoundingClientRect();
      const place = ((event.clientX - box.x) / box.width) * 320 - LEFT;
      const k = Math.max(0, Math.min(COUNT, Math.round(place / (at.X(1) - at.X(0)))));
      halt();
      step.value = way.value === "forth" ? k : COUNT - k;
      ui.changed();
    });
    const bar = (node, axis, from, to) => {
      node.setAttribute(axis, Math.min(from, to).toFixed(2));
      node.setAttribute(axis === "x" ? "width" : "height", Math.abs(to - from).toFixed(2));
    };

    // what is in the flow above, what has left below
    function tensors(inFlow, latents) {
      const fine = SIDE / 16; // cells keep their size: the more of them, the larger the canvas
      const [W, H] = [256 * fine, 300 * fine];
      const { canvas } = now;
      [canvas.width, canvas.height] = [W, H];
      const pen = canvas.getContext("2d");
      const put = ({ channels, side, data }, left, top, cell, columns) => {
        for (let c = 0; c < channels; c++)
          for (let k = 0; k < side * side; k++) {
            const grey = Math.round(127.5 * (1 + Math.max(-1, Math.min(1, data[c * side * side + k] / GREY))));
            pen.fillStyle = `rgb(${grey},${grey},${grey})`;
            const [col, row] = [(c % columns) * (side * cell + 4 * fine), Math.floor(c / columns) * (side * cell + 4 * fine)];
            pen.fillRect(fine * left + col + (k % side) * cell, fine * top + row + Math.floor(k / side) * cell, cell, cell);
          }
      };
      const { channels, side } = inFlow;
      const coarse = (t) => t.side === SIDE / 4;
      if (channels) put(inFlow, coarse(inFlow) ? 10 : 28, 2, coarse(inFlow) ? 14 : 12, coarse(inFlow) ? 4 : 2);
      latents.forEach((t, k) => put(t, 130 * k, 220, 7, coarse(t) ? 4 : 2));
      const sizes = channels ? `in the flow: ${channels} \u00d7 ${side} \u00d7 ${side}` : "nothing is left in the flow";
      now.caption.textContent = latents.length ? `${sizes}; below, ${latents.length === 1 ? "latents" : "all latents"}` : sizes;
    }
    const show = ({ canvas }, { channels, side, data }, most) => paint(canvas, side, side, (k) =>
      [0, 1, 2].map((c) => Math.round((255 * data[(c % channels) * side * side + k]) / most)));

    ui.shows(() => {
      const { x, y, states, terms, left } = travel();
      const forward = way.value === "forth";
      const depth = forward ? step.value : COUNT - step.value; // how many layers lie between the drawing and here
      tensors(depth === 0 ? tensor(1, SIDE, y.data.map((label) => GREY * (2 * label - 1))) : states[depth],
        left.slice(0, depth).filter(Boolean));
      show(given, x, white);
      given.caption.textContent = "x";
      show(result, y, 1);
      result.caption.textContent = forward ? `the ${what} y` : step.value === COUNT ? "the sample" : "what it will be";

      bars.forEach((node, k) => {
        const done = forward ? k < depth : k >= depth;
        bar(node, "y", at.Y(0), at.Y(terms[k] / BITS));
        node.classList.toggle("is-ahead", !done);
      });
      mark.setAttribute("d", `M${at.X(depth)} 24V174`);
      const done = terms.filter((_, k) => (forward ? k < depth : k >= depth));
      const so = sum(done) / BITS;
      bar(filled, "x", total.X(0), total.X(so));
      const k = forward ? depth - 1 : depth;
      const last = step.value ? `${told(k)[0].toUpperCase()}${told(k).slice(1)}${forward ? "" : ", backwards"}: ${signed(terms[k] / BITS, 1)} bits. ${DOES[flow.layers[k].kind]}` : "Nothing is done yet.";
      const end = step.value === COUNT ? `All terms: log\u2082 p = ${signed(so, 1)}, so this ${forward ? what : "sample"} costs ${forward ? "at most " : ""}${plain(-so, 1)} bits by this draw of noise.` : `Sum so far ${signed(so, 1)} bits.`;
      const fault = { none: "", sign: ` Broken: ${told(flow.BREAKS.sign)}, returns its term with the opposite sign.`,
        order: ` Broken: ${told(flow.BREAKS.order)}, puts two channels back in the wrong place.`,
        threshold: " Broken: the labels are read with the threshold 0 and not 1/2." }[broken.value];
      ui.say(`${what[0].toUpperCase()}${what.slice(1)} ${which.value}. ${last} ${end}${fault}`);
      check();
    });
  }

  Object.assign(window.STEP, { widget });
})();
