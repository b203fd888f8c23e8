// The live super-resolution page. The flow runs in a worker (engine.mjs); this is what a reader sees of it.
(() => {
  "use strict";

  const { make, slider, choice, button, paint, heat, heatBar, link, start } = window.WIDGETS;
  const HERE = document.currentScript.src.replace(/[^/]*$/, "");
  const SIDES = [128, 192, 256]; // of y
  const LONGEST = 768; // pixels of a reader's photograph, which is made smaller
  const AT_ONCE = 16; // samples that are drawn without being asked for
  const MOST = { deviation: [24, "grey levels"], bits: [5, "bits per dimension"] }; // where the colours end
  const VIEWS = { sample: "sample", bits: "its bits", mean: "mean", deviation: "deviation",
    bicubic: "bicubic", truth: "truth", truthBits: "truth's bits" };
  const SAYS = {
    sample: "One sample: one of many pictures that fit the small one.",
    mean: "The mean of the samples: sharp where they agree, blurred where they do not.",
    deviation: "The deviation of the samples: bright where they differ.",
    bits: "Bits per dimension that this sample costs, for each pixel of the small picture.",
    truthBits: "Bits per dimension that the truth costs, for each pixel of the small picture.",
    bicubic: "Bicubic interpolation of the small picture.",
    truth: "The photograph itself, before it was halved.",
  };

  const script = (name) => new Promise((resolve, reject) => {
    const node = make(document.head, "script", { src: HERE + name });
    node.onload = resolve;
    node.onerror = () => reject(new Error(`${name} cannot be loaded`));
  });

  // -- a reader's file ----------------------------------------------------------------------------

  async function opened(file) {
    const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 5).arrayBuffer()));
    if (head === "%PDF-") throw new Error("This is a PDF. Save the page you mean as a picture, or take a screenshot.");
    const name = file.name || "what you gave";
    const picture = await createImageBitmap(file).catch(() => {
      throw new Error(`${name} is not a picture that this browser can read. JPEG, PNG and WebP work.`);
    });
    const [width, height] = [picture.width, picture.height];
    if (width * height > 1e8) throw new Error(`${width} by ${height} pixels is too large: at most 100 megapixels.`);
    if (Math.min(width, height) < 32) throw new Error(`${width} by ${height} pixels is too small: at least 32 a side.`);
    const note = head.startsWith("GIF8") ? "Only the first picture of a GIF is used. " : "";
    let [from, w, h] = [picture, width, height];
    const scale = Math.min(1, LONGEST / Math.max(width, height));
    const end = [Math.round(width * scale), Math.round(height * scale)];
    while (w > end[0] || from === picture) { // by halves: nothing is skipped
      [w, h] = w > 2 * end[0] ? [w >> 1, h >> 1] : end;
      const canvas = make(null, "canvas", { width: w, height: h });
      const context = canvas.getContext("2d");
      Object.assign(context, { fillStyle: "#fff", imageSmoothingQuality: "high" });
      context.fillRect(0, 0, w, h);
      context.drawImage(from, 0, 0, w, h);
      from = canvas;
    }
    return { canvas: from, note: note + (scale < 1 ? `Made smaller, from ${width} by ${height} to ${w} by ${h}. ` : "") };
  }

  // -- the page ------------------------------------------------------------------------------------

  async function build(root) {
    const box = make(null, "div", { className: "live" });
    root.replaceChildren(box);
    const left = make(box, "div", { className: "live-left" });
    const right = make(box, "div", { className: "live-right" });

    const error = make(left, "p", { className: "live-error", hidden: true }, { role: "alert" });
    const thumbs = make(left, "div", { className: "live-thumbs" }, { role: "group", "aria-label": "Photographs" });
    const files = make(left, "div", { className: "live-files" });
    const area = make(left, "div", { className: "live-area" });
    const photo = make(area, "canvas", {}, { role: "img", "aria-label": "Photograph" });
    const square = make(area, "div", { className: "live-square", tabIndex: 0 }, {
      role: "application", "aria-label": "The square. Arrow keys move it; with Shift, further." });
    const note = make(left, "p", { className: "live-note" });
    const settings = make(left, "div", { className: "live-settings" });

    const views = choice(right, { label: "Show", options: VIEWS, value: "sample", onChange: () => (write(), show()) });
    const frame = make(right, "div", { className: "live-frame" });
    const canvas = make(frame, "canvas", {}, { role: "img", "aria-label": "Sample" });
    const bar = make(frame, "div", { className: "live-bar" });
    const legend = make(frame, "div", { className: "live-legend" });
    const says = make(right, "p", { className: "live-says" });
    const status = make(right, "p", { className: "live-status" }, { role: "status" });
    const line = make(right, "div", { className: "live-line" });
    const another = button(line, "Another sample", () => next());
    another.className = "main";
    const hold = button(line, "Hold: bicubic", () => {});
    const more = button(line, "Stop", () => (running ? halt() : draw(AT_ONCE)));
    const axis = make(right, "div", { className: "live-axis" }, { role: "img", "aria-label": "Bits" });
    const given = link.read();
    const number = (name, standard) => (given[name] && isFinite(given[name]) ? Number(given[name]) : standard);
    const tau = slider(right, { label: "temperature", min: 0, max: 1.2, step: 0.1, value: number("tau", 0.8),
      says: (t) => t.toFixed(1), onInput: () => restart() });
    const seedLine = make(right, "div", { className: "live-line live-seed" });
    make(seedLine, "label", { htmlFor: "live-seed", textContent: "seed" });
    const seed = make(seedLine, "input", { type: "number", id: "live-seed", min: 0, max: 999999, step: 1, value: number("seed", 1) });
    const copy = button(seedLine, "Copy a link", () => copyLink());
    const sizes = choice(settings, { label: "Pixels a side", options: Object.fromEntries(SIDES.map((s) => [s, s])),
      value: given.side in Object.fromEntries(SIDES.map((s) => [s, s])) ? given.side : "192", onChange: () => place() });
    const modes = choice(settings, { label: "The model is given the square", options: { halve: "halved", double: "as it is" },
      value: given.mode === "double" ? "double" : "halve", onChange: () => place() });

    let source = null; // {canvas, name, note}
    let [x0, y0] = [number("left", 8), number("top", 20)];
    let job = null; // what is known of the square at hand
    let running = false;
    let shown = 0;
    let held = false;
    let flow = null;
    views.value = given.view;

    const fail = (message) => {
      error.textContent = message;
      error.hidden = !message;
    };

    // -- the photograph and its square

    async function take(canvas, name, text) {
      source = { canvas, name, note: text };
      note.textContent = text;
      fail("");
      thumbs.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", b.dataset.name === name));
      [photo.width, photo.height] = [canvas.width, canvas.height];
      photo.getContext("2d").drawImage(canvas, 0, 0);
      photo.setAttribute("aria-label", `${text} The square on it is what the model is given.`);
      const least = Math.min(canvas.width, canvas.height);
      for (const side of SIDES) sizes.allow(side, side === SIDES[0] || pixels(side) <= least);
      if (sizes.inputs[sizes.value].disabled) sizes.value = SIDES[0];
      place();
    }
    const pixels = (side) => (modes.value === "double" ? side / 2 : side);
    // of the square on the photograph; smaller than asked for on a small photograph
    function extent() {
      const least = Math.min(source.canvas.width, source.canvas.height);
      return Math.min(pixels(Number(sizes.value)), least - (least % 4));
    }
    let later = 0;
    function place() {
      if (!source) return;
      const side = extent();
      x0 = Math.round(Math.min(Math.max(x0, 0), source.canvas.width - side));
      y0 = Math.round(Math.min(Math.max(y0, 0), source.canvas.height - side));
      const part = (n, of) => `${(100 * n) / of}%`;
      Object.assign(square.style, { left: part(x0, photo.width), top: part(y0, photo.height),
        width: part(side, photo.width), height: part(side, photo.height) });
      halt();
      status.textContent = "";
      axis.replaceChildren();
      clearTimeout(later);
      later = setTimeout(() => restart(true), 150);
    }
    function move(event) {
      const by = event.shiftKey ? 32 : 4;
      const steps = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
      if (!(event.key in steps)) return;
      event.preventDefault();
      [x0, y0] = [x0 + steps[event.key][0], y0 + steps[event.key][1]];
      place();
    }
    function drag(event) {
      const scale = photo.width / photo.getBoundingClientRect().width;
      const rectangle = photo.getBoundingClientRect();
      [x0, y0] = [event.clientX - rectangle.left, event.clientY - rectangle.top].map((t) => t * scale - extent() / 2);
      place();
    }
    square.addEventListener("keydown", move);
    area.addEventListener("pointerdown", (event) => {
      if (!source) return;
      area.setPointerCapture(event.pointerId);
      drag(event);
    });
    area.addEventListener("pointermove", (event) => area.hasPointerCapture(event.pointerId) && drag(event));

    // -- drawing

    function halt() {
      flow?.stop();
      running = false;
      more.textContent = "Draw more";
      bar.style.width = 0;
    }

    async function restart(isNew = false) {
      if (!source || !flow) return;
      halt();
      if (isNew) job = null;
      if (job) Object.assign(job, { samples: [], sum: null, squares: null });
      shown = 0;
      write();
      await draw(AT_ONCE);
    }
    function write() {
      if (!source) return;
      link.write({ ...(source.name ? { photo: source.name } : {}), left: x0, top: y0, side: sizes.value,
        mode: modes.value, tau: tau.value, seed: Number(seed.value) + shown, view: views.value });
    }

    function cut() {
      const side = extent();
      const { data } = source.canvas.getContext("2d").getImageData(x0, y0, side, side);
      return { side, values: Float32Array.from({ length: 3 * side * side }, (_, k) => data[4 * Math.floor(k / 3) + (k % 3)]) };
    }

    let turn = 0;
    async function draw(count) {
      const own = ++turn;
      const stale = () => own !== turn;
      running = true;
      more.textContent = "Stop";
      try {
        if (!job) {
          status.textContent = "Computing the features ...";
          const { side, values } = cut();
          const fresh = { samples: [], truth: null };
          if (modes.value === "halve") {
            const x = (await flow.ask("halved", values, side, side)).result;
            Object.assign(fresh, { side, truth: { v: values },
              x: x.map((t) => Math.floor(Math.min(Math.max(t, 0), 255) + 0.5)) });
          } else Object.assign(fresh, { side: 2 * side, x: Float64Array.from(values) });
          const { result, seconds } = await flow.ask("condition", fresh.x, fresh.side / 2, fresh.side / 2);
          if (stale()) return;
          job = Object.assign(fresh, { bicubic: { v: result.bicubic }, seconds });
          for (const view of ["truth", "truthBits"]) views.allow(view, !!job.truth);
          if (!job.truth && views.value.startsWith("truth")) views.value = "sample";
          show();
        }
        for (;;) {
          let one = job.samples.find(({ score }) => !score); // of a drawing that was stopped
          if (!one) {
            if (count-- <= 0) break;
            const here = Number(seed.value) + job.samples.length;
            const { result, seconds } = await flow.ask("sample", here, tau.value);
            if (stale()) return;
            one = { v: result, seed: here, seconds };
            job.samples.push(one);
            gather(one);
            show();
          }
          const score = (await flow.ask("score", rounded(one.v), one.seed)).result;
          if (stale()) return;
          one.score = score;
          if (job.truth && !job.truth.score) {
            const { result } = await flow.ask("score", job.truth.v, 0);
            if (stale()) return;
            job.truth.score = result;
          }
          show();
        }
        running = false;
        more.textContent = "Draw more";
        bar.style.width = 0;
      } catch (problem) {
        if (!stale() && problem.message !== "stopped") fail(`Something went wrong: ${problem.message}`);
      }
    }
    const rounded = (v) => v.map((t) => Math.min(Math.max(Math.floor(t), 0), 255));
    function gather({ v }) {
      job.sum ??= new Float64Array(v.length);
      job.squares ??= new Float64Array(v.length);
      v.forEach((t, k) => {
        t = Math.min(Math.max(t - 0.5, 0), 255);
        job.sum[k] += t;
        job.squares[k] += t * t;
      });
    }
    function next() {
      if (!job) return;
      shown = Math.min(shown + 1, job.samples.length);
      views.value = "sample";
      write();
      if (!running) draw(shown === job.samples.length ? 1 : 0);
      show();
    }

    // -- showing

    function show() {
      if (!job) return;
      const sample = job.samples[Math.min(shown, job.samples.length - 1)];
      const view = held || !sample ? "bicubic" : views.value;
      const { side } = job;
      const n = job.samples.length;
      const grey = (v) => paint(canvas, side, side, (k) => [0, 1, 2].map((c) => v[3 * k + c]));
      const of = { bits: sample, truthBits: job.truth }[view];
      const most = of ? MOST.bits : MOST[view];
      if (view === "mean") grey(job.sum.map((t) => t / n));
      else if (view === "deviation")
        paint(canvas, side, side, (k) => heat(Math.sqrt([0, 1, 2].reduce((sum, c) =>
          sum + Math.max(0, job.squares[3 * k + c] / n - (job.sum[3 * k + c] / n) ** 2), 0) / 3) / most[0]));
      else if (of?.score) paint(canvas, side / 2, side / 2, (k) => heat(of.score.map[k] / most[0]));
      else grey({ bicubic: job.bicubic, truth: job.truth ?? sample }[view]?.v ?? rounded(sample.v));
      legend.hidden = !most;
      legend.replaceChildren();
      if (most) {
        make(legend, "span", { textContent: "0" });
        make(legend, "i").style.background = heatBar;
        make(legend, "span", { textContent: most.join(" ") });
      }
      says.textContent = SAYS[view];
      canvas.setAttribute("aria-label", SAYS[view]);
      if (sample) describe(sample, n);
      chart();
    }
    function describe(sample, n) {
      const bits = sample.score ? `, ${sample.score.bits.toFixed(2)} bits per dimension` : "";
      const truth = job.truth?.score ? `; the truth ${job.truth.score.bits.toFixed(2)}` : "";
      status.textContent = `Seed ${sample.seed}${bits}${truth}. ` +
        `Sample ${job.samples.indexOf(sample) + 1} of ${n}, drawn in ${sample.seconds.toFixed(2)} s.`;
    }
    // the bits of every sample on a line, and of the truth
    function chart() {
      axis.replaceChildren();
      const scored = job.samples.filter(({ score }) => score);
      const values = scored.map(({ score }) => score.bits);
      const truth = job.truth?.score?.bits;
      const all = truth === undefined ? values : [...values, truth];
      if (!all.length) return;
      const [low, high] = [Math.floor(2 * Math.min(...all) - 0.2) / 2, Math.ceil(2 * Math.max(...all) + 0.2) / 2];
      const at = (t) => `${(100 * (t - low)) / (high - low)}%`;
      for (const [t, text] of [[low, low.toFixed(1)], [(low + high) / 2, "bits per dimension"], [high, high.toFixed(1)]])
        make(axis, "span", { textContent: text, className: "tick" }).style.left = at(t);
      scored.forEach((sample) => {
        const dot = make(axis, "i", { className: sample === job.samples[shown] ? "dot is-shown" : "dot" });
        dot.style.left = at(sample.score.bits);
      });
      if (truth !== undefined) {
        const mark = make(axis, "b", { textContent: "truth" });
        mark.style.left = at(truth);
      }
      axis.setAttribute("aria-label", `Bits per dimension of ${values.length} samples, ` +
        `${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}` +
        (truth === undefined ? "." : `; of the truth, ${truth.toFixed(2)}.`));
    }

    const press = (to) => () => {
      if (held === to) return;
      held = to;
      show();
    };
    for (const node of [hold, canvas]) {
      node.addEventListener("pointerdown", press(true));
      for (const end of ["pointerup", "pointerleave", "pointercancel"]) node.addEventListener(end, press(false));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    hold.addEventListener("keydown", ({ key }) => [" ", "Enter"].includes(key) && press(true)());
    hold.addEventListener("keyup", press(false));
    hold.addEventListener("blur", press(false));
    seed.addEventListener("change", () => {
      seed.value = Math.min(Math.max(Math.round(Number(seed.value)) || 0, 0), 999999);
      restart();
    });
    async function copyLink() {
      await navigator.clipboard?.writeText(location.href).catch(() => {});
      copy.textContent = source.name ? "Copied" : "Copied, without your picture";
      setTimeout(() => (copy.textContent = "Copy a link"), 2000);
    }

    // -- where pictures come from

    async function own(file) {
      if (!file) return;
      fail("");
      note.textContent = "Opening ...";
      try {
        const { canvas: picture, note: text } = await opened(file);
        await take(picture, "", `Your picture. ${text}`);
      } catch (problem) {
        note.textContent = source?.note ?? "";
        fail(problem.message);
      }
    }
    for (const [text, more] of [["Your own ...", {}], ["Camera ...", { capture: "environment" }]]) {
      const label = make(files, "label", { className: more.capture ? "file camera" : "file" });
      const input = make(label, "input", { type: "file", accept: "image/*" }, more);
      make(label, "span", { textContent: text });
      input.addEventListener("change", () => own(input.files[0]).then(() => (input.value = "")));
    }
    make(files, "span", { className: "hint", textContent: "or drop or paste one" });
    root.addEventListener("dragover", (event) => event.preventDefault());
    root.addEventListener("drop", (event) => {
      event.preventDefault();
      own(event.dataTransfer.files[0] ?? null);
    });
    document.addEventListener("paste", (event) => own(event.clipboardData.files[0]));

    // -- begin
    status.textContent = "Loading the model ...";
    another.disabled = true;
    try {
      await Promise.all(["engine.mjs", "kernel.mjs", "sr-model.mjs", "photographs.mjs"].map(script));
      flow = window.LIVE.begin(window.LIVE.sr, window.LIVE.kernel, (share) => (bar.style.width = `${100 * share}%`));
      const begin = flow.begun;
      for (const { name, shows, terms, src } of window.LIVE.photographs) {
        const choose = async () => {
          const image = make(null, "img", { src });
          await image.decode();
          const canvas = make(null, "canvas", { width: image.width, height: image.height });
          canvas.getContext("2d").drawImage(image, 0, 0);
          await take(canvas, name, `Photograph of ${shows}, ${terms}.`);
        };
        const thumb = button(thumbs, "", choose);
        thumb.dataset.name = name;
        make(thumb, "img", { src, alt: shows });
        if (name === (given.photo ?? "chelsea")) choose();
      }
      if (!window.LIVE.photographs.some(({ name }) => name === (given.photo ?? "chelsea"))) thumbs.firstChild.click();
      await begin;
      another.disabled = false;
    } catch (problem) {
      status.textContent = "";
      fail(`The model does not start here: ${problem.message}`);
    }
  }

  start("[data-live-super-resolution]", build);
})();
