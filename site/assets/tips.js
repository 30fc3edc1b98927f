// A small box with what a mark or a reason says, on hover and on focus.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const tip = sok.el("div", {class: "tip", hidden: true, "aria-hidden": "true"});
  document.body.append(tip);
  const hide = () => { tip.hidden = true; };
  const show = (event) => {
    const from = event.target.closest ? event.target.closest("[data-tip], [data-why]") : null;
    if (!from) { hide(); return; }
    tip.textContent = from.dataset.tip || from.dataset.why;
    tip.hidden = false;
    const box = from.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
    const above = box.top - own.height - 8;
    tip.style.left = left + "px";
    tip.style.top = (above > 4 ? above : box.bottom + 8) + "px";
  };
  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
});
