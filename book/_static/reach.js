// What is wider than the page scrolls by itself: let the keyboard reach that, and no other formula.
// (The theme does so for code and tables, but only 0.3 s after a change of size.)
// (MathJax would make each a stop of the Tab key; `mathjax3_config` in _config.yml keeps it from that.)
(() => {
  "use strict";

  const BOXES = ['mjx-container[display="true"]', "div.math", ".cell_output"];
  BOXES.push("pre", ".pst-scrollable-table-container", "figure.lettered");
  const chosen = BOXES.map((box) => `.bd-article ${box}`).join();

  function mark() {
    for (const box of document.querySelectorAll(chosen)) {
      const scrolls = box.scrollWidth > box.clientWidth;
      if (scrolls && getComputedStyle(box).overflowX !== "visible") box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  window.addEventListener("load", () => {
    window.addEventListener("resize", mark);
    Promise.resolve(window.MathJax?.startup?.promise).then(mark);
  });
})();
