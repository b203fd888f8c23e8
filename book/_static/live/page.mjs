// What the live pages share: a photograph with a square on it, files of a reader, samples that come one after
// the other from a worker (engine.mjs), their bits on a line, the seed and the link. A page is
// `LIVE.page(root, its)`, which returns what `its` functions read:
//   model, pictures, first: names of the scripts' values; the picture a page begins with
//   name: the key of a picture in the link
//   sides, side: pixels a side of y, and which at first; extent(side): then of the square on the photograph
//   views, says: of what is shown; names and sentences
//   longest, least, fitted(canvas): sides of a reader's picture, which is made smaller; then {canvas, note} of it
//   prepare(cut, ask): of a square {side, values} the job: {side, x, ...}, truth: {y} if it is known
//   temperature(), labels(v), gather(job, one)
//   conditioned(job, result), came(job), moved(), next(): events;  mayHold(): whether the picture may be held
//   state(): more for the link;  show(job): draws what is shown, and says what that is
(() => {
  "use strict";

  const { make, choice, button, link } = window.WIDGETS;
  const HERE = document.currentScript.src.replace(/[^/]*$/, "");
  const AT_ONCE = 16; // samples that are drawn without being asked for

  const script = (name) => new Promise((resolve, reject) => {
    const node = make(document.head, "script", { src: HERE + name });
    node.onload = resolve;
    node.onerror = () => reject(new Error(`${name} cannot be loaded`));
  });

  // -- a reader's file ----------------------------------------------------------------------------

  // a picture at another size; made smaller by halves: nothing is skipped
  function resized(from, width, height) {
    for (let [w, h] = [from.width, from.height], first = true; first || w !== width; first = false) {
      [w, h] = w > 2 * width ? [w >> 1, h >> 1] : [width, height];
      const canvas = make(null, "canvas", { width: w, height: h });
      const context = canvas.getContext("2d");
      Object.assign(context, { fillStyle: "#fff", imageSmoothingQuality: "high" });
      context.fillRect(0, 0, w, h);
      context.drawImage(from, 0, 0, w, h);
      from = canvas;
    }
    return from;
  }
  async function opened(file, longest, least) {
    const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 5).arrayBuffer()));
    if (head === "%PDF-") throw new Error("This is a PDF. Save the page you mean as a picture, or take a screenshot.");
    const name = file.name || "what you gave";
    const picture = await createImageBitmap(file).catch(() => {
      throw new Error(`${name} is not a picture that this browser can read. JPEG, PNG and WebP work.`);
    });
    const [width, height] = [picture.width, picture.height];
    if (width * height > 1e8) throw new Error(`${width} by ${height} pixels is too large: at most 100 megapixels.`);
    if (Math.min(width, height) < least) throw new Error(`${width} by ${height} pixels is too small: at least ${least} a side.`);
    const note = head.startsWith("GIF8") ? "Only the first picture of a GIF is used. " : "";
    const scale = Math.min(1, longest / Math.max(width, height));
    const [w, h] = [width, height].map((side) => Math.round(side * scale));
    if (Math.min(w, h) < least) throw new Error(`${width} by ${height} pixels is too narrow for its length: crop it first.`);
    const canvas = resized(picture, w, h);
    picture.close();
    return { canvas,
      note: note + (scale < 1 ? `Made smaller, from ${width} by ${height} to ${w} by ${h}. ` : "") };
  }

  // -- bits on a line -----------------------------------------------------------------------------

  // dots [{value, shown}] and marks {name: value}
  function chart(axis, dots, marks, unit, digits) {
    axis.replaceChildren();
    const values = dots.map(({ value }) => value);
    const all = [...values, ...Object.values(marks)];
    if (!all.length) return;
    const step = 10 ** Math.floor(Math.log10(Math.max(0.1, ...all.map(Math.abs)) / 2)) / 2;
    const [low, high] = [Math.floor(Math.min(...all) / step - 0.4) * step, Math.ceil(Math.max(...all) / step + 0.4) * step];
    const at = (t) => `${(100 * (t - low)) / (high - low)}%`;
    const says = (t) => t.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    for (const [t, text] of [[low, says(low)], [(low + high) / 2, unit], [high, says(high)]])
      make(axis, "span", { textContent: text, className: "tick" }).style.left = at(t);
    for (const { value, shown } of dots)
      make(axis, "i", { className: shown ? "dot is-shown" : "dot" }).style.left = at(value);
    for (const [name, value] of Object.entries(marks)) make(axis, "b", { textContent: name }).style.left = at(value);
    axis.setAttribute("aria-label", `${unit}: ${values.length} samples, ${says(Math.min(...values))} to ${says(Math.max(...values))}` +
      Object.entries(marks).map(([name, value]) => `; ${name}, ${says(value)}`).join("") + ".");
  }

  // -- the page -----------------------------------------------------------------------------------

  window.LIVE ??= {};
  window.LIVE.page = function (root, its) {
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

    const given = link.read();
    const number = (name, standard) => (given[name] && isFinite(given[name]) ? Number(given[name]) : standard);
    const views = choice(right, { label: "Show", options: its.views, value: "sample", onChange: () => (write(), show()) });
    const frame = make(right, "div", { className: "live-frame" });
    const canvas = make(frame, "canvas", {}, { role: "img", "aria-label": "Sample" });
    const bar = make(frame, "div", { className: "live-bar" });
    const legend = make(frame, "div", { className: "live-legend is-empty" });
    const says = make(right, "p", { className: "live-says" });
    const status = make(right, "p", { className: "live-status" }, { role: "status" });
    const line = make(right, "div", { className: "live-line" });
    const another = button(line, "Another sample", () => next());
    another.className = "main";
    const hold = button(line, `Hold: ${its.held}`, () => {});
    const more = button(line, "Stop", () => (page.running ? halt() : draw(AT_ONCE)));
    const axis = make(right, "div", { className: "live-axis" }, { role: "img", "aria-label": "Bits" });
    const controls = make(right, "div", { className: "live-controls" });
    const seedLine = make(right, "div", { className: "live-line live-seed" });
    make(seedLine, "label", { htmlFor: "live-seed", textContent: "seed" });
    const seed = make(seedLine, "input", { type: "number", id: "live-seed", min: 0, max: 999999, step: 1 });
    const seedOf = (text) => Math.min(Math.max(Math.round(Number(text)) || 0, 0), 999999);
    seed.value = seedOf(number("seed", 1));
    const copy = button(seedLine, "Copy a link", () => copyLink());
    button(seedLine, "Save as PNG", () => savePicture());
    const named = Object.fromEntries(its.sides.map((side) => [side, side]));
    const sizes = choice(settings, { label: "Pixels a side", options: named,
      value: given.side in named ? given.side : String(its.side), onChange: () => place() });

    let later = 0;
    let turn = 0;
    let [x0, y0] = [number("left", its.left), number("top", its.top)];
    const page = {
      settings, controls, line, views, frame, canvas, legend, status, given, number, seed,
      source: null, // {canvas, name, note, ...}
      job: null, // what is known of the square at hand
      running: false,
      held: false,
      shown: 0, // which sample
      get sample() { return page.job?.samples[Math.min(page.shown, page.job.samples.length - 1)]; },
      async ask(...task) {
        const answer = await flow.ask(...task);
        if (!page.running) rest();
        return answer;
      },
      chart: (...of) => chart(axis, ...of),
      scale(low, colours, high) { // a legend: colours from low to high
        make(legend, "span", { textContent: low });
        make(legend, "i").style.background = colours;
        make(legend, "span", { textContent: high });
      },
      place, restart, write, show, script, fail,
    };
    let flow = null;
    let broken = ""; // why no flow runs here

    function fail(message) {
      error.textContent = message || broken;
      error.hidden = !error.textContent;
    }

    // -- the photograph and its square

    async function take(source) {
      page.source = source;
      note.textContent = source.note;
      thumbs.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", b.dataset.name === source.name));
      [photo.width, photo.height] = [source.canvas.width, source.canvas.height];
      photo.getContext("2d").drawImage(source.canvas, 0, 0);
      photo.setAttribute("aria-label", `${source.note} The square on it is what the model is given.`);
      const least = Math.min(photo.width, photo.height);
      for (const side of its.sides) sizes.allow(side, side === its.sides[0] || its.extent(side) <= least);
      if (sizes.inputs[sizes.value].disabled) sizes.value = its.sides[0];
      place();
    }
    // of the square on the photograph; smaller than asked for on a small photograph
    function extent() {
      const least = Math.min(photo.width, photo.height);
      return Math.min(its.extent(Number(sizes.value)), least - (least % 4));
    }
    function place() {
      if (!page.source) return;
      const side = extent();
      x0 = Math.round(Math.min(Math.max(x0, 0), photo.width - side));
      y0 = Math.round(Math.min(Math.max(y0, 0), photo.height - side));
      const part = (n, of) => `${(100 * n) / of}%`;
      Object.assign(square.style, { left: part(x0, photo.width), top: part(y0, photo.height),
        width: part(side, photo.width), height: part(side, photo.height) });
      halt();
      fail("");
      status.textContent = "";
      axis.replaceChildren();
      its.moved?.();
      clearTimeout(later);
      later = setTimeout(() => restart(true), 150);
    }
    square.addEventListener("keydown", (event) => {
      const by = event.shiftKey ? 32 : 4;
      const steps = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
      if (!(event.key in steps)) return;
      event.preventDefault();
      [x0, y0] = [x0 + steps[event.key][0], y0 + steps[event.key][1]];
      place();
    });
    function drag(event) {
      const rectangle = photo.getBoundingClientRect();
      const scale = photo.width / rectangle.width;
      [x0, y0] = [event.clientX - rectangle.left, event.clientY - rectangle.top].map((t) => t * scale - extent() / 2);
      place();
    }
    area.addEventListener("pointerdown", (event) => {
      if (!page.source) return;
      area.setPointerCapture(event.pointerId);
      drag(event);
    });
    area.addEventListener("pointermove", (event) => event.buttons & 1 && page.source && drag(event));

    // -- drawing samples

    function rest() {
      page.running = false;
      more.textContent = "Draw more";
      bar.style.width = 0;
    }
    function halt() {
      flow?.stop();
      rest();
    }
    async function restart(isNew = false) {
      if (!page.source || !flow) return;
      halt();
      if (isNew) page.job = null;
      if (page.job) Object.assign(page.job, { samples: [], sum: null, squares: null });
      page.shown = 0;
      write();
      await draw(AT_ONCE);
    }
    function write() {
      const { source } = page;
      if (!source) return;
      const state = its.state();
      link.write({ ...(source.name ? { [its.name]: source.name } : {}), left: x0, top: y0, side: sizes.value, ...state,
        seed: state.seed ?? Number(seed.value) + page.shown, view: views.value });
    }
    function cut() {
      const side = extent();
      const { data } = page.source.canvas.getContext("2d").getImageData(x0, y0, side, side);
      return { side, left: x0, top: y0,
        values: Float32Array.from({ length: 3 * side * side }, (_, k) => data[4 * Math.floor(k / 3) + (k % 3)]) };
    }
    async function draw(count) {
      const own = ++turn;
      const ask = async (...task) => {
        const { result, seconds } = await flow.ask(...task);
        if (own !== turn) throw new Error("stopped");
        return { result, seconds };
      };
      page.running = true;
      more.textContent = "Stop";
      try {
        if (!page.job) {
          status.textContent = "Computing the features ...";
          const fresh = Object.assign(await its.prepare(cut(), ask), { samples: [] });
          const side = Math.sqrt(fresh.x.length / 3);
          its.conditioned?.(fresh, (await ask("condition", fresh.x, side, side)).result);
          page.job = fresh;
          count = Math.max(count, page.shown + 1); // a link's sample may be a later one
          for (const view of ["truth", "truthBits"]) if (view in its.views) views.allow(view, !!fresh.truth);
          if (!fresh.truth && views.value.startsWith("truth")) views.value = "sample";
          show();
        }
        const { job } = page;
        for (;;) {
          let one = job.samples.find(({ score }) => !score); // of a drawing that was stopped
          if (!one) {
            if (count-- <= 0) break;
            const here = Number(seed.value) + job.samples.length;
            const { result, seconds } = await ask("sample", here, its.temperature(), its.degrees?.() ?? 0);
            one = { v: result, y: its.labels(result), seed: here, seconds };
            job.samples.push(one);
            its.gather(job, one);
            show();
          }
          one.score = (await ask("score", one.y, one.seed)).result;
          if (job.truth && !job.truth.score) job.truth.score = (await ask("score", job.truth.y, 0)).result;
          its.came?.(job);
          show();
        }
        rest();
      } catch (problem) {
        if (own !== turn || problem.message === "stopped") return;
        rest();
        status.textContent = "";
        fail(`Something went wrong: ${problem.message}`);
      }
    }
    function next() {
      if (!page.job) return;
      page.shown = Math.min(page.shown + 1, page.job.samples.length);
      views.value = "sample";
      its.next?.();
      write();
      if (!page.running) draw(page.shown === page.job.samples.length ? 1 : 0);
      show();
    }
    function show() {
      if (!page.job) return;
      legend.replaceChildren();
      const text = its.show(page.job);
      legend.classList.toggle("is-empty", !legend.childNodes.length);
      says.textContent = text;
      canvas.setAttribute("aria-label", text);
    }

    // -- what is held, the seed, the link

    const press = (to) => () => {
      if (page.held === to) return;
      page.held = to;
      show();
    };
    for (const node of [hold, canvas]) {
      node.addEventListener("pointerdown", () => (node === hold || its.mayHold?.() !== false) && press(true)());
      for (const end of ["pointerup", "pointerleave", "pointercancel"]) node.addEventListener(end, press(false));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    hold.addEventListener("keydown", ({ key }) => [" ", "Enter"].includes(key) && press(true)());
    hold.addEventListener("keyup", press(false));
    hold.addEventListener("blur", press(false));
    seed.addEventListener("change", () => {
      seed.value = seedOf(seed.value);
      restart();
    });
    // a link that is opened where the page is open; its own changes of the address tell nobody
    window.addEventListener("hashchange", () => location.hash.includes("=") && location.reload());
    async function copyLink() {
      write();
      const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
      copy.textContent = (copied ? "Copied" : "See the address bar") + (page.source?.name === "" ? ", without your picture" : "");
      setTimeout(() => (copy.textContent = "Copy a link"), 2000);
    }
    // what is shown, pixel by pixel
    function savePicture() {
      if (!page.job) return;
      const name = `${its.model}-${views.value}-seed${page.sample?.seed ?? seed.value}.png`;
      canvas.toBlob((blob) => {
        const href = URL.createObjectURL(blob);
        make(null, "a", { href, download: name }).click();
        setTimeout(() => URL.revokeObjectURL(href), 60000);
      });
    }

    // -- where pictures come from

    async function own(file) {
      if (!file) return;
      fail("");
      note.textContent = "Opening ...";
      try {
        const { canvas: picture, note: text } = await opened(file, its.longest, its.least);
        const fitted = its.fitted?.(picture) ?? { canvas: picture, note: "" };
        [x0, y0] = [fitted.canvas.width, fitted.canvas.height].map((side) => (side - its.extent(Number(sizes.value))) / 2);
        await take({ canvas: fitted.canvas, name: "", note: `Your picture. ${text}${fitted.note}` });
      } catch (problem) {
        note.textContent = page.source?.note ?? "";
        fail(problem.message);
      }
    }
    for (const [text, capture] of [["Your own ...", {}], ["Camera ...", { capture: "environment" }]]) {
      const label = make(files, "label", { className: capture.capture ? "file camera" : "file" });
      const input = make(label, "input", { type: "file", accept: "image/*" }, capture);
      make(label, "span", { textContent: text });
      input.addEventListener("change", () => own(input.files[0]).then(() => (input.value = "")));
    }
    make(files, "span", { className: "hint", textContent: "or drop or paste one" });
    // on all of the page: a browser would leave it for a file that misses
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) own(file);
      else fail("That is not a file: save the picture first, then drop the file.");
    });
    document.addEventListener("paste", (event) => own(event.clipboardData.files[0]));

    const pixels = async (src) => {
      const image = make(null, "img", { src });
      await image.decode();
      const found = make(null, "canvas", { width: image.width, height: image.height });
      found.getContext("2d").drawImage(image, 0, 0);
      return found;
    };
    page.begin = async () => {
      views.value = given.view;
      status.textContent = "Loading the model ...";
      another.disabled = more.disabled = true;
      try {
        await Promise.all(["engine.mjs", "kernel.mjs", `${its.model}-model.mjs`, `${its.pictures}.mjs`].map(script));
        const loading = window.LIVE.begin(window.LIVE[its.model], window.LIVE.kernel, (share) => (bar.style.width = `${100 * share}%`));
        const chosen = new Map();
        for (const { name, shows, note: text, src, truth } of window.LIVE[its.pictures]) {
          const choose = async () => take({ canvas: await pixels(src), name, truth: truth && (await pixels(truth)), note: text });
          chosen.set(name, choose);
          const thumb = button(thumbs, "", choose);
          thumb.dataset.name = name;
          make(thumb, "img", { src, alt: shows });
        }
        if (!page.source) await (chosen.get(given[its.name]) ?? chosen.get(its.first))(); // a reader's own may be there
        await loading.begun;
        flow = loading;
        another.disabled = more.disabled = false;
        place();
      } catch (problem) {
        status.textContent = "";
        fail(broken = `The model does not start here: ${problem.message}`);
      }
    };
    return page;
  };
  window.LIVE.resized = resized;
})();
