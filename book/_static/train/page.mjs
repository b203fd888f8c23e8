// The widget `train` of lesson 5: flow.mjs trains on data that the reader chooses or draws, and is drawn as it learns.
(() => {
  "use strict";

  const { make, button, draw, path, trace, axes, clamp, range, plain } = window.WIDGETS;
  const { flow: makeFlow, random } = window.TRAIN;
  const [STEPS, BATCH, COUPLINGS] = [1600, 128, 4];
  const REACH = 3; // both planes are shown from -3 to 3
  const SIDE = innerWidth < 600 ? 360 : 600; // pixels of a canvas
  const SLICE = 24; // milliseconds of training between two drawings
  const LOST = 100; // bits a point: where training stops
  const STILL = matchMedia("(prefers-reduced-motion: reduce)");

  // the crescent of book/crescent.py: for every x a bijection between z and y
  const crescent = {
    rho: (x) => 0.2 * Math.exp(0.6 * x),
    y([a, b], x) {
      const [w2, angle] = [0.8 * a, (Math.PI / 2) * x];
      const w1 = 1.5 - (w2 * w2) / 2 + crescent.rho(x) * b;
      return [Math.cos(angle) * w1 - Math.sin(angle) * w2, Math.sin(angle) * w1 + Math.cos(angle) * w2];
    },
    entropy: (x) => Math.log(2 * Math.PI) + 1 + Math.log(0.8 * crescent.rho(x)), // H(y|x), nats; linear in x
  };
  const TRUTH = crescent.entropy(0) / Math.LN2; // the mean over x, bits
  // two round pieces that turn as x does
  function pieces([a, b], x) {
    const [side, angle] = [a < 0 ? -1.3 : 1.3, (Math.PI / 2) * x];
    return [side * Math.cos(angle) + 0.35 * (a - Math.sign(a) * 0.8), side * Math.sin(angle) + 0.35 * b];
  }
  const KNOWN = { crescent: crescent.y, pieces };

  // the learning rate of a step: it rises for a twentieth of the run, then falls to 0
  const schedule = (step) => Math.min(1, (20 * step) / STEPS) * (1 + Math.cos((Math.PI * step) / STEPS)) / 2;

  function batch(kind, drawn, noise) {
    const [x, y] = [new Float64Array(BATCH), new Float64Array(2 * BATCH)];
    for (let i = 0; i < BATCH; i++) {
      const eps = [noise.normal(), noise.normal()];
      if (kind === "drawing") {
        const point = drawn[Math.floor(noise.uniform() * drawn.length)];
        x[i] = point.x;
        y.set(point.y.map((v, c) => v + 0.05 * eps[c]), 2 * i);
      } else {
        x[i] = 2 * noise.uniform() - 1;
        y.set(KNOWN[kind](eps, x[i]), 2 * i);
      }
    }
    return [y, x];
  }

  // why the loss is so large, from what was measured in this step and in the one before
  function cause({ step, bits, before, after, rate, free }) {
    const big = (v) => (v === Infinity ? "\u221e" : v < 1e4 ? plain(v, 0) : `10^${Math.floor(Math.log10(v))}`);
    const [was, is] = [before ? before.logS : 0, after.logS];
    return [
      `Stopped at step ${step}: ${bits < Infinity ? big(bits) : "infinitely many"} bits a point.`,
      `Adam moves every weight by about the learning rate, here ${rate.toPrecision(2)}, and log s and t are sums of many weights.`,
      free ? `At the farthest point the largest |log s| was ${plain(was, 1)} one step ago and is ${plain(is, 1)}: a factor of ${big(Math.exp(is))}, and couplings multiply their factors.`
        : `Now ${plain(100 * after.atBound, 0)} % of all log s are at their bound, where tanh is flat and passes no gradient back; the shifts t go on growing.`,
      `The farthest point lies at |z| = ${big(after.z)} and costs z\u00b2/2 nats.`,
      `Choose a smaller rate${free ? ", or bound log s" : ""}.`,
    ].join(" ");
  }

  function widget(ui) {
    const noise = random(11);
    const FIXED = range(1, 160, 159).map(() => [noise.normal(), noise.normal()]); // of the points that are shown
    const drawn = []; // {x, y}
    let [flow, batches, made, step, curve, before, lost] = []; // one training, see `again`
    let [running, frame] = [false, 0];

    // -- what the reader sees and holds ----------------------------------------------------------
    const picture = (label) => {
      const figure = make(ui.pictures, "figure", { className: "train-plane" });
      const canvas = make(figure, "canvas", { width: SIDE, height: SIDE }, { role: "img", "aria-label": label });
      return { canvas, pen: canvas.getContext("2d"), caption: make(figure, "figcaption") };
    };
    const way = picture("Points of the data and samples of the flow, on their way between y and z.");
    const plane = picture("The density of the flow, shaded, with points of the data and a square grid of z, carried to y.");
    const chart = ui.picture(300, 190, "The loss in bits for each point, over the steps of training.");
    const at = axes(chart, { x: [0, STEPS], y: [0, 6], box: [30, 24, 262, 120], ticks: [0, 500, 1000, 1500],
      name: "step", title: "bits a point" });
    for (const v of [0, 2, 4, 6]) draw(chart, "text", { x: 24, y: at.Y(v) + 5, "text-anchor": "end" }, String(v));
    const least = draw(chart, "path", { class: "dashed" });
    const leastName = draw(chart, "text", { x: 290, y: at.Y(TRUTH) + 18, "text-anchor": "end" }, `truth: ${plain(TRUTH)}`);
    const losses = draw(chart, "path", { class: "curve" });
    make(ui.pictures, "p", { className: "train-key", innerHTML:
      "<span>\u25cf</span> data at this x<br><span>\u25cb</span> samples of the flow<br>shade: its density p(y|x)<br>" +
      "lines: the square grid of z, carried to y" });

    const buttons = make(ui.controls, "div", { className: "widget-buttons" });
    const train = button(buttons, "Train", () => (running ? pause() : start()));
    train.className = "main";
    const play = button(buttons, "Move the points", () => (frame ? halt() : travel()));
    button(buttons, "Start again", again);
    const clear = button(buttons, "Clear the drawing", () => {
      drawn.length = 0;
      again();
    });
    const x = ui.slider({ label: "input x", min: -1, max: 1, step: 0.05, value: -0.6, says: plain });
    const layer = ui.slider({ label: "on the way: coupling", min: 0, max: COUPLINGS, step: 0.05, value: COUPLINGS,
      says: (k) => (k % 1 ? plain(k, 1) : `${k} of ${COUPLINGS}`) });
    const rate = ui.slider({ label: "learning rate", min: -3, max: 0, step: 0.25, value: -1.75,
      says: (power) => (10 ** power).toPrecision(1) });
    const kind = ui.choice({ label: "data", options: { crescent: "crescent", pieces: "two pieces", drawing: "your drawing" },
      value: "crescent" });
    const bound = ui.choice({ label: "log s", options: { bounded: "bounded by 1.5", free: "free" }, value: "bounded" });

    // -- training --------------------------------------------------------------------------------
    const settings = () => `${kind.value}, ${bound.value}`;
    function again() {
      flow = makeFlow({ couplings: COUPLINGS, bound: bound.value === "free" ? 0 : 1.5 });
      batches = random(3);
      [step, curve, before, lost, made] = [0, [], null, "", settings()];
      pause();
      ui.changed();
    }
    function start() {
      if (kind.value === "drawing" && drawn.length < 30) return ui.changed();
      if (lost || step >= STEPS) again();
      halt();
      running = true;
      train.textContent = "Pause";
      ui.live(false);
      requestAnimationFrame(slice);
    }
    function pause() {
      running = false;
      train.textContent = step && step < STEPS && !lost ? "Go on" : "Train";
      ui.live(true);
    }
    function one() {
      step++;
      const now = 10 ** rate.value * schedule(step);
      const bits = flow.loss(...batch(kind.value, drawn, batches)) / Math.LN2;
      if (!(bits < LOST)) {
        lost = cause({ step, bits, before, after: flow.extremes(), rate: now, free: bound.value === "free" });
        return false;
      }
      before = flow.extremes();
      curve.push(bits);
      flow.step(now);
      return step < STEPS;
    }
    let shown = 0;
    function slice() {
      if (!running) return;
      const end = performance.now() + SLICE;
      let goesOn = true;
      while (goesOn && performance.now() < end) goesOn = one();
      if (!goesOn) pause();
      if (!goesOn || performance.now() - shown > (STILL.matches ? 500 : 60)) {
        ui.changed();
        shown = performance.now();
      }
      requestAnimationFrame(slice);
    }

    // -- the points on their way: there and back in six seconds ----------------------------------
    function travel() {
      play.textContent = "Hold still";
      const begin = performance.now();
      ui.live(false);
      const move = (now) => {
        const t = Math.max(now - begin, 0) / 3000;
        const k = COUPLINGS * (1 - Math.abs(t - 1));
        layer.value = clamp(STILL.matches ? Math.round(k) : k, 0, COUPLINGS);
        ui.changed();
        if (t < 2) frame = requestAnimationFrame(move);
        else halt();
      };
      frame = requestAnimationFrame(move);
    }
    function halt() {
      cancelAnimationFrame(frame);
      frame = 0;
      play.textContent = "Move the points";
      ui.live(!running);
    }

    // -- the reader's drawing --------------------------------------------------------------------
    const cross = { at: [0, 0], down: false };
    const drop = ([a, b]) => {
      for (let k = 0; k < 4; k++)
        drawn.push({ x: x.value, y: [a + 0.06 * noise.normal(), b + 0.06 * noise.normal()].map((v) => clamp(v, -REACH, REACH)) });
      if (step) again();
      else ui.changed();
    };
    const drawing = () => kind.value === "drawing";
    const { canvas } = plane;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.x) / box.width) * 2 * REACH - REACH, REACH - ((event.clientY - box.y) / box.height) * 2 * REACH];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!drawing()) return;
      canvas.setPointerCapture(event.pointerId);
      drop(place(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drawing() && event.buttons & 1) drop(place(event));
    });
    canvas.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
      if (!drawing() || !(to || event.key === " ")) return;
      event.preventDefault();
      if (to) cross.at = cross.at.map((v, c) => clamp(v + to[c], -REACH, REACH));
      else cross.down = !cross.down;
      if (cross.down) drop(cross.at);
      else ui.changed();
    });
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => ui.changed());

    // -- drawing ---------------------------------------------------------------------------------
    const pixel = (v) => ((v + REACH) / (2 * REACH)) * SIDE;
    const colours = () => {
      const style = getComputedStyle(ui.pictures);
      const [accent, second] = ["--accent", "--second"].map((name) => style.getPropertyValue(name).trim());
      return { accent, second, text: style.color };
    };
    function dots(pen, points, colour, hollow) {
      [pen.strokeStyle, pen.fillStyle, pen.lineWidth] = [colour, colour, 2.5];
      for (let i = 0; i < points.length; i += 2) {
        pen.beginPath();
        pen.arc(pixel(points[i]), SIDE - pixel(points[i + 1]), hollow ? 6 : 5, 0, 2 * Math.PI);
        if (hollow) pen.stroke();
        else pen.fill();
      }
    }
    function ring(pen, radius, colour) {
      [pen.strokeStyle, pen.lineWidth] = [colour, 1.5];
      pen.beginPath();
      pen.arc(SIDE / 2, SIDE / 2, (radius * SIDE) / (2 * REACH), 0, 2 * Math.PI);
      pen.stroke();
    }
    // the points of the data at this x
    function data() {
      if (!drawing()) return Float64Array.from(FIXED.flatMap((eps) => KNOWN[kind.value](eps, x.value)));
      return Float64Array.from(drawn.filter((p) => Math.abs(p.x - x.value) < 0.15).slice(-400).flatMap((p) => p.y));
    }
    const same = (points) => new Float64Array(points.length / 2).fill(x.value);

    const shade = document.createElement("canvas");
    function density({ pen }, { accent }) {
      const n = running || frame ? 48 : 100;
      const points = new Float64Array(2 * n * n);
      for (let k = 0; k < n * n; k++)
        points.set([((k % n) + 0.5) / n, 1 - (Math.floor(k / n) + 0.5) / n].map((v) => REACH * (2 * v - 1)), 2 * k);
      const logP = flow.logProb(points, same(points));
      [shade.width, shade.height] = [n, n];
      const image = new ImageData(n, n);
      const rgb = accent.match(/\w\w/g).map((t) => parseInt(t, 16));
      logP.forEach((v, k) => image.data.set([...rgb, 255 * Math.min(1, Math.sqrt(Math.exp(v)))], 4 * k));
      shade.getContext("2d").putImageData(image, 0, 0);
      pen.drawImage(shade, 0, 0, SIDE, SIDE);
    }
    function grid({ pen }, { text }) {
      [pen.strokeStyle, pen.lineWidth, pen.globalAlpha] = [text, 1.5, 0.4];
      const along = range(-2.5, 2.5, 50);
      for (const v of range(-2, 2, 4)) for (const turned of [false, true]) {
        const line = Float64Array.from(along.flatMap((u) => (turned ? [v, u] : [u, v])));
        const y = flow.decode(line, same(line));
        pen.beginPath();
        for (let i = 0; i < y.length; i += 2) pen.lineTo(pixel(y[i]), SIDE - pixel(y[i + 1]));
        pen.stroke();
      }
      pen.globalAlpha = 1;
    }

    function show() {
      if (made !== settings()) return again();
      const paints = colours();
      for (const { pen } of [way, plane]) pen.clearRect(0, 0, SIDE, SIDE);
      canvas.tabIndex = drawing() ? 0 : -1;
      canvas.classList.toggle("is-pen", drawing());
      clear.disabled = !drawing();
      const [points, z] = [data(), Float64Array.from(FIXED.flat())];

      density(plane, paints);
      grid(plane, paints);
      dots(plane.pen, drawing() ? points : points.slice(0, 160), paints.second);
      if (drawing() && document.activeElement === canvas) {
        const [a, b] = [pixel(cross.at[0]), SIDE - pixel(cross.at[1])];
        [plane.pen.strokeStyle, plane.pen.lineWidth] = [paints.text, cross.down ? 6 : 3];
        plane.pen.stroke(new Path2D(`M${a - 20} ${b}h40M${a} ${b - 20}v40`));
      }
      plane.caption.textContent = drawing() && !drawn.length ? "draw here, at several x" : `y, at x = ${plain(x.value)}`;

      // on the way: between the two couplings next to the slider the points go straight
      const k = Math.min(Math.floor(layer.value), COUPLINGS - 1);
      const part = layer.value - k;
      const between = (from, to) => from.map((v, i) => v + part * (to[i] - v));
      const ofData = between(...[k, k + 1].map((upTo) => flow.encode(points, same(points), upTo).z));
      const ofZ = between(...[k, k + 1].map((downTo) => flow.decode(z, same(z), downTo)));
      for (const radius of [1, 2]) ring(way.pen, radius, paints.text);
      dots(way.pen, ofZ, paints.accent, true);
      dots(way.pen, ofData, paints.second);
      way.caption.textContent = layer.value === COUPLINGS ? "z: behind the couplings" :
        layer.value === 0 ? "y: before the couplings" : `behind ${plain(layer.value, layer.value % 1 ? 1 : 0)} couplings`;

      const smooth = range(1, 100, 99).map((j) => Math.floor((j * curve.length) / 100)).filter((end) => end > 0).map((end) => {
        const part = curve.slice(Math.max(0, end - 20), end);
        return [at.X(end), at.Y(part.reduce((total, v) => total + v, 0) / part.length)];
      });
      if (smooth.length) trace(losses, smooth);
      else losses.removeAttribute("d");
      const known = kind.value === "crescent";
      least.setAttribute("d", known ? path([0, STEPS].map((v) => [at.X(v), at.Y(TRUTH)])) : "");
      leastName.style.display = known ? "" : "none";

      const recent = curve.slice(-50);
      const bits = plain(recent.reduce((total, v) => total + v, 0) / recent.length);
      if (lost) ui.say(lost);
      else if (drawing() && drawn.length < 30)
        ui.say(`x = ${plain(x.value)}. Draw in the right picture, with a finger, a mouse, or arrow keys and Space; then move x and draw something else.`);
      else if (!step) ui.say(`x = ${plain(x.value)}. Untrained: every coupling is the identity, and the density is round for every x.`);
      else {
        const hint = { crescent: `The truth needs ${plain(TRUTH)}.`, pieces: "A bijection cannot tear the plane: a thread joins the pieces.",
          drawing: points.length ? "" : "Nothing was drawn near this x: the flow interpolates." }[kind.value];
        ui.say(`x = ${plain(x.value)}. Step ${step} of ${STEPS}: ${bits} bits a point.`, hint);
      }
    }

    new MutationObserver(() => ui.changed()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    ui.shows(show);
  }

  Object.assign(window.TRAIN, { widget, crescent, batch, schedule, STEPS });
})();
