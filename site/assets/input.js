// One input: ?suite=&dataset=&model=&setting=&input=&witness=. Picture, witness, every method's answer, how to repeat it.
"use strict";

addEventListener("DOMContentLoaded", async () => {
  const view = document.getElementById("view");
  const {index, group} = await sok.findGroup();
  const rows = group ? await sok.shard(group.shard) : null;
  const input = Number(sok.get("input"));
  const place = rows ? rows.inputs.indexOf(input) : -1;
  if (place < 0) {
    view.replaceChildren(sok.el("p", {}, index && index.groups.length ? "Choose an input from the list behind a table's cell." : "No rows are recorded."));
    return;
  }
  const {el} = sok;
  const details = ((await sok.shard(group.shard + "." + Math.floor(place / rows.bucket))) || {})[input] || {};
  const images = (await sok.shard("images/" + group.images + "." + Math.floor(input / rows.bucket))) || {};
  const runs = (await sok.shard("runs")) || {};
  const label = rows.labels[place], name = (index.classes[group.dataset] || [])[label];
  const settings = [...new Set(group.cells.map((cell) => cell.setting))];
  const base = {suite: group.suite, dataset: group.dataset, model: group.model};
  document.title = "Input " + input + " · sokbench";
  document.getElementById("title").textContent = "Input " + input + " of " + group.dataset;

  const navigation = el("div", {class: "tools"});
  const step = (offset, text) => {
    const other = rows.inputs[place + offset];
    if (other !== undefined) navigation.append(el("a", {href: sok.link("input.html", {...base, setting: sok.get("setting"), input: other})}, text));
  };
  step(-1, "← previous input");
  step(1, "next input →");
  const choice = el("div", {class: "tools", role: "group", "aria-label": "Setting"});
  const pictures = el("div", {class: "pictures"});
  const facts = el("dl", {class: "facts"});
  const answers = el("div", {});
  view.replaceChildren(navigation, choice, pictures, facts, answers);

  const noPicture = () => el("div", {class: "none"}, "The data set was not on the machine that built these pages.");
  const figure = (text, content) => el("figure", {}, content, el("figcaption", {}, text));
  const fact = (term, ...content) => facts.append(el("dt", {}, term), el("dd", {}, ...content));

  let drawn = 0;
  async function draw() {
    const setting = settings.includes(sok.get("setting")) ? sok.get("setting") : settings[0];
    const cells = group.cells.filter((cell) => cell.setting === setting && rows.cells[cell.id].status[place] !== "-");
    document.getElementById("lead").textContent = "Label " + label + (name && name !== String(label) ? " (" + name + ")" : "") + ", model " + group.model + ", suite " + group.suite + ", " + setting + ".";
    sok.crumb(cells[0]);
    choice.replaceChildren(...(settings.length > 1 ? settings : []).map((one) =>
      el("button", {type: "button", "aria-pressed": String(one === setting), onclick: () => sok.set({setting: one, witness: ""})}, one)));
    table(setting, cells);
    const turn = drawn += 1;
    await show(cells, turn);
  }

  async function show(cells, turn) {
    const found = cells.filter((cell) => details[cell.id] && details[cell.id].witness && !details[cell.id].witness.broken);
    const chosen = found.find((cell) => cell.id === sok.get("witness")) || found.find((cell) => details[cell.id].witness.scale > 0) || found[0];
    const address = images[input];
    const shown = [figure("Input", address ? el("img", {src: address, alt: "Input " + input + ", label " + (name || label)}) : noPicture())];
    facts.replaceChildren();
    if (chosen) {
      const witness = details[chosen.id].witness;
      if (witness.scale === 0) {
        fact("Counterexample", "the input itself: it is misclassified unperturbed");
      } else {
        if (address) {
          const made = await sok.pictures.draw(address, witness);
          if (turn !== drawn) return;
          shown.push(figure("Counterexample", made.witness), figure("Difference, largest change " + sok.number(witness.scale), made.difference));
        }
        const select = el("select", {"aria-label": "Whose counterexample", onchange: (event) => sok.set({witness: event.target.value})},
          found.map((cell) => el("option", {value: cell.id, selected: cell === chosen}, cell.label)));
        fact("Counterexample of", select);
        fact("Distance", "ℓ∞ " + sok.number(witness.linf) + ", ℓ2 " + sok.number(witness.l2) + ", " + witness.moved + " of " + witness.shape.reduce((a, b) => a * b) + " values changed");
      }
    } else {
      fact("Counterexample", "none known");
    }
    pictures.replaceChildren(...shown);
  }

  function table(setting, cells) {
    const body = el("tbody");
    for (const cell of cells) {
      const columns = rows.cells[cell.id], detail = details[cell.id] || {};
      const answer = columns.radius ? columns.radius[place] : (columns.margin || [])[place];
      const marks = [detail.stale ? "stale" : "", detail.shared ? "shared" : "", detail.device || ""].filter(Boolean);
      body.append(el("tr", {id: cell.id},
        el("th", {scope: "row"}, el("a", {href: sok.root + "methods/" + cell.page + ".html"}, cell.label)),
        el("td", {}, sok.icon(columns.status[place])),
        el("td", {class: "n", "data-v": answer}, sok.number(answer)),
        el("td", {class: "n", "data-v": columns.seconds[place]}, sok.seconds(columns.seconds[place])),
        el("td", {}, marks.map((mark) => el("span", {class: "badge"}, mark))),
        el("td", {"data-x": repeat(cell, detail)}, more(cell, detail))));
    }
    const kind = cells.some((cell) => rows.cells[cell.id].radius) ? "Certified radius" : "Margin";
    const heads = ["Method", "Status", kind, "Time", "Marks", "Evidence"];
    answers.replaceChildren(el("h2", {}, "Every method's answer"), sok.tools("answers", "input-" + input), el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Every method's answer"},
      el("table", {id: "answers", class: "wide"}, el("caption", {class: "visually-hidden"}, "Every method's answer for this input, " + setting),
        el("thead", {}, el("tr", {}, heads.map((text, at) => el("th", {scope: "col", class: at === 2 || at === 3 ? "n" : null}, text)))), body)));
  }

  function more(cell, detail) {
    const run = runs[group.suite + "/" + detail.run];
    const list = el("dl", {class: "facts"});
    const add = (term, ...content) => list.append(el("dt", {}, term), el("dd", {}, ...content));
    const {reason, ...stats} = detail.stats || {};
    if (reason) add("Reason", String(reason));
    if (detail.witness && detail.witness.broken) add("Witness", "cannot be shown: " + detail.witness.broken);
    add("Limits", sok.number(detail.limit) + " s, " + Math.round(detail.memory / 2 ** 20) + " MiB" + (detail.prepare ? "; prepared in " + sok.seconds(detail.prepare) : ""));
    if (detail.p !== undefined) add("Bounds", "top class at least " + sok.number(detail.p) + (detail.q !== undefined ? ", others at most " + sok.number(detail.q) : "") + (detail.alpha ? ", α = " + detail.alpha : ""));
    if (detail.prediction !== undefined) add("Prediction", detail.prediction < 0 ? "abstained" : String(detail.prediction));
    if (Object.keys(stats).length) add("Counted", Object.entries(stats).map(([key, value]) => key + " " + (typeof value === "number" ? sok.number(value) : JSON.stringify(value))).join(", "));
    add("Run", run ? el("a", {href: sok.root + run.page}, detail.run) : String(detail.run), detail.at ? ", " + detail.at : "");
    if (run) add("Made by", run.hardware + ", Python " + run.python + ", commit " + (run.commit.slice(0, 10) || "none") + (run.clean ? "" : " with changes"));
    if (detail.version) add("Code", detail.version + (detail.stale ? ", changed since" : ""));
    const command = repeat(cell, detail);
    const copy = el("button", {type: "button", onclick: () => sok.copy(command, "Command")}, "Copy");
    const box = el("details", {}, el("summary", {}, "Show", el("span", {class: "visually-hidden"}, " the evidence of " + cell.label)), list);
    if (detail.log) box.append(el("pre", {class: "log"}, detail.log));
    box.append(el("p", {class: "note"}, "Repeat it:"), el("div", {class: "command"}, el("pre", {}, command), copy));
    return box;
  }

  const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : "'" + String(text).replaceAll("'", "'\\''") + "'");
  // the command whose answer is this row
  function repeat(cell, detail) {
    const certify = cell.kind === "certifier";
    const parts = ["sokbench", certify ? "certify" : "verify", quote(group.model), "--data", quote(group.dataset), "--index", input];
    const add = (name, value) => parts.push(name, typeof value === "number" ? String(value) : quote(value));
    add(certify ? "--certifier" : "--method", cell.method);
    const {n0, n, precision, stopped, ...parameters} = JSON.parse(cell.parameters);
    if (certify) {
      const {kind, ...noise} = detail.noise || {};
      if (kind && kind !== "gaussian") {
        add("--noise", kind);
        for (const [name, value] of Object.entries(noise)) add("--noise-set", name + "=" + value);
      } else if (kind) add("--sigma", noise.sigma);
      if (n !== undefined) { add("--n0", n0); add("--n", n); }
      if (precision) add("--precision", precision);
      if (cell.statistics) parts.push("--statistics");
      if (detail.alpha !== undefined) add("--alpha", detail.alpha);
    } else {
      add("--norm", cell.norm);
      if (cell.radius !== null) add("--radius", cell.radius);
      if (detail.low === undefined) parts.push("--no-box");
    }
    add("--limit", detail.limit);
    if (!certify && detail.memory !== 8 * 2 ** 30) add("--memory", detail.memory / 2 ** 20 + " MiB");
    if (detail.seed) add("--seed", detail.seed);
    for (const [name, value] of Object.entries(parameters)) add("--set", name + "=" + value);
    return parts.join(" ");
  }

  sok.watch(draw);
});
