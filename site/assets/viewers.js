// What the pages filled by scripts share: status icons, numbers, and finding the cells an address names.
"use strict";

sok.icon = (code, text) => {
  const from = document.getElementById("legend").content.querySelector('[data-code="' + code + '"] .st');
  const copy = from.cloneNode(true);
  if (text === "") [...copy.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).forEach((node) => node.remove());
  return copy;
};
sok.seconds = (value) => {
  if (value === null || value === undefined) return "–";
  if (value < 0.0095) return (value * 1000).toPrecision(2) + " ms";
  if (value < 0.9995) return Math.round(value * 1000) + " ms";
  return value < 99.5 ? value.toPrecision(3) + " s" : (value / 60).toPrecision(3) + " min";
};
sok.number = (value) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(4))));

// leads back to the table that a cell stands in
sok.crumb = (cell) => {
  const crumbs = document.querySelector(".crumbs");
  crumbs.querySelectorAll("[data-made]").forEach((node) => node.remove());
  if (cell && cell.table) crumbs.append(sok.el("span", {"data-made": true}, " / ", sok.el("a", {href: sok.root + cell.table}, cell.setting)));
};

// finds the group of cells that the address names
sok.findGroup = async () => {
  const index = await sok.shard("index");
  const group = index && index.groups.find((one) =>
    one.suite === sok.get("suite") && one.dataset === sok.get("dataset") && one.model === sok.get("model"));
  return {index, group: group || null};
};
