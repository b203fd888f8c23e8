// The page of search results: TeX, which no formula is there, reads as plain text, "log p(y | x)".
(() => {
  "use strict";

  const SIGNS = { mid: "|", le: "≤", leq: "≤", ge: "≥", geq: "≥", times: "×", cdot: "·", to: "→", mapsto: "↦", in: "∈",
    approx: "≈", sum: "∑", int: "∫", prod: "∏", partial: "∂", nabla: "∇", infty: "∞", pm: "±", dots: "…", lVert: "‖", rVert: "‖" };
  "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega".split(" ")
    .forEach((name, k) => { SIGNS[name] = "αβγδεζηθκλμνξπρστφχψω"[k]; });
  SIGNS.varepsilon = SIGNS.epsilon;
  const SILENT = /\\(?:operatorname|math\w+|text\w*|big\w*|left|right|tfrac|frac|qquad|quad|label|boldsymbol)\b\*?/gi;

  const plain = (tex) => tex.replace(/\\[()[\]]|\\(?:begin|end)\{\w+\*?\}/g, "").replace(SILENT, " ").replace(/\\([a-z]+)/gi, (_, name) => SIGNS[name] ?? name)
    .replace(/\\[,;:! \\]?/g, " ").replace(/[{}$&]/g, "").replace(/\s+/g, " ");

  window.PLAIN_TEX = plain;
  document.addEventListener("DOMContentLoaded", () => {
    if (typeof Search === "undefined") return;
    const whole = Search.htmlToText;
    Search.htmlToText = (html, anchor) => {
      const page = new DOMParser().parseFromString(html, "text/html");
      for (const formula of page.querySelectorAll(".math")) formula.textContent = plain(formula.textContent);
      return whole(page.documentElement.outerHTML, anchor);
    };
  });
})();
