// What the live parts of the book share: controls with names, pictures on a canvas, and a state that a
// link carries; widgets.css gives them the colours of the theme. `WIDGETS.start(selector, build)` begins.
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
    write: (state) => history.replaceState(null, "", `#${new URLSearchParams(state)}`),
  };

  function start(selector, build) {
    const run = () => document.querySelectorAll(selector).forEach((root) => build(root));
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", run);
    else run();
  }

  window.WIDGETS = { make, slider, choice, button, paint, heat, heatBar, link, start };
})();
