// The live page of vessels: what it adds to page.mjs: marginals and a threshold, samples that flicker, and a pen.
(() => {
  "use strict";

  const { make, slider, choice, button, paint, heat, heatBar, sum, start } = window.WIDGETS;
  const ACROSS = 540; // pixels of the eyes that the model learned from, see cnf/replication/fundus_view.py
  const TOLERATED = 1.25;
  const FAINT = 8; // grey levels: nothing brighter, nothing seen
  const FLICKER = 450; // milliseconds a sample
  const DRAWS = 4; // of the noise of the bound, for a drawing
  const BLOCK = 4; // pixels a side: where bits are spent is no finer
  const MOST = { bits: 12, change: 12 }; // bits a block, where the colours end
  const [WHITE, ORANGE, BLUE] = [[255, 255, 255], [230, 159, 0], [86, 180, 233]];
  const SAYS = {
    sample: "One sample: one of many drawings of the vessels that fit the photograph.",
    bits: "Bits that this sample costs, for each block of 4 by 4 pixels.",
    marginal: "The marginal: the share of samples with a vessel at each pixel.",
    deviation: "The deviation of the samples: bright where they differ.",
    mask: "Where the marginal reaches the threshold.",
    truth: "The vessels that the generator drew.",
    drawing: "Your drawing. Draw with a finger or a mouse; with keys, arrows move the pen, and Space puts it down or lifts it.",
    change: "Where your drawing costs more bits than what you began with, and where fewer.",
    photograph: "The photograph, as the model sees it.",
  };

  // how wide the eye in a photograph is, in pixels; 0 if no dark border is around it. As
  // cnf/replication/data/field_of_view.py, but for the shape of what is found
  function across(canvas) {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const luma = Uint8Array.from({ length: width * height }, (_, k) =>
      (299 * data[4 * k] + 587 * data[4 * k + 1] + 114 * data[4 * k + 2]) / 1000);
    const counts = new Array(256).fill(0);
    luma.forEach((t) => counts[t]++);
    if (sum(counts.slice(FAINT)) < luma.length / 100)
      throw new Error(`Nothing is to be seen: 99 % of the picture is darker than ${FAINT} of 255.`);
    // Otsu's threshold of log luma: the largest variance between the two classes
    const levels = counts.map((n, t) => n * Math.log1p(t));
    let [best, edge, below, under] = [-1, 0, 0, 0];
    counts.forEach((n, t) => {
      [below, under] = [below + n, under + levels[t]];
      const above = luma.length - below;
      const between = below && above ? below * above * (under / below - (sum(levels) - under) / above) ** 2 : 0;
      if (between > best) [best, edge] = [between, t];
    });
    const [rows, columns] = [new Array(height).fill(0), new Array(width).fill(0)];
    let [lit, light] = [0, 0];
    const [tall, wide] = [Math.ceil(0.04 * height), Math.ceil(0.04 * width)];
    const corners = [0, 0, 0, 0];
    luma.forEach((t, k) => {
      const [y, x] = [Math.floor(k / width), k % width];
      if (t > edge) [lit, light, rows[y], columns[x]] = [lit + 1, light + t, rows[y] + 1, columns[x] + 1];
      const [top, left] = [y < tall, x < wide];
      if ((top || y >= height - tall) && (left || x >= width - wide)) corners[2 * top + left] += t / (tall * wide);
    });
    if (Math.max(...corners) > (0.5 * light) / lit) return 0;
    const extent = (found, of) => {
      const inside = (n) => n > 0.02 * of;
      return found.findLastIndex(inside) - found.findIndex(inside) + 1;
    };
    return Math.max(extent(rows, width), extent(columns, height));
  }
  function fitted(canvas) {
    const wide = across(canvas);
    const ratio = wide ? ACROSS / wide : Math.min(1, 768 / Math.max(canvas.width, canvas.height));
    const [w, h] = [canvas.width, canvas.height].map((side) => Math.max(1, Math.round(ratio * side)));
    if (Math.min(w, h) < 64 || Math.max(w, h) > 8 * ACROSS) throw new Error("The picture is too narrow, or the eye fills too little of it: crop it first.");
    const same = wide ? Math.max(ratio, 1 / ratio) <= TOLERATED : ratio === 1;
    return { canvas: same ? canvas : window.LIVE.resized(canvas, w, h), note: wide
      ? `The model sees the eye ${same ? wide : ACROSS} pixels across; it learned from eyes of ${ACROSS}.`
      : `No dark border around an eye was found: the model sees the picture ${same ? "as it is" : `at ${w} by ${h} pixels`}, and it learned from eyes ${ACROSS} pixels across.` };
  }

  // of a map of pixels the sum over each block
  function blocks(map, side) {
    const n = side / BLOCK;
    const out = new Float64Array(n * n);
    map.forEach((t, k) => (out[Math.floor(k / side / BLOCK) * n + Math.floor((k % side) / BLOCK)] += t));
    return out;
  }
  const places = ["at the top left", "at the top", "at the top right", "on the left", "in the middle", "on the right",
    "at the bottom left", "at the bottom", "at the bottom right"];
  function placeOf(map, side) {
    const found = new Array(9).fill(0);
    map.forEach((t, k) => (found[3 * Math.floor((3 * k) / side / side) + Math.floor((3 * (k % side)) / side)] += t));
    return places[found.indexOf(Math.max(...found))];
  }
  const whole = (t) => Math.round(t).toLocaleString("en");
  const count = (mask, where) => mask.reduce((n, t, k) => n + (where(t, k) ? 1 : 0), 0);

  // strokes {erases, width, points [[x, y], ...]} as text, and back
  const written = (strokes) => strokes.map(({ erases, width, points }) =>
    `${erases ? "e" : "d"}${width}.${points.flat().map((n) => n.toString(36)).join(".")}`).join("_");
  const read = (text) => (text ?? "").split("_").filter((t) => /^[de]\d(\.[0-9a-z]{1,2}\.[0-9a-z]{1,2})+$/.test(t)).map((t) => {
    const numbers = t.slice(3).split(".").map((n) => parseInt(n, 36));
    const points = numbers.flatMap((n, k) => (k % 2 ? [[numbers[k - 1], n]] : []));
    return { erases: t[0] === "e", width: Number(t[1]), points };
  });
  // a stroke's ink on a mask, from its point `since` on
  function ink(y, side, { erases, width, points }, since = 0) {
    const reach = width / 2;
    for (let n = since; n < points.length; n++) {
      const [[x0, y0], [x1, y1]] = [points[Math.max(n - 1, 0)], points[n]];
      const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
      for (let s = 0; s <= steps; s++) {
        const [cx, cy] = [Math.round(x0 + ((x1 - x0) * s) / steps), Math.round(y0 + ((y1 - y0) * s) / steps)];
        for (let row = Math.ceil(cy - reach); row <= cy + reach; row++)
          for (let column = Math.ceil(cx - reach); column <= cx + reach; column++)
            if (row >= 0 && row < side && column >= 0 && column < side && (row - cy) ** 2 + (column - cx) ** 2 <= reach ** 2)
              y[row * side + column] = erases ? 0 : 1;
      }
    }
  }

  function build(root) {
    let drawing = null; // {from, base, strokes, y, before, after}
    let pending = null; // of a link, until what it needs is there
    let asked = 0;
    const page = window.LIVE.page(root, {
      model: "vessels", pictures: "eyes", first: "retina", name: "eye", held: "photograph",
      sides: [128, 192, 256], side: 192, left: 150, top: 170, longest: 1536, least: 64, fitted,
      views: { sample: "sample", bits: "its bits", marginal: "marginal", deviation: "deviation",
        mask: "threshold", truth: "truth", drawing: "drawing", change: "its change" },
      extent: (side) => side,
      temperature: () => 1,
      labels: (v) => v.map((t) => (t > 0.5 ? 1 : 0)),
      state: () => ({ seed: page.seed.value, shown: page.shown, cut: threshold.value, under: under.value,
        ...(playing ? {} : { still: 1 }), ...(drawing ? { ...drawing.begun, from: drawing.from, pen: written(drawing.strokes) } : {}),
        ...(pending ? { shown: pending.shown, ...(pending.from ? { from: pending.from, pen: written(pending.strokes) } : {}) } : {}) }),
      prepare({ side, values, left, top }) {
        const job = { side, x: values };
        const { truth } = page.source;
        if (truth) {
          const { data } = truth.getContext("2d").getImageData(left, top, side, side);
          job.truth = { y: Float32Array.from({ length: side * side }, (_, k) => (data[4 * k] > 127 ? 1 : 0)) };
        }
        return job;
      },
      conditioned() {
        if (pending) page.shown = pending.shown;
        allow();
      },
      gather(job, { y }) {
        job.sum ??= new Float64Array(y.length);
        y.forEach((t, k) => (job.sum[k] += t));
      },
      came(job) {
        if (!pending || job.samples.length <= pending.shown) return;
        const { from, strokes } = pending;
        page.shown = pending.shown; // the samples may flicker
        pending = null;
        if (from) begin(from, strokes);
      },
      moved() {
        drawing = null;
        allow();
        if (["drawing", "change"].includes(page.views.value) && !pending) page.views.value = "sample";
      },
      next: () => play(false),
      mayHold: () => page.views.value !== "drawing",
      show,
    });
    const { canvas, frame, legend, given, controls, views } = page;

    const threshold = slider(controls, { label: "threshold", min: 0.05, max: 0.95, step: 0.05, value: page.number("cut", 0.5),
      says: (t) => t.toFixed(2), onInput: () => {
        views.value = "mask";
        page.write();
        page.show();
      } });
    const under = choice(controls, { label: "Under the vessels", options: { photo: "the photograph", black: "nothing" },
      value: given.under === "black" ? "black" : "photo", onChange: () => (page.write(), page.show()) });
    const starts = make(null, "div", { className: "live-line" }, { role: "group", "aria-label": "Draw on" });
    make(starts, "span", { textContent: "Draw on" });
    const names = { sample: "this sample", mask: "the threshold", truth: "the truth", nothing: "nothing" };
    const [, , onTruth] = Object.entries(names).map(([from, text]) => button(starts, text, () => begin(from, [])));
    page.line.after(starts);
    const pen = make(null, "div", { className: "live-line live-pen", hidden: true });
    frame.after(pen);
    const kind = choice(pen, { label: "Pen", options: { add: "add", erase: "erase" }, value: "add" });
    const width = slider(pen, { label: "width", min: 1, max: 9, step: 2, value: 3, says: (t) => `${t}` });
    button(pen, "Undo", () => {
      drawing.strokes.pop();
      again();
    });
    const flicker = button(page.line, "Flicker", () => {
      play(!playing);
      page.write();
    });

    // -- samples that flicker

    let playing = !given.still && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    function play(to) {
      playing = to;
      flicker.textContent = playing ? "Hold still" : "Flicker";
      if (playing) views.value = "sample";
      page.show();
    }
    setInterval(() => {
      const n = page.job?.samples.length ?? 0;
      if (!playing || page.held || n < 2 || views.value !== "sample" || document.hidden) return;
      page.shown = (page.shown + 1) % n;
      page.show();
    }, FLICKER);

    // -- drawing

    function allow() {
      onTruth.disabled = !page.source?.truth;
      for (const view of ["drawing", "change"]) views.allow(view, !!drawing);
      pen.hidden = !drawing;
    }
    const marginal = ({ sum: found, samples }) => found.map((t) => t / samples.length);
    const cutAt = (p) => Float32Array.from(p, (t) => (t >= threshold.value - 1e-9 ? 1 : 0));
    function begin(from, strokes) {
      const { job, sample } = page;
      if (!sample) return;
      play(false);
      const base = { sample: () => sample.y, truth: () => job.truth?.y, mask: () => cutAt(marginal(job)),
        nothing: () => new Float32Array(job.side ** 2) }[from]?.();
      if (!base) return;
      const last = from === "mask" ? job.samples.length - 1 : job.samples.indexOf(sample);
      const begun = { seed: job.samples[0].seed, shown: last, cut: threshold.value }; // for a link: what makes base
      drawing = { from, base, begun, strokes, before: [], after: [] };
      allow();
      if (!pending && !["drawing", "change"].includes(views.value)) views.value = "drawing";
      again();
    }
    function again() {
      drawing.y = drawing.base.slice();
      drawing.strokes.forEach((stroke) => ink(drawing.y, page.job.side, stroke));
      changed();
    }
    function changed() {
      drawing.after = [];
      page.write();
      page.show();
      weigh();
    }
    // the bits of the drawing and of what it began with, for the same draws of noise
    async function weigh() {
      const [own, { base, y, before, after }] = [++asked, drawing];
      try {
        for (let k = 0; k < DRAWS; k++) {
          before[k] ??= (await page.ask("score", base, k)).result;
          const { result } = await page.ask("score", y, k);
          if (own !== asked) return;
          after[k] = result;
          page.show();
        }
      } catch (problem) {
        if (problem.message !== "stopped") throw problem;
        if (own === asked && drawing) weigh();
      }
    }
    // {bits, change, error, map}: of the drawing, the change and its standard error, in bits
    function weighed({ side }) {
      const { before, after } = drawing;
      const n = after.length;
      if (!n) return null;
      const changes = after.map((score, k) => (score.bits - before[k].bits) * side ** 2);
      const change = sum(changes) / n;
      const error = n > 1 ? Math.sqrt(sum(changes.map((t) => (t - change) ** 2)) / (n - 1) / n) : 0;
      const map = Float64Array.from(after[0].map, (_, k) => sum(after.map((score, d) => score.map[k] - before[d].map[k])) / n);
      const mean = (scores) => (sum(scores.slice(0, n).map((score) => score.bits)) / n) * side ** 2;
      return { bits: mean(after), begun: mean(before), change, error, map, n };
    }

    let stroke = null;
    let at = [0, 0];
    const cross = make(make(frame, "div", { className: "live-over" }), "i", { className: "live-cross", hidden: true });
    function go(x, y) {
      const { side } = page.job;
      at = [x, y].map((t) => Math.min(Math.max(t, 0), side - 1));
      Object.assign(cross.style, { left: `${(100 * (at[0] + 0.5)) / side}%`, top: `${(100 * (at[1] + 0.5)) / side}%` });
      if (!stroke) return;
      const [last] = stroke.points.slice(-1);
      if (last && last[0] === at[0] && last[1] === at[1]) return;
      stroke.points.push(at);
      ink(drawing.y, side, stroke, stroke.points.length - 1);
      page.show();
    }
    function down() {
      if (views.value !== "drawing" || !drawing) return false;
      asked++; // what is being weighed is old
      stroke = { erases: kind.value === "erase", width: width.value, points: [] };
      drawing.after = [];
      return true;
    }
    function up() {
      if (!stroke) return;
      drawing.strokes.push(stroke);
      stroke = null;
      changed();
    }
    const pixel = (event) => {
      const rectangle = canvas.getBoundingClientRect();
      return [(event.clientX - rectangle.left) / rectangle.width, (event.clientY - rectangle.top) / rectangle.height]
        .map((t) => Math.floor(t * page.job.side));
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button || !down()) return;
      canvas.setPointerCapture(event.pointerId);
      go(...pixel(event));
    });
    canvas.addEventListener("pointermove", (event) => stroke && event.buttons & 1 && go(...pixel(event)));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, up);
    canvas.addEventListener("keydown", (event) => {
      if (views.value !== "drawing" || !page.job) return;
      const by = event.shiftKey ? 8 : 1;
      const steps = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
      if (event.key in steps) go(at[0] + steps[event.key][0], at[1] + steps[event.key][1]);
      else if (event.key !== " ") return;
      else if (stroke) up();
      else if (down()) go(...at);
      cross.hidden = false;
      event.preventDefault();
    });
    canvas.addEventListener("blur", up);

    // -- showing

    function show(job) {
      const { side, x, truth } = job;
      const { sample } = page;
      let view = page.held || !sample ? "photograph" : views.value;
      if (["drawing", "change"].includes(view) && !drawing) view = "sample"; // a link's, on its way
      const isDrawing = view === "drawing";
      canvas.style.touchAction = isDrawing ? "none" : "pan-y";
      canvas.style.cursor = isDrawing ? "crosshair" : "pointer";
      canvas.tabIndex = isDrawing ? 0 : -1;
      canvas.setAttribute("role", isDrawing ? "application" : "img");
      cross.hidden = !isDrawing || !canvas.matches(":focus-visible");

      const grey = (k) => {
        const t = 0.6 * (0.299 * x[3 * k] + 0.587 * x[3 * k + 1] + 0.114 * x[3 * k + 2]);
        return under.value === "black" ? [0, 0, 0] : [t, t, t];
      };
      const vessels = (mask, other = null) => paint(canvas, side, side, (k) => {
        if (mask[k]) return other && !other[k] ? ORANGE : WHITE;
        return other?.[k] ? BLUE : grey(k);
      });
      const key = (...names) => [ORANGE, BLUE].forEach((colour, k) => {
        make(legend, "i", { className: "key" }).style.background = `rgb(${colour})`;
        make(legend, "span", { textContent: names[k] });
      });
      const found = drawing && weighed(job);
      if (view === "photograph") paint(canvas, side, side, (k) => [0, 1, 2].map((c) => x[3 * k + c]));
      else if (view === "sample") vessels(sample.y);
      else if (view === "truth") vessels(truth.y);
      else if (view === "mask") {
        vessels(cutAt(marginal(job)), truth?.y);
        if (truth) key("too much", "missed");
      } else if (view === "drawing") {
        vessels(drawing.y, drawing.base);
        key("added", "erased");
      } else if (view === "marginal" || view === "deviation") {
        const p = marginal(job);
        paint(canvas, side, side, (k) => heat(view === "marginal" ? p[k] : 2 * Math.sqrt(p[k] * (1 - p[k]))));
        page.scale("0", heatBar, view === "marginal" ? "1" : "0.5");
      } else if (view === "bits") {
        const spent = blocks(sample.score?.map ?? [], side);
        paint(canvas, side / BLOCK, side / BLOCK, (k) => heat(spent[k] / MOST.bits));
        page.scale("0", heatBar, `${MOST.bits} bits a block`);
      } else {
        const spent = blocks(found?.map ?? [], side);
        paint(canvas, side / BLOCK, side / BLOCK, (k) => (spent[k] > 0 ? ORANGE : BLUE).map((c) => c * Math.min(1, Math.abs(spent[k]) / MOST.change)));
        page.scale(`${MOST.change} fewer`, `linear-gradient(to right, rgb(${BLUE}), #000, rgb(${ORANGE}))`, `${MOST.change} more bits a block`);
      }
      if (sample) describe(job, view, found);
      return SAYS[view];
    }

    function describe(job, view, found) {
      const { side, samples, truth } = job;
      const { sample } = page;
      const bits = (one) => one.score.bits * side ** 2;
      const scored = samples.filter(({ score }) => score);
      const other = truth?.score ? `; the truth ≤ ${whole(bits(truth))}` : "";
      let text;
      if (view === "mask") {
        const mask = cutAt(marginal(job));
        text = `Threshold ${threshold.value.toFixed(2)}, ${samples.length} samples: `;
        text += truth ? score(mask, truth.y) : `vessels are ${((100 * sum([...mask])) / side ** 2).toFixed(1)} % of the square.`;
      } else if (view === "drawing" || view === "change") {
        const added = count(drawing.y, (t, k) => t > drawing.base[k]);
        const erased = count(drawing.y, (t, k) => t < drawing.base[k]);
        text = `${added} pixels added, ${erased} erased. `;
        const draws = found && `(mean of ${found.n} draws of noise)`;
        if (!found) text += stroke ? "" : "Counting bits ...";
        else if (!added && !erased) text = `Not yet changed, it costs ≤ ${whole(found.bits)} bits ${draws}.`;
        else {
          const how = { true: "more", false: "fewer" }[found.change > 0];
          text += `It costs ≤ ${whole(found.bits)} bits, what you began with ≤ ${whole(found.begun)}: `;
          text += `${whole(Math.abs(found.change))} ± ${whole(found.error)} ${how}`;
          if (Math.abs(found.change) > 2 * found.error)
            text += `, most of them ${placeOf(found.map.map((t) => (found.change > 0 ? t : -t)), side)}`;
          text += ` ${draws}.`;
        }
      } else if (playing && view === "sample" && scored.length > 1) {
        const all = scored.map(bits);
        text = `${samples.length} samples, ${sample.seconds.toFixed(2)} s each. They cost ≤ ${whole(Math.min(...all))} to ${whole(Math.max(...all))} bits${other}.`;
      } else {
        const own = sample.score ? ` costs ≤ ${whole(bits(sample))} bits, ${sample.score.bits.toFixed(3)} a pixel${other}` : "";
        text = `Seed ${sample.seed}${own}. Sample ${samples.indexOf(sample) + 1} of ${samples.length}, drawn in ${sample.seconds.toFixed(2)} s. `;
        if (truth) text += score(sample.y, truth.y);
      }
      if (page.status.textContent !== text) page.status.textContent = text;
      const marks = { ...(truth?.score ? { truth: bits(truth) } : {}), ...(found ? { yours: found.bits } : {}) };
      page.chart(scored.map((one) => ({ value: bits(one), shown: one === sample })), marks, "bits", 0);
    }
    function score(mask, y) {
      const both = count(mask, (t, k) => t && y[k]);
      const [more, missed] = [sum([...mask]) - both, sum([...y]) - both];
      const f = both + more + missed ? (2 * both) / (2 * both + more + missed) : 1;
      return `F ${f.toFixed(3)}: ${whole(both)} pixels right, ${whole(more)} too many, ${whole(missed)} missed.`;
    }

    if (given.shown || given.from)
      pending = { shown: Math.round(Math.min(Math.max(page.number("shown", 0), 0), 999)), from: given.from, strokes: read(given.pen) };
    flicker.textContent = playing ? "Hold still" : "Flicker";
    allow();
    page.begin();
  }

  start("[data-live-vessels]", build);
})();
