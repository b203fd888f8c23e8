// A formula wider than the page scrolls by itself: let the keyboard reach it, and no other formula.
// (MathJax would make each a stop of the Tab key; `mathjax3_config` in _config.yml keeps it from that.)
(() => {
  "use strict";

  function mark() {
    for (const node of document.querySelectorAll('.bd-article mjx-container[display="true"]')) {
      const box = node.parentElement.scrollWidth > node.parentElement.clientWidth ? node.parentElement : node;
      box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
    }
  }

  window.addEventListener("load", () => {
    if (!window.MathJax?.startup) return;
    window.MathJax.startup.promise.then(mark);
    window.addEventListener("resize", mark);
  });
})();
