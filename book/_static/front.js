// The front page: a press on a picture shows the next sample of it. The samples stand side by side in one file.
document.addEventListener("DOMContentLoaded", () => {
  for (const panel of document.querySelectorAll(".second-answer")) {
    const button = panel.querySelector("button"), says = panel.querySelector("output");
    const samples = Number(panel.dataset.samples);
    let shown = 0;
    button.addEventListener("click", () => {
      shown = (shown + 1) % samples;
      button.style.setProperty("--shown", shown);
      says.textContent = `sample ${shown + 1} of ${samples}`;
    });
  }
});
