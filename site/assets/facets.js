// Filters. A form.facets has checkboxes (name = facet, value) and perhaps a search field "q". Every [data-item] on the
// page with data-<facet> obeys them: table rows, points of charts, and header cells, which take their column along.
// Nothing ticked in a facet means everything. What is chosen stands in the address.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.facets");
  if (!form) return;
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const search = form.querySelector("input[type=search]");
  const names = [...new Set(boxes.map((box) => box.name))];
  const items = [...document.querySelectorAll("[data-item]")];
  const count = document.querySelector("[data-count]");
  const reset = form.querySelector("button[type=reset]");

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    sok.set(Object.fromEntries([...names, "q"].map((name) => [name, ""])));
  });
  form.addEventListener("change", (event) => {
    if (event.target === search) return;
    const name = event.target.name;
    sok.set({[name]: boxes.filter((box) => box.name === name && box.checked).map((box) => box.value)});
  });
  if (search) search.addEventListener("input", () => sok.set({q: search.value.trim()}, true));

  function columns(header, shown) {
    const place = [...header.parentNode.children].indexOf(header);
    for (const row of header.closest("table").rows) {
      if (!row.classList.contains("group") && row.cells[place]) row.cells[place].classList.toggle("off", !shown);
    }
  }

  sok.watch(() => {
    const wanted = Object.fromEntries(names.map((name) => [name, new Set(sok.list(name))]));
    const words = sok.get("q").toLowerCase().split(/\s+/).filter(Boolean);
    boxes.forEach((box) => { box.checked = wanted[box.name].has(box.value); });
    if (search && document.activeElement !== search) search.value = sok.get("q");
    let shown = 0, rows = 0;
    for (const item of items) {
      const fits = names.every((name) => {
        const own = item.dataset[name];
        return own === undefined || wanted[name].size === 0 || wanted[name].has(own);
      });
      const row = item.tagName === "TR";
      const found = !row || words.every((word) => item.textContent.toLowerCase().includes(word));
      if (item.tagName === "TH") columns(item, fits);
      else item.classList.toggle("off", !(fits && found));
      if (row && count && item.closest("table").id === count.dataset.count) { rows += 1; shown += fits && found; }
    }
    for (const body of document.querySelectorAll("tbody[data-group]")) {
      body.classList.toggle("off", !body.querySelector("tr[data-item]:not(.off)"));
    }
    if (count) count.textContent = shown === rows ? rows + " rows" : shown + " of " + rows + " rows";
    if (reset) reset.hidden = !words.length && names.every((name) => wanted[name].size === 0);
  });
});
