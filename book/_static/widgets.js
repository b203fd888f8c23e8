// What the live parts of the book share: controls with names, pictures on a canvas and in SVG, and a state
// that a link carries; widgets.css gives them the colours of the theme. `WIDGETS.start(selector, build)`
// begins. The small widgets of the lessons (lessons.js) stand in a `frame`: pictures, controls, a sentence.
(() => {
  "use strict";

  const make = (parent, tag, properties = {}, attributes = {}) => {
    const node = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    parent?.append(node);
    return node;
  };

  let names = 0;

  // a slider with its name before it and its value behind it
  function slider(parent, { label, min, max, step, value, says = String, onInput }) {
    const line = make(parent, "div", { className: "widget-slider" });
    const id = `widget-${names++}`;
    make(line, "label", { htmlFor: id, textContent: label });
    const input = make(line, "input", { type: "range", id, min, max, step, value });
    const out = make(line, "output", { htmlFor: id });
    const show = () => {
      out.textContent = says(Number(input.value));
      input.setAttribute("aria-valuetext", out.textContent);
    };
    input.addEventListener("input", () => {
      show();
      onInput?.(Number(input.value));
    });
    show();
    return {
      input,
      get value() { return Number(input.value); },
      set value(to) { input.value = to; show(); },
    };
  }

  // one of a few: radio buttons that look like a row of buttons; options {value: text}
  function choice(parent, { label, options, value, onChange }) {
    const set = make(parent, "fieldset", { className: "widget-choice" });
    make(set, "legend", { textContent: label });
    const row = make(set, "div");
    const name = `widget-${names++}`;
    const inputs = {};
    for (const [key, text] of Object.entries(options)) {
      const one = make(row, "label");
      inputs[key] = make(one, "input", { type: "radio", name, value: key, checked: key === value });
      make(one, "span", { textContent: text });
      inputs[key].addEventListener("change", () => onChange?.(key));
    }
    return {
      inputs,
      get value() { return Object.keys(inputs).find((key) => inputs[key].checked); },
      set value(key) { if (inputs[key]) inputs[key].checked = true; },
      allow(key, may) {
        inputs[key].disabled = !may;
        inputs[key].parentNode.classList.toggle("is-off", !may);
      },
    };
  }

  const button = (parent, text, onClick) => {
    const node = make(parent, "button", { type: "button", textContent: text });
    node.addEventListener("click", onClick);
    return node;
  };

  // colour(k) -> [red, green, blue] of pixel k
  function paint(canvas, width, height, colour) {
    [canvas.width, canvas.height] = [width, height];
    const image = new ImageData(width, height);
    for (let k = 0; k < width * height; k++) image.data.set([...colour(k), 255], 4 * k);
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // black, violet, red, yellow, white: rising in lightness, so that it reads without colour too
  const STOPS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
  function heat(t) {
    const place = Math.min(Math.max(t, 0), 1) * (STOPS.length - 1);
    const low = Math.min(Math.floor(place), STOPS.length - 2);
    return STOPS[low].map((from, c) => from + (place - low) * (STOPS[low + 1][c] - from));
  }
  const heatBar = `linear-gradient(to right, ${STOPS.map((c) => `rgb(${c})`).join()})`;

  // what the address carries behind #, as in #seed=3&tau=0.8
  const link = {
    read: () => Object.fromEntries(location.hash.includes("=")
      ? new URLSearchParams(location.hash.slice(1)) : []),
    write: (state) => {
      try {
        history.replaceState(null, "", `#${new URLSearchParams(state)}`);
      } catch { /* Safari allows a hundred changes in half a minute; a later one gets through */ }
    },
  };

  function start(selector, build) {
    const run = () => document.querySelectorAll(selector).forEach((root) => build(root));
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", run);
    else run();
  }

  // -- numbers -----------------------------------------------------------------------------------

  const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
  const range = (low, high, n) => Array.from({ length: n + 1 }, (_, k) => low + ((high - low) * k) / n);
  const plain = (v, digits = 2) => {
    const text = Math.abs(v).toFixed(digits);
    return (v < 0 && Number(text) ? "\u2212" : "") + text;
  };
  const signed = (v, digits = 2) => (v < 0 ? "\u2212" : "+") + Math.abs(v).toFixed(digits);
  const sum = (numbers) => numbers.reduce((total, v) => total + v, 0);
  const normal = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  const softplus = (w) => Math.max(w, 0) + Math.log1p(Math.exp(-Math.abs(w)));
  const sigmoid = (w) => 1 / (1 + Math.exp(-w));

  // distribution function of the standard normal (Abramowitz and Stegun 26.2.17, good to 1e-7)
  function cdf(z) {
    const t = 1 / (1 + 0.2316419 * Math.abs(z));
    const series = [0.31938153, -0.356563782, 1.781477937, -1.821255978, 1.330274429];
    const tail = normal(z) * series.reduceRight((total, c) => (total + c) * t, 0);
    return z > 0 ? 1 - tail : tail;
  }

  // -- drawings ----------------------------------------------------------------------------------

  function draw(parent, tag, attributes = {}, text = "") {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    parent.appendChild(node);
    return node;
  }
  const path = (points) => "M" + points.map((p) => p.map((v) => v.toFixed(2)).join()).join("L");
  const trace = (node, points, closed = false) => node.setAttribute("d", path(points) + (closed ? "Z" : ""));
  const put = (node, x, y) => { node.setAttribute("cx", x); node.setAttribute("cy", y); };

  // axes in a picture: X and Y lead from numbers to places; `under` is the area under a curve
  function axes(svg, { x, y, box: [left, top, width, height], ticks = [], name = "", title = "" }) {
    const bottom = top + height;
    const X = (v) => left + ((clamp(v, ...x) - x[0]) / (x[1] - x[0])) * width;
    const Y = (v) => bottom - ((clamp(v, ...y) - y[0]) / (y[1] - y[0])) * height;
    draw(svg, "path", { d: path([[left, bottom], [left + width, bottom]]), class: "axis" });
    for (const v of ticks) draw(svg, "text", { x: X(v), y: bottom + 18, "text-anchor": "middle" }, plain(v, v % 1 ? 1 : 0));
    draw(svg, "text", { x: left + width / 2, y: bottom + 36, "text-anchor": "middle" }, name);
    draw(svg, "text", { x: left + width / 2, y: top - 6, "text-anchor": "middle" }, title);
    const curve = (f, low = x[0], high = x[1]) => range(low, high, 160).map((v) => [X(v), Y(f(v))]);
    const under = (f, low, high) => [[X(low), Y(0)], ...curve(f, low, high), [X(high), Y(0)]];
    const back = (at) => x[0] + ((at - left) / width) * (x[1] - x[0]);
    return { X, Y, curve, under, back };
  }

  // a dot that a pointer moves; moved(x, y) in the units of the picture. A finger finds it within 30 units
  function dot(svg, moved, name = "dot") {
    const group = draw(svg, "g", { class: "grip" });
    const parts = [draw(group, "circle", { r: 30, class: "reach" }), draw(group, "circle", { r: 10, class: name })];
    let held = null; // the pointer that holds it; a browser may capture late or not at all, so the window hears it
    group.addEventListener("pointerdown", (event) => {
      group.setPointerCapture(event.pointerId);
      event.preventDefault();
      held = event.pointerId;
    });
    window.addEventListener("pointermove", (event) => {
      if (event.pointerId !== held) return;
      const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      moved(p.x, p.y);
    });
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, (event) => { if (event.pointerId === held) held = null; });
    return (x, y) => parts.forEach((part) => put(part, x, y));
  }

  // a small widget: pictures side by side or stacked, controls, and a sentence that says the values;
  // `shows(update)` draws it, and again after every change
  function frame(root) {
    const pictures = make(root, "div", { className: "widget-pictures" });
    const controls = make(root, "div", { className: "widget-controls" });
    const says = make(root, "p", { className: "widget-says" }, { "aria-live": "polite" });
    let update = () => {};
    const changed = () => update();
    const seen = (share, then) => { // once, when so much of the pictures is in sight
      const watch = new IntersectionObserver(([{ isIntersecting }]) => {
        if (!isIntersecting) return;
        watch.disconnect();
        then();
      }, { threshold: share });
      watch.observe(pictures.firstElementChild ?? pictures); // on a phone the pictures have no box of their own
    };
    const live = (may) => says.setAttribute("aria-live", may ? "polite" : "off"); // off while something moves
    return {
      pictures,
      controls,
      changed,
      picture(width, height, label) {
        const box = { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": label };
        return draw(pictures, "svg", box);
      },
      slider: (options) => slider(controls, { ...options, onInput: changed }),
      choice: (options) => choice(controls, { ...options, onChange: changed }),
      button: (text, onClick) => button(controls, text, () => { onClick(); changed(); }),
      live,
      seen,
      say: (...phrases) => { says.textContent = phrases.join(" "); },
      shows(draws) { update = draws; changed(); },
      // One loop of some seconds: moved(phase), from 0 to 1, which is 0 again. It runs at a press of `Play`, and once
      // when the widget is first seen, but for readers who want no motion; whatever the reader does stops it.
      loop(seconds, moved) {
        let [frame, touched] = [0, false];
        const stop = (back) => {
          touched = true;
          if (!frame) return;
          cancelAnimationFrame(frame);
          frame = 0;
          live(true);
          if (back) moved(0);
          changed();
        };
        const play = () => {
          let begin;
          const move = (now) => {
            begin ??= now;
            const phase = (now - begin) / (1000 * seconds);
            if (phase >= 1) return stop(true);
            moved(phase);
            changed();
            frame = requestAnimationFrame(move);
          };
          live(false);
          frame = requestAnimationFrame(move);
        };
        for (const event of ["pointerdown", "keydown"]) root.addEventListener(event, () => stop(true), true);
        root.addEventListener("input", () => stop(false), true);
        button(controls, "Play", play);
        if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
        seen(0.6, () => setTimeout(() => touched || play(), 1000));
      },
    };
  }

  const numbers = { clamp, range, plain, signed, sum, normal, cdf, softplus, sigmoid };
  const drawings = { draw, path, trace, put, axes, dot, frame };
  window.WIDGETS = { make, slider, choice, button, paint, heat, heatBar, link, start, ...numbers, ...drawings };
})();
