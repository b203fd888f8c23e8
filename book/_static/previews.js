// Shows what a link to a glossary term or an equation leads to, on hover, focus and tap.
// The first tap shows it, the next follows the link. Escape, or a tap elsewhere, closes it.
(() => {
  "use strict";

  function begin() {
    const article = document.querySelector(".bd-article");
    const previews = new Map();
    for (const one of document.querySelectorAll("template[data-preview]"))
      previews.set(one.dataset.preview, one);
    if (!previews.size) return;
    const box = document.createElement("div");
    Object.assign(box, { className: "preview", id: "preview", role: "tooltip", hidden: true });
    article.append(box);
    let owner = null, timer = 0, wasOpen = false;

    function place() {
      const around = article.getBoundingClientRect(), link = owner.getClientRects()[0];
      const left = Math.min(link.left - around.left, article.clientWidth - box.offsetWidth);
      const isRoomBelow = link.bottom + box.offsetHeight < innerHeight || link.top < box.offsetHeight;
      box.style.left = `${Math.max(0, left)}px`;
      box.style.top = `${(isRoomBelow ? link.bottom : link.top - box.offsetHeight) - around.top}px`;
    }

    function hide() {
      clearTimeout(timer);
      owner?.removeAttribute("aria-describedby");
      owner = null;
      box.hidden = true;
    }

    async function show(link) {
      clearTimeout(timer);
      if (owner === link) return;
      hide();
      owner = link;
      link.setAttribute("aria-describedby", box.id);
      window.MathJax?.typesetClear?.([box]);
      box.replaceChildren(previews.get(link.hash.slice(1)).content.cloneNode(true));
      box.hidden = false;
      place();
      await window.MathJax?.startup?.promise;
      await window.MathJax?.typesetPromise?.([box]);
      if (owner === link) place();
    }

    function later(what, after) {
      clearTimeout(timer);
      timer = setTimeout(what, after);
    }

    for (const link of article.querySelectorAll("a.reference[href*='#']")) {
      if (!previews.has(link.hash.slice(1))) continue;
      link.addEventListener("pointerenter", (e) => e.pointerType === "mouse" && later(() => show(link), 150));
      link.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && later(hide, 250));
      link.addEventListener("pointerdown", () => { wasOpen = owner === link; });
      link.addEventListener("focus", () => show(link));
      link.addEventListener("blur", hide);
      link.addEventListener("click", (e) => {
        if (e.pointerType === "mouse" || !e.pointerType || wasOpen) return;
        e.preventDefault();
        show(link);
      });
    }
    box.addEventListener("pointerenter", () => clearTimeout(timer));
    box.addEventListener("pointerleave", () => later(hide, 250));
    box.addEventListener("mousedown", (e) => e.preventDefault());  // the link keeps the focus
    document.addEventListener("keydown", (e) => e.key === "Escape" && hide());
    document.addEventListener("pointerdown", (e) => {
      if (owner && !box.contains(e.target) && !owner.contains(e.target)) hide();
    });
    window.addEventListener("resize", hide);
  }

  window.addEventListener("DOMContentLoaded", begin);
})();
