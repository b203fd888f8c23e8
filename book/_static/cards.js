// Tables that are lists of cards on a phone: every cell gets the name of its column, which cnf.css shows before it.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".stacked table")) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    for (const cell of table.querySelectorAll("tbody td"))
      if (names[cell.cellIndex] && cell.textContent.trim()) cell.dataset.label = names[cell.cellIndex];
  }
});
