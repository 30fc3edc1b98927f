// Two methods on the same inputs: ?suite=&dataset=&model=&setting=&a=&b=.
"use strict";

addEventListener("DOMContentLoaded", async () => {
  const {el} = sok;
  const view = document.getElementById("view"), form = document.getElementById("choice");
  const index = await sok.shard("index");
  if (!index || !index.groups.length) { view.replaceChildren(el("p", {}, "No rows are recorded.")); return; }
  const where = (group) => group.model + " · " + group.dataset + " · " + group.suite;
  const key = (group) => JSON.stringify([group.suite, group.dataset, group.model]);

  const chosen = () => {
    const named = index.groups.find((one) => one.suite === sok.get("suite") && one.dataset === sok.get("dataset") && one.model === sok.get("model"));
    // by default the place with most to compare
    const group = named || index.groups.reduce((best, one) => (one.cells.length > best.cells.length ? one : best));
    const proofs = (setting) => group.cells.filter((cell) => cell.setting === setting && cell.kind !== "attack").length;
    const settings = [...new Set(group.cells.map((cell) => cell.setting))].sort((x, y) => proofs(y) - proofs(x));
    const has = (setting, id) => !id || group.cells.some((cell) => cell.setting === setting && cell.id === id);
    const setting = settings.includes(sok.get("setting")) ? sok.get("setting")
      : settings.find((one) => has(one, sok.get("a")) && has(one, sok.get("b"))) || settings[0];
    const cells = group.cells.filter((cell) => cell.setting === setting);
    const provers = cells.filter((cell) => cell.kind !== "attack");
    const a = cells.find((cell) => cell.id === sok.get("a")) || provers[0] || cells[0];
    const b = cells.find((cell) => cell.id === sok.get("b")) || provers.find((cell) => cell !== a) || cells.find((cell) => cell !== a) || a;
    return {group, settings, setting, cells, a, b};
  };
  const fill = (select, options, value) => select.replaceChildren(...options.map(([own, text]) => el("option", {value: own, selected: own === value}, text)));

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    const [suite, dataset, model] = JSON.parse(form.elements.where.value);
    sok.set({suite, dataset, model, setting: form.elements.setting.value, a: form.elements.a.value, b: form.elements.b.value});
  });

  let turn = 0;
  sok.watch(async () => {
    const now = turn += 1;
    const {group, settings, setting, cells, a, b} = chosen();
    fill(form.elements.where, index.groups.map((one) => [key(one), where(one)]), key(group));
    fill(form.elements.setting, settings.map((one) => [one, one]), setting);
    fill(form.elements.a, cells.map((cell) => [cell.id, cell.label]), a.id);
    fill(form.elements.b, cells.map((cell) => [cell.id, cell.label]), b.id);
    const rows = await sok.shard(group.shard);
    if (now !== turn) return;
    if (!rows || a === b) { view.replaceChildren(el("p", {}, "Only one method is recorded in this setting.")); return; }
    show(group, setting, a, b, rows);
  });

  // two-sided exact sign test (exact McNemar) on inputs that only one of them verifies
  function signTest(onlyA, onlyB) {
    const n = onlyA + onlyB, least = Math.min(onlyA, onlyB);
    let term = Math.pow(0.5, n), sum = 0;
    if (term === 0) return Math.abs(onlyA - onlyB) > 4 * Math.sqrt(n) ? 0 : 1;
    for (let k = 0; k <= least; k += 1) { sum += term; term *= (n - k) / (k + 1); }
    return Math.min(1, 2 * sum);
  }

  function show(group, setting, a, b, rows) {
    const A = rows.cells[a.id], B = rows.cells[b.id];
    const both = rows.inputs.map((input, place) => ({input, place, a: A.status[place], b: B.status[place], ta: A.seconds[place], tb: B.seconds[place]}))
      .filter((one) => one.a !== "-" && one.b !== "-");
    const solved = (code) => code === "v" || code === "f";
    const onlyA = both.filter((one) => one.a === "v" && one.b !== "v"), onlyB = both.filter((one) => one.b === "v" && one.a !== "v");
    const clash = both.filter((one) => (one.a === "v" && one.b === "f") || (one.a === "f" && one.b === "v"));
    const p = signTest(onlyA.length, onlyB.length);
    const count = (side, code) => both.filter((one) => one[side] === code).length;
    const address = (one) => sok.link("input.html", {suite: group.suite, dataset: group.dataset, model: group.model, setting, input: one.input});
    const verdict = onlyA.length + onlyB.length === 0 ? "They verify the same inputs."
      : (p < 0.05 ? (onlyA.length > onlyB.length ? a.label : b.label) + " verifies more than chance explains" : "The difference may be chance")
        + " (exact sign test, p = " + (p < 0.0001 ? "< 0.0001" : Number(p.toPrecision(2))) + ").";
    const summary = el("table", {id: "summary"}, el("caption", {}, both.length + " inputs have an answer of both."),
      el("thead", {}, el("tr", {}, ["Method", "verified", "falsified", "only this one verifies", "median time"].map((text, at) => el("th", {scope: "col", class: at ? "n" : null}, text)))),
      el("tbody", {}, [[a, "a", onlyA, "ta"], [b, "b", onlyB, "tb"]].map(([cell, side, only, time]) => el("tr", {},
        el("th", {scope: "row"}, cell.label), el("td", {class: "n"}, String(count(side, "v"))), el("td", {class: "n"}, String(count(side, "f"))),
        el("td", {class: "n"}, String(only.length)), el("td", {class: "n"}, sok.seconds(median(both.map((one) => one[time]))))))));
    const parts = [el("p", {}, el("strong", {}, verdict)), el("div", {class: "scroll"}, summary)];
    if (clash.length) {
      parts.push(el("p", {class: "alarm-text"}, "They contradict each other on " + clash.length + " inputs: one claims a proof, the other has a counterexample."), listing("contradictions", "Contradictions", clash, address, a, b));
    }
    parts.push(el("h2", {}, "Time per input"), el("figure", {}, scatter(both.filter((one) => solved(one.a) || solved(one.b)), a, b, address),
      el("figcaption", {}, "Inputs that at least one of them decides; below the diagonal B is faster. Circles: both decide, triangles: only one does.")));
    if (onlyA.length) parts.push(el("h2", {}, "Only " + a.label + " verifies"), listing("only-a", "Only " + a.label + " verifies", onlyA, address, a, b));
    if (onlyB.length) parts.push(el("h2", {}, "Only " + b.label + " verifies"), listing("only-b", "Only " + b.label + " verifies", onlyB, address, a, b));
    view.replaceChildren(...parts);
  }

  function median(values) {
    const sorted = values.filter((value) => value !== null).sort((x, y) => x - y);
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
  }

  function listing(id, title, found, address, a, b) {
    const shown = found.slice(0, 200);
    return el("div", {}, sok.tools(id, id), el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": title}, el("table", {id}, el("caption", {}, found.length + " inputs" + (found.length > shown.length ? ", the first " + shown.length + " shown" : "")),
      el("thead", {}, el("tr", {}, ["Input", a.label, "time", b.label, "time"].map((text, at) => el("th", {scope: "col", class: at % 2 === 0 ? "n" : null}, text)))),
      el("tbody", {}, shown.map((one) => el("tr", {}, el("th", {scope: "row", class: "n"}, el("a", {href: address(one)}, String(one.input))),
        el("td", {}, sok.icon(one.a)), el("td", {class: "n"}, sok.seconds(one.ta)), el("td", {}, sok.icon(one.b)), el("td", {class: "n"}, sok.seconds(one.tb))))))));
  }

  function scatter(found, a, b, address) {
    if (!found.length) return el("p", {}, "Neither decides any of these inputs.");
    const size = 420, left = 56, right = 20, top = 26, bottom = 46, values = found.flatMap((one) => [one.ta, one.tb]).filter((value) => value > 0);
    const low = Math.floor(Math.log10(Math.max(1e-4, Math.min(...values)))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
    const at = (value) => (Math.min(high, Math.max(low, Math.log10(Math.max(value || 0, 1e-5)))) - low) / (high - low);
    const x = (value) => (left + at(value) * (size - left - right)).toFixed(1), y = (value) => (size - bottom - at(value) * (size - bottom - top)).toFixed(1);
    const chart = el("svg", {class: "chart", viewBox: "0 0 " + size + " " + size, role: "group", "aria-label": "Seconds of " + a.label + " against seconds of " + b.label});
    for (let power = low; power <= high; power += 1) {
      const value = 10 ** power, text = power < 0 ? Number((value * 1000).toPrecision(1)) + " ms" : value + " s";
      chart.append(el("svg:line", {class: "grid", x1: left, x2: size - right, y1: y(value), y2: y(value)}), el("svg:line", {class: "grid", x1: x(value), x2: x(value), y1: top, y2: size - bottom}),
        el("svg:text", {class: "tick", x: left - 6, y: Number(y(value)) + 4, "text-anchor": "end"}, text), el("svg:text", {class: "tick", x: x(value), y: size - bottom + 16, "text-anchor": "middle"}, text));
    }
    chart.append(el("svg:line", {class: "diagonal", x1: x(10 ** low), y1: y(10 ** low), x2: x(10 ** high), y2: y(10 ** high)}),
      el("svg:text", {class: "axisname", x: size - right, y: size - 8, "text-anchor": "end"}, "A: " + a.label), el("svg:text", {class: "axisname", x: left, y: 14}, "B: " + b.label));
    for (const one of found.slice(0, 3000)) {
      const px = Number(x(one.ta)), py = Number(y(one.tb)), decided = (code) => code === "v" || code === "f";
      const whole = decided(one.a) && decided(one.b);
      const shape = whole ? "M" + (px - 4) + " " + py + "a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z" : "M" + px + " " + (py - 5) + "L" + (px + 5) + " " + (py + 4) + "L" + (px - 5) + " " + (py + 4) + "Z";
      const tip = "input " + one.input + ": " + sok.seconds(one.ta) + " and " + sok.seconds(one.tb);
      chart.append(el("svg:a", {class: "mark", href: address(one), "data-tip": tip, "aria-label": tip}, el("svg:path", {class: whole ? "fam-1" : "fam-5", d: shape})));
    }
    return chart;
  }
});
