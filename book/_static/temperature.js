// One sample of the super-resolution flow, the same noise at eleven temperatures, beside the truth; on
// the page about temperature. The tiles are in temperature.png, the numbers in temperature-numbers.js;
// tools/temperature.py makes both. Nothing is loaded from anywhere.
(() => {
  "use strict";

  const COLUMNS = 4;
  const ROWS = 3;
  const signed = (v) => (v < 0 ? "\u2212" : "+") + Math.abs(v).toFixed(1);

  function make(parent, tag, properties = {}) {
    const node = Object.assign(document.createElement(tag), properties);
    parent.append(node);
    return node;
  }

  // one tile of the sheet, with its name under it
  function picture(parent, name) {
    const figure = make(parent, "div", { className: "temperature-picture" });
    const tile = make(figure, "div", { className: "temperature-tile" });
    tile.setAttribute("role", "img");
    const says = make(figure, "div", { textContent: name });
    return {
      says,
      show(k, label) {
        const [x, y] = [k % COLUMNS, Math.floor(k / COLUMNS)];
        tile.style.backgroundPosition = `${(100 * x) / (COLUMNS - 1)}% ${(100 * y) / (ROWS - 1)}%`;
        tile.setAttribute("aria-label", label);
      },
    };
  }

  function build(root, rows) {
    const pair = make(root, "div", { className: "temperature-pair" });
    const sample = picture(pair, "");
    picture(pair, "truth").show(rows.length, "The truth: an eye and the fur of a cat.");
    const line = make(root, "div", { className: "temperature-control" });
    make(line, "label", { htmlFor: "temperature", textContent: "temperature \u03c4" });
    const input = make(line, "input", { type: "range", id: "temperature" });
    Object.assign(input, { min: 0, max: 1, step: 0.1, value: 0.8 });
    const out = make(line, "output", { htmlFor: "temperature" });
    const says = make(root, "p", { className: "temperature-says" });
    says.setAttribute("aria-live", "polite");

    function update() {
      const k = Math.round(10 * Number(input.value));
      const { tau, psnr, power } = rows[k];
      out.textContent = tau.toFixed(1);
      input.setAttribute("aria-valuetext", out.textContent);
      sample.says.textContent = `one sample at ${tau.toFixed(1)}`;
      sample.show(k, `The same crop, one sample of the flow at temperature ${tau.toFixed(1)}.`);
      says.textContent =
        `PSNR ${psnr.toFixed(1)} dB (luma). Fine texture, the power beyond a quarter cycle a pixel: ` +
        `${signed(power)} dB against the truth.`;
    }
    input.addEventListener("input", update);
    update();
  }

  function start() {
    for (const root of document.querySelectorAll("[data-temperature]"))
      build(root, window.TEMPERATURES);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
