// Sorting by header and taking tables along as CSV, LaTeX (booktabs) or Markdown. Works on any server-made table:
// th[data-key] can be sorted; td[data-v] is the value to sort by, td[data-ci] an interval "low;high" beside it.
"use strict";

(() => {
  const valueOf = (cell) => (cell ? (cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim()) : "");

  function compare(a, b, numeric, sign) {
    if (numeric) {
      const x = a === "" ? NaN : Number(a), y = b === "" ? NaN : Number(b);
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);  // what has no value goes last
      return sign * (x - y);
    }
    return sign * a.localeCompare(b, "en", {numeric: true, sensitivity: "base"});
  }

  function prepare(table) {
    const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    const original = [...table.tBodies].map((body) => [...body.rows]);
    headers.forEach((header, column) => {
      if (!header.dataset.key) return;
      const button = sok.el("button", {type: "button", class: "sort"});
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const wanted = {ascending: "desc", descending: ""}[header.getAttribute("aria-sort")];
        const first = header.classList.contains("n") ? "desc" : "asc";
        const order = header.getAttribute("aria-sort") ? (first === "asc" ? wanted : (wanted === "desc" ? "" : "asc")) : first;
        sok.set({sort: order ? [table.id, header.dataset.key, order].join(".") : ""});
      });
      header.dataset.column = column;
    });
    sok.watch(() => {
      const [id, key, order] = sok.get("sort").split(".");
      const header = id === table.id ? headers.find((one) => one.dataset.key === key) : null;
      headers.forEach((one) => one.removeAttribute("aria-sort"));
      if (header) header.setAttribute("aria-sort", order === "desc" ? "descending" : "ascending");
      [...table.tBodies].forEach((body, place) => {
        const rows = [...original[place]];
        if (header) {
          const column = headers.indexOf(header), numeric = header.classList.contains("n");
          const fixed = rows.filter((row) => row.classList.contains("group"));
          const moving = rows.filter((row) => !row.classList.contains("group"));
          moving.sort((a, b) => compare(valueOf(a.cells[column]), valueOf(b.cells[column]), numeric, order === "desc" ? -1 : 1));
          body.append(...fixed, ...moving);
        } else {
          body.append(...rows);
        }
      });
    });
  }

  // the visible table as rows of {text, value, interval}
  function content(table) {
    const visible = (node) => !node.classList.contains("off") && !node.hidden;
    const read = (cell) => ({
      text: (cell.dataset.x !== undefined ? cell.dataset.x : cell.textContent).replace(/\s+/g, " ").replace(/[↕↑↓#]\s*$/, "").trim(),
      value: cell.dataset.v, interval: cell.dataset.ci, numeric: cell.classList.contains("n") || cell.classList.contains("cell"),
    });
    const rows = [...table.querySelectorAll("tbody tr")].filter((row) => visible(row) && visible(row.parentNode) && !row.classList.contains("group"));
    const head = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    return {
      head: head.filter(visible).map(read),
      rows: rows.map((row) => [...row.cells].filter(visible).map(read)),
      caption: table.caption ? table.caption.textContent.replace(/\s+/g, " ").trim() : "",
    };
  }

  function csv({head, rows}) {
    const spans = head.map((_, column) => rows.some((row) => row[column] && row[column].interval));
    // a text that a spreadsheet would run as a formula is defused by a quote mark
    const quote = (text) => {
      const safe = /^[=+@\t\r]|^-(?![\d.])/.test(text) ? "'" + text : text;
      return /[",\n\r]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
    };
    const lines = [head.flatMap((cell, c) => (spans[c] ? [cell.text, cell.text + " low", cell.text + " high"] : [cell.text]))];
    for (const row of rows) {
      lines.push(head.flatMap((_, c) => {
        const cell = row[c] || {text: ""};
        const main = cell.value !== undefined && cell.value !== "" && (cell.numeric || spans[c]) ? cell.value : cell.text;
        return spans[c] ? [main, ...(cell.interval ? cell.interval.split(";") : ["", ""])] : [main];
      }));
    }
    return lines.map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n";
  }

  const LATEX = {"\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "%": "\\%", "#": "\\#", "_": "\\_",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "∞": "$\\infty$", "ℓ": "$\\ell$", "≤": "$\\le$", "–": "--", "±": "$\\pm$"};
  function latex({head, rows, caption}) {
    const safe = (text) => text.replace(/[\\{}$&%#_~^∞ℓ≤–±]/g, (c) => LATEX[c]);
    const line = (cells) => "    " + cells.map((cell) => safe(cell.text)).join(" & ") + " \\\\";
    const columns = head.map((cell) => (cell.numeric ? "r" : "l")).join("");
    return ["\\begin{table}", "  \\centering", "  \\caption{" + safe(caption) + "}", "  \\begin{tabular}{" + columns + "}",
      "    \\toprule", line(head), "    \\midrule", ...rows.map(line), "    \\bottomrule", "  \\end{tabular}", "\\end{table}", ""].join("\n");
  }

  function markdown({head, rows}) {
    const safe = (text) => text.replace(/[\\|`*_<>\[\]]/g, "\\$&");
    const line = (cells) => "| " + cells.map((cell) => safe(cell.text)).join(" | ") + " |";
    return [line(head), "|" + head.map((cell) => (cell.numeric ? " ---: |" : " --- |")).join(""), ...rows.map(line), ""].join("\n");
  }

  sok.exports = {
    csv: (table) => csv(content(table)),
    latex: (table) => latex(content(table)),
    markdown: (table) => markdown(content(table)),
  };

  // the same buttons as below server-made tables, for tables that scripts make
  sok.tools = (id, file, ...before) => sok.el("div", {class: "tools"}, ...before, sok.el("span", {}, "Copy as"),
    [["csv", "CSV"], ["latex", "LaTeX"], ["markdown", "Markdown"], ["csv", "Download CSV", file + ".csv"]].map(([kind, text, save]) =>
      sok.el("button", {type: "button", "data-export": kind, "data-table": id, "data-save": save}, text)));

  addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("table.sortable").forEach(prepare);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-export]");
      if (!button) return;
      const table = document.getElementById(button.dataset.table);
      table.dispatchEvent(new Event("sok:export"));  // a table that shows only its first rows fills up
      const text = sok.exports[button.dataset.export](table);
      if (button.dataset.save) sok.save(text, button.dataset.save, "text/csv");
      else sok.copy(text, button.textContent.trim());
    });
  });
})();
