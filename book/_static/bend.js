// Two pictures to move, on the page about the change of variables. Nothing is loaded from anywhere.
//
//   <div class="bend" data-bend="line">    z = s y + t: the density of y under a straight line
//   <div class="bend" data-bend="plane">   one coupling: a grid and its density, from z to y
//
// Every control is a labelled range input or checkbox, so the keyboard reaches all of it; dragging
// in the picture moves the same inputs. Colours are the theme's (bend.css).
(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const normal = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

  // distribution function of the standard normal (Abramowitz and Stegun 26.2.17, good to 1e-7)
  function cdf(z) {
    const t = 1 / (1 + 0.2316419 * Math.abs(z));
    const series = [0.31938153, -0.356563782, 1.781477937, -1.821255978, 1.330274429];
    const tail = normal(z) * series.reduceRight((sum, c) => (sum + c) * t, 0);
    return z > 0 ? 1 - tail : tail;
  }

  const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
  const range = (low, high, n) =>
    Array.from({ length: n + 1 }, (_, k) => low + ((high - low) * k) / n);
  const signed = (v) => (v < 0 ? "\u2212" : "+") + Math.abs(v).toFixed(2);
  const plain = (v, digits = 2) => (v < 0 ? "\u2212" : "") + Math.abs(v).toFixed(digits);
  const path = (points) => "M" + points.map((p) => p.map((v) => v.toFixed(2)).join(",")).join("L");

  function draw(parent, tag, attributes = {}, text = "") {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  function picture(parent, width, height, label) {
    const svg = draw(parent, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", label);
    return svg;
  }

  // one row of the controls: label, slider, its value
  function slider(parent, name, text, low, high, value, show) {
    const id = `bend-${name}`;
    const label = document.createElement("label");
    label.htmlFor = id;
    label.textContent = text;
    const input = document.createElement("input");
    Object.assign(input, { type: "range", id, min: low, max: high, step: 0.01, value });
    const out = document.createElement("output");
    out.htmlFor = id;
    parent.append(label, input, out);
    const entry = {
      input,
      get value() {
        return Number(input.value);
      },
      set value(v) {
        input.value = v;
        input.dispatchEvent(new Event("input"));
      },
      refresh() {
        out.textContent = show(Number(input.value));
        input.setAttribute("aria-valuetext", out.textContent);
      },
    };
    return entry;
  }

  function controls(root) {
    const box = document.createElement("div");
    box.className = "bend-controls";
    const says = document.createElement("p");
    says.className = "bend-says";
    says.setAttribute("aria-live", "polite");
    root.append(box, says);
    return [box, says];
  }

  function say(node, phrases) {
    node.replaceChildren(
      ...phrases.flatMap((phrase) => {
        const span = document.createElement("span");
        span.textContent = phrase;
        return [span, " "];
      }),
    );
  }

  // where a pointer is, in the units of the viewBox
  function place(svg, event) {
    const p = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = p.matrixTransform(svg.getScreenCTM().inverse());
    return [x, y];
  }

  function draggable(svg, node, moved) {
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    node.addEventListener("pointermove", (event) => {
      if (node.hasPointerCapture(event.pointerId)) moved(...place(svg, event));
    });
  }

  // -- z = s y + t -------------------------------------------------------------------------------

  function line(root) {
    const svg = picture(
      root,
      640,
      470,
      "A straight line from y to z. The standard normal density of z stands at the left, the " +
        "density of y at the bottom; one slice of equal mass is shaded in both.",
    );
    // y in (-4, 4) to the right, z in (-3, 3) upwards
    const X = (y) => 130 + (clamp(y, -4, 4) + 4) * 60;
    const Y = (z) => 20 + (3 - clamp(z, -3, 3)) * 45;
    const below = (p) => 440 - p * 90; // density of y, up to 1.4
    const beside = (p) => 118 - p * 220; // density of z
    draw(svg, "rect", { x: 130, y: 20, width: 480, height: 270, class: "frame" });
    draw(svg, "path", { d: path([[X(-4), Y(0)], [X(4), Y(0)]]), class: "axis" });
    draw(svg, "path", { d: path([[130, 440], [610, 440]]), class: "axis" });
    draw(svg, "path", { d: path([[118, 20], [118, 290]]), class: "axis" });
    for (const v of [-4, -2, 0, 2, 4])
      draw(svg, "text", { x: X(v), y: 459, "text-anchor": "middle" }, plain(v, 0));
    for (const v of [-2, 0, 2])
      draw(svg, "text", { x: 136, y: Y(v) - 4 }, plain(v, 0));
    draw(svg, "text", { x: 24, y: 38 }, "p(z)");
    draw(svg, "text", { x: 134, y: 322 }, "p(y)");
    draw(svg, "text", { x: 590, y: 435 }, "y");
    draw(svg, "text", { x: 138, y: 36 }, "z");
    const across = draw(svg, "path", { class: "way" });
    const down = draw(svg, "path", { class: "way" });
    const sliceZ = draw(svg, "path", { class: "slice" });
    const sliceY = draw(svg, "path", { class: "slice" });
    const densityZ = draw(svg, "path", { class: "density" });
    const densityY = draw(svg, "path", { class: "density" });
    const map = draw(svg, "path", { class: "map" });
    const outer = draw(svg, "circle", { r: 11, class: "dot" });
    const inner = draw(svg, "circle", { r: 11, class: "dot inner" });
    densityZ.setAttribute("d", path(range(-3, 3, 120).map((z) => [beside(normal(z)), Y(z)])));
    const half = range(0, 1, 30); // the slice: z from 0 to 1
    sliceZ.setAttribute(
      "d",
      path([[118, Y(0)], ...half.map((z) => [beside(normal(z)), Y(z)]), [118, Y(1)]]) + "Z",
    );

    const [box, says] = controls(root);
    const logS = slider(box, "log-s", "log\u2082 |s|", -1.6, 1.6, 1, signed);
    const shift = slider(box, "t", "shift t", -3, 3, 0, signed);
    const label = document.createElement("label");
    const mirror = document.createElement("input");
    Object.assign(mirror, { type: "checkbox", id: "bend-mirror" });
    label.htmlFor = "bend-mirror";
    label.textContent = "mirrored (s < 0)";
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: "reset" });
    button.className = "bend-button";
    box.append(label, mirror, button);

    const slope = (bits = logS.value) => 2 ** bits * (mirror.checked ? -1 : 1);

    function update() {
      const [s, t] = [slope(), shift.value];
      const y = (z) => (z - t) / s;
      map.setAttribute("d", path(clipped(s, t).map(([a, b]) => [X(a), Y(b)])));
      densityY.setAttribute(
        "d",
        path(range(-4, 4, 320).map((v) => [X(v), below(Math.abs(s) * normal(s * v + t))])),
      );
      const ends = [y(0), y(1)].map((v) => clamp(v, -4, 4)).sort((a, b) => a - b);
      sliceY.setAttribute(
        "d",
        path([
          [X(ends[0]), 440],
          ...range(...ends, 40).map((v) => [X(v), below(Math.abs(s) * normal(s * v + t))]),
          [X(ends[1]), 440],
        ]) + "Z",
      );
      across.setAttribute("d", path([[118, Y(0)], [X(y(0)), Y(0)], [X(y(1)), Y(1)], [118, Y(1)]]) + "Z");
      down.setAttribute(
        "d",
        path([[X(y(0)), Y(0)], [X(y(1)), Y(1)], [X(y(1)), 440], [X(y(0)), 440]]) + "Z",
      );
      for (const [dot, z] of [[inner, 0], [outer, 1]]) {
        dot.setAttribute("cx", X(y(z)));
        dot.setAttribute("cy", Y(z));
      }
      const nats = Math.log(Math.abs(s));
      // the shaded mass in y, added up over thin strips
      const [low, high] = [y(0), y(1)].sort((a, b) => a - b);
      const thin = (high - low) / 200;
      const kept = range(low + thin / 2, high - thin / 2, 199)
        .reduce((sum, v) => sum + Math.abs(s) * normal(s * v + t) * thin, 0);
      say(says, [
        `s = ${plain(s)}, t = ${plain(t)}.`,
        `log-determinant ${signed(nats)} nats = ${signed(nats / Math.LN2)} bits.`,
        `Peak of p(y) ${plain(Math.abs(s) * normal(0))} = ${plain(Math.abs(s))} \u00d7 0.40.`,
        `Shaded mass: ${plain(cdf(1) - cdf(0))} in z, ${plain(kept)} in y.`,
      ]);
      logS.refresh();
      shift.refresh();
    }

    // the line inside the frame
    function clipped(s, t) {
      const ends = [-4, 4, (-3 - t) / s, (3 - t) / s]
        .map((v) => [v, s * v + t])
        .filter(([a, b]) => Math.abs(a) < 4.001 && Math.abs(b) < 3.001)
        .sort((p, q) => p[0] - q[0]);
      return ends.length > 1 ? [ends[0], ends[ends.length - 1]] : [[0, t], [0, t]];
    }

    const fromX = (x) => (x - 130) / 60 - 4;
    draggable(svg, inner, (x) => {
      shift.value = clamp(-slope() * fromX(x), -3, 3);
    });
    draggable(svg, outer, (x) => {
      const at = -shift.value / slope(); // where z = 0 is: it stays there
      const width = fromX(x) - at;
      mirror.checked = width < 0;
      const bits = clamp(-Math.log2(Math.max(Math.abs(width), 1e-3)), -1.6, 1.6);
      shift.input.value = clamp(-slope(bits) * at, -3, 3);
      logS.value = bits;
    });
    button.addEventListener("click", () => {
      mirror.checked = false;
      shift.input.value = 0;
      logS.value = 1;
    });
    for (const node of [logS.input, shift.input, mirror]) node.addEventListener("input", update);
    update();
  }

  // -- one coupling: z_a = y_a, z_b = s(y_a) y_b + t(y_a) ----------------------------------------

  function plane(root) {
    const svg = picture(
      root,
      640,
      350,
      "Left the latent plane with a square grid and a round density; right the same grid and " +
        "density carried to y by the inverse of a coupling. One cell is marked in both.",
    );
    const SCALE = 41;
    const at = (centre) => ([a, b]) => [centre + a * SCALE, 180 - b * SCALE];
    const [left, right] = [at(155), at(485)];
    const defs = draw(svg, "defs");
    for (const [name, x] of [["bend-left", 5], ["bend-right", 335]]) {
      const clip = draw(defs, "clipPath", { id: name });
      draw(clip, "rect", { x, y: 30, width: 300, height: 300 });
      draw(svg, "rect", { x, y: 30, width: 300, height: 300, class: "frame" });
    }
    draw(svg, "text", { x: 155, y: 20, "text-anchor": "middle" }, "z: round, square grid");
    draw(svg, "text", { x: 485, y: 20, "text-anchor": "middle" }, "y: bent with its grid");
    const groups = [draw(svg, "g", { "clip-path": "url(#bend-left)" })];
    groups.push(draw(svg, "g", { "clip-path": "url(#bend-right)" }));

    const EDGES = range(-2.5, 2.5, 10);
    const cells = [];
    for (const a of EDGES.slice(0, -1))
      for (const b of EDGES.slice(0, -1)) {
        const shapes = groups.map((group) => draw(group, "path", { class: "cell" }));
        cells.push([a, b, shapes]);
      }
    const marks = groups.map((group) => draw(group, "path", { class: "marked" }));

    const [box, says] = controls(root);
    const scale = slider(box, "scale", "scale follows y\u2090", -1, 1, 0.6, signed);
    const shift = slider(box, "shift", "shift follows y\u2090\u00b2", -1, 1, 0.35, signed);
    const where = slider(box, "cell", "marked column", 0, 9, 7, (v) => `${Math.round(v) + 1}`);
    where.input.step = 1;
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: "identity" });
    button.className = "bend-button";
    box.append(button);

    const logS = (a) => scale.value * Math.tanh(a);
    const t = (a) => shift.value * (a * a - 1);
    const back = ([a, b]) => [a, (b - t(a)) * Math.exp(-logS(a))];
    function cell(a, b, f) {
      const across = range(a, a + 0.5, 6);
      const points = [...across.map((v) => [v, b]), ...across.reverse().map((v) => [v, b + 0.5])];
      return path(points.map(f)) + "Z";
    }

    function update() {
      const top = normal(0) * normal(0) * Math.E; // the highest density that can be reached
      for (const [a, b, [before, after]] of cells) {
        const p = normal(a + 0.25) * normal(b + 0.25);
        const bent = p * Math.exp(logS(a + 0.25));
        const shade = (v) => (0.06 + 0.94 * (v / top) ** 0.8).toFixed(3);
        before.setAttribute("fill-opacity", shade(p));
        before.setAttribute("d", cell(a, b, left));
        after.setAttribute("fill-opacity", shade(bent));
        after.setAttribute("d", cell(a, b, (v) => right(back(v))));
      }
      const a = EDGES[Math.round(where.value)];
      marks[0].setAttribute("d", cell(a, 0, left));
      marks[1].setAttribute("d", cell(a, 0, (v) => right(back(v))));
      // area and mass in y, added up over thin strips
      const strips = range(a, a + 0.5, 200).slice(0, -1).map((v) => v + 0.00125);
      const heights = strips.map((v) => 0.5 * Math.exp(-logS(v)));
      const area = heights.reduce((sum, v) => sum + v * 0.0025, 0);
      const mass = (cdf(a + 0.5) - cdf(a)) * (cdf(0.5) - cdf(0));
      const centre = a + 0.25;
      say(says, [
        `Marked cell, at its centre:`,
        `s = ${plain(Math.exp(logS(centre)))}, t = ${plain(t(centre))}.`,
        `log-determinant ${signed(logS(centre))} nats.`,
        `Area ${plain(0.25)} of z, ${plain(area)} of y;`,
        `mass ${plain(mass, 3)} in both;`,
        `density ${plain(mass / 0.25, 3)} of z, ${plain(mass / area, 3)} of y.`,
      ]);
      for (const entry of [scale, shift, where]) entry.refresh();
    }

    svg.addEventListener("pointerdown", (event) => {
      const [x] = place(svg, event);
      const a = (x - (x < 320 ? 155 : 485)) / SCALE;
      where.value = clamp(Math.floor((a + 2.5) / 0.5), 0, 9);
    });
    button.addEventListener("click", () => {
      shift.input.value = 0;
      scale.value = 0;
    });
    for (const entry of [scale, shift, where]) entry.input.addEventListener("input", update);
    update();
  }

  function start() {
    for (const root of document.querySelectorAll(".bend[data-bend]"))
      ({ line, plane })[root.dataset.bend](root);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
