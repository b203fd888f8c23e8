// What is wider than the page scrolls by itself: let the keyboard reach that, and no other formula.
// (The theme does so for code and tables, but only 0.3 s after a change of size.)
// (MathJax would make each a stop of the Tab key; `mathjax3_config` in _config.yml keeps it from that.)
(() => {
  "use strict";

  const BOXES = ['mjx-container[display="true"]', "div.math", ".cell_output"];
  BOXES.push("pre", ".pst-scrollable-table-container", "figure.lettered");
  const chosen = BOXES.map((box) => `.bd-article ${box}`).join();

  function mark(box) {
    const scrolls = box.scrollWidth > box.clientWidth;
    if (scrolls && getComputedStyle(box).overflowX !== "visible") box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }

  // a box may settle some frames after its window has: it is asked, not the window
  const sizes = new ResizeObserver((changes) => changes.forEach((change) => mark(change.target)));

  window.addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    document.querySelectorAll(chosen).forEach((box) => sizes.observe(box));
  });
})();
