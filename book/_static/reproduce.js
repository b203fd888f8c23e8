// "Reproduce a number": every row of the results is in the page, and a box finds it. Nothing is loaded.
//
//   <div class="finder"> and <script type="application/json" id="finder-rows">
//
// A word must be in a row's id or words; a number must begin the value as it is printed, and where it
// is all of it, the row comes first. ?row=ID in the address shows that row. Answers are details elements, so the keyboard reaches all of them.
(() => {
  "use strict";
  const MOST = 25;

  function add(parent, tag, text = "", name = "") {
    const node = document.createElement(tag);
    if (name) node.className = name;
    node.textContent = text;
    parent.append(node);
    return node;
  }

  // the data keep each text once (numbers are places in the list of texts, § is the name of the run), and what rows share
  function read(node) {
    const { texts, heads, kinds, groups } = JSON.parse(node.textContent);
    return groups.flatMap(([before, rest, head, facts, rows]) => {
      const text = (place) => texts[place].replaceAll("§", before.split("/")[0]);
      return rows.map(([kind, value, number]) => {
        const [own, first, within] = kinds[kind];
        const row = { id: `${before}/${texts[own]}`, value, what: [first, ...rest].map(text).join("; ") };
        const expect = `${number}, ${texts[within]}`;
        row.facts = heads[head].map((name, i) => [name, facts[i] < 0 ? expect : text(facts[i])]);
        row.number = value.replace(/^≤ /, "");
        row.all = `${row.id} ${value} ${row.what} `.toLowerCase();
        return row;
      });
    });
  }

  const isNumber = (word) => /^\d*\.\d+$|^\d+\.?$/.test(word);
  const has = (row, word) =>
    isNumber(word) ? row.number.startsWith(word) || row.all.includes(` ${word} `) : row.all.includes(word);

  function search(rows, text) {
    const exact = rows.filter((row) => row.id === text);
    if (exact.length) return exact;
    const words = text.toLowerCase().replace("≤", " ").split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const found = rows.filter((row) => words.every((word) => has(row, word)));
    const whole = (row) => words.includes(row.number.split(" ")[0]);
    return [...found.filter(whole), ...found.filter((row) => !whole(row))];
  }

  function show(row, list, open) {
    const box = add(list, "details", "", "claim found");
    box.open = open;
    const head = add(box, "summary");
    add(head, "b", row.value);
    head.append(` ${row.what.replaceAll("; ", " · ")}`);
    const facts = add(box, "dl");
    add(facts, "dt", "row");
    add(add(facts, "dd"), "code", row.id);
    for (const [name, text] of row.facts) {
      add(facts, "dt", name);
      const cell = add(facts, "dd");
      const line = name === "command" ? `python -m cnf results audit ${row.id}` : text;
      if (!/^(python|torchrun) /.test(line)) add(cell, "span", line);
      else line.split(" ").reduce((code, word) => { add(code, "span", word, "pre"); code.append(" "); return code; }, add(cell, "code"));
    }
  }

  function start(root) {
    const rows = read(document.getElementById("finder-rows"));
    const input = root.querySelector("input");
    const says = root.querySelector(".finder-says");
    const list = root.querySelector(".finder-list");
    function update() {
      const text = input.value.trim();
      const found = search(rows, text);
      list.replaceChildren();
      for (const row of found.slice(0, MOST)) show(row, list, found.length === 1);
      const more = found.length > MOST ? `, the first ${MOST} are shown: add a word` : "";
      const count = found.length === 1 ? "one row" : `${found.length} rows`;
      says.textContent = text ? `${count} of ${rows.length}${more}` : `${rows.length} rows`;
    }
    input.addEventListener("input", update);
    input.value = new URLSearchParams(location.search).get("row") ?? "";
    root.classList.add("ready");
    update();
    if (input.value) root.scrollIntoView();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.querySelector(".finder");
    if (root) start(root);
  });
})();
