// A link to what is folded opens it. On a phone the box "In short" is folded, so that the first picture is in sight.
(() => {
  "use strict";

  function open() {
    const goal = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const next = goal?.nextElementSibling;
    let box = goal?.closest("details") ?? (next?.matches("details") ? next : null);
    if (!box) return;
    for (; box; box = box.parentElement.closest("details")) box.open = true;
    goal.scrollIntoView();
  }

  function fold(box) {
    const [title, ...lines] = box.children;
    const [details, summary] = ["details", "summary"].map((name) => document.createElement(name));
    summary.className = title.className;
    summary.append(...title.childNodes);
    details.append(summary, ...lines);
    box.replaceChildren(details);
  }

  addEventListener("hashchange", open);
  document.addEventListener("DOMContentLoaded", () => {
    if (matchMedia("(max-width: 600px)").matches)
      document.querySelectorAll(".admonition.in-short").forEach(fold);
    open();
  });
})();
