// The ground floor of the pages' scripts: elements, state in the address, data files, notices.
"use strict";

const sok = (() => {
  const root = document.documentElement.dataset.root || "";
  const shards = new Map();
  const waiting = new Map();

  // el("td", {class: "n", onclick: f}, "text", child): text is always text, never markup
  function el(tag, attributes = {}, ...children) {
    // "svg:a" is a link inside a drawing
    const drawn = tag.startsWith("svg");
    const node = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag.replace("svg:", "")) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  }

  const parameters = () => new URLSearchParams(location.search);
  const get = (name) => parameters().get(name) || "";
  const list = (name) => get(name).split("~").filter(Boolean);

  // changes parameters of the address; a step in the history unless `quiet`
  function set(changes, quiet = false) {
    const next = parameters();
    for (const [name, value] of Object.entries(changes)) {
      const text = Array.isArray(value) ? value.join("~") : value;
      if (text) next.set(name, text); else next.delete(name);
    }
    next.sort();
    const query = next.toString();
    const address = location.pathname + (query ? "?" + query : "") + location.hash;
    history[quiet ? "replaceState" : "pushState"](null, "", address);
    dispatchEvent(new CustomEvent("sok:state"));
  }

  // calls `apply` now and whenever the address changes, by us or by Back and Forward
  function watch(apply) {
    addEventListener("sok:state", apply);
    addEventListener("popstate", apply);
    apply();
  }

  function link(page, values) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) if (value !== "" && value !== undefined) query.set(name, value);
    return root + page + "?" + query.toString();
  }

  // data files call this; pages opened from a folder may load scripts but not fetch
  function load(name, value) {
    shards.set(name, value);
    (waiting.get(name) || []).forEach((answer) => answer(value));
    waiting.delete(name);
  }

  // the value of a data file, or null where there is none
  function shard(name) {
    if (shards.has(name)) return Promise.resolve(shards.get(name));
    return new Promise((answer) => {
      if (waiting.has(name)) { waiting.get(name).push(answer); return; }
      waiting.set(name, [answer]);
      const script = el("script", {src: root + "data/" + name + ".js"});
      script.addEventListener("error", () => load(name, null));
      document.head.append(script);
    });
  }

  let toast = null;
  function say(text) {
    if (toast) toast.remove();
    toast = el("div", {class: "toast", role: "status"}, text);
    document.body.append(toast);
    setTimeout(() => toast.remove(), 2500);
  }

  async function copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) {
      // no permission or no clipboard: the old way works wherever a selection does
      const area = el("textarea", {readonly: true, "aria-label": what});
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    say(what + " copied");
  }

  function save(text, name, type) {
    const address = URL.createObjectURL(new Blob([text], {type}));
    const anchor = el("a", {href: address, download: name});
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  return {root, el, get, list, set, watch, link, load, shard, say, copy, save};
})();

addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", () => {
      sok.copy(document.getElementById(button.dataset.copy).textContent, button.dataset.what || "Text");
    });
  }
});
