// The inputs behind one cell: ?suite=&dataset=&model=&cell=&status=&by=. Filled from data/<shard>.js.
"use strict";

addEventListener("DOMContentLoaded", async () => {
  const view = document.getElementById("view");
  const {index, group} = await sok.findGroup();
  const cell = group && group.cells.find((one) => one.id === sok.get("cell"));
  const rows = cell ? await sok.shard(group.shard) : null;
  if (!rows) {
    view.replaceChildren(sok.el("p", {}, index && index.groups.length ? "Choose a cell of a table: its number leads here." : "No rows are recorded."));
    return;
  }
  const columns = rows.cells[cell.id];
  const names = index.classes[group.dataset] || [];
  document.title = cell.label + " on " + group.model + " · sokbench";
  document.getElementById("title").textContent = cell.label + " on " + group.model;
  sok.crumb(cell);
  const lead = document.getElementById("lead");
  lead.append(cell.setting + ", suite " + group.suite + ". ",
    sok.el("a", {href: sok.link("compare.html", {suite: group.suite, dataset: group.dataset, model: group.model, setting: cell.setting, a: cell.id})}, "Compare with another method"),
    " · ", sok.el("a", {href: sok.root + "methods/" + cell.page + ".html"}, "About " + cell.method));
  const answer = columns.radius ? "radius" : "margin";
  const data = rows.inputs.map((input, place) => ({
    input, place, label: rows.labels[place], status: columns.status[place],
    seconds: columns.seconds[place], answer: (columns[answer] || [])[place],
  })).filter((one) => one.status !== "-");

  const legend = sok.el("div", {class: "tools", role: "group", "aria-label": "Show only a status"});
  for (const button of [...document.getElementById("legend").content.children]) {
    const copy = button.cloneNode(true), code = copy.dataset.code;
    const count = data.filter((one) => one.status === code).length;
    if (!count) continue;
    copy.querySelector("small").textContent = count;
    copy.addEventListener("click", () => {
      const chosen = new Set(sok.list("status"));
      if (!chosen.delete(copy.dataset.name)) chosen.add(copy.dataset.name);
      sok.set({status: [...chosen]});
    });
    legend.append(copy);
  }
  const keys = [["input", "Input", true], ["label", "Label", false], ["status", "Status", false],
    ["answer", answer === "radius" ? "Certified radius" : "Margin", true], ["seconds", "Time", true]];
  const heads = keys.map(([key, text, numeric]) => {
    const button = sok.el("button", {type: "button", class: "sort"}, text);
    button.addEventListener("click", () => {
      const [now, order] = sok.get("by").split(".");
      sok.set({by: now !== key ? key + ".asc" : (order === "asc" ? key + ".desc" : "")});
    });
    return sok.el("th", {scope: "col", class: numeric ? "n" : null}, button);
  });
  const body = sok.el("tbody");
  const table = sok.el("table", {id: "inputs"},
    sok.el("caption", {}, answer === "margin" ? "Margin: the proved lower bound of the least difference between the label's logit and another; above 0 is verified." : "The largest radius that was certified."),
    sok.el("thead", {}, sok.el("tr", {}, heads)), body);
  const count = sok.el("span", {class: "count", "aria-live": "polite"});
  const more = sok.el("button", {type: "button", hidden: true}, "Show all");
  const tools = sok.tools("inputs", "inputs-" + cell.id, count);
  table.addEventListener("sok:export", () => { limit = Infinity; draw(); });
  view.replaceChildren(legend, tools, sok.el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Inputs"}, table), more);

  let limit = 250;
  more.addEventListener("click", () => { limit = Infinity; draw(); });

  const address = (one) => sok.link("input.html", {suite: group.suite, dataset: group.dataset, model: group.model, setting: cell.setting, input: one.input});
  function draw() {
    const wanted = new Set(sok.list("status"));
    for (const button of legend.children) button.setAttribute("aria-pressed", String(wanted.has(button.dataset.name)));
    const codes = new Set([...legend.children].filter((b) => wanted.has(b.dataset.name)).map((b) => b.dataset.code));
    const shown = data.filter((one) => !codes.size || codes.has(one.status));
    const [key, order] = sok.get("by").split(".");
    heads.forEach((head, place) => {
      if (keys[place][0] === key) head.setAttribute("aria-sort", order === "desc" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    if (key) {
      const sign = order === "desc" ? -1 : 1, missing = (value) => value === null || value === undefined;
      shown.sort((a, b) => (missing(a[key]) - missing(b[key])) || sign * (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0));
    }
    body.replaceChildren(...shown.slice(0, limit).map((one) => sok.el("tr", {id: "input-" + one.input},
      sok.el("th", {scope: "row", class: "n"}, sok.el("a", {href: address(one)}, String(one.input))),
      sok.el("td", {}, names[one.label] || String(one.label)),
      sok.el("td", {}, sok.icon(one.status)),
      sok.el("td", {class: "n", "data-v": one.answer === null ? "" : one.answer}, sok.number(one.answer)),
      sok.el("td", {class: "n", "data-v": one.seconds}, sok.seconds(one.seconds)))));
    count.textContent = shown.length === data.length ? data.length + " inputs" : shown.length + " of " + data.length + " inputs";
    more.hidden = shown.length <= limit;
    more.textContent = "Show all " + shown.length;
  }
  sok.watch(draw);
});
