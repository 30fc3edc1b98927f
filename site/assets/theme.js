// Runs before anything is painted: marks that scripts run, and sets the theme chosen earlier on this machine.
"use strict";
document.documentElement.classList.add("js");
(function () {
  const stored = (() => {
    try { return localStorage.getItem("sokbench-theme"); } catch (error) { return null; }  // storage may be forbidden
  })();
  const dark = stored ? stored === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("button.theme");
    const show = () => {
      const now = document.documentElement.dataset.theme;
      button.textContent = now === "dark" ? "Light" : "Dark";
      button.setAttribute("aria-label", now === "dark" ? "Switch to light colours" : "Switch to dark colours");
    };
    button.addEventListener("click", () => {
      const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      try { localStorage.setItem("sokbench-theme", next); } catch (error) { /* storage may be forbidden */ }
      show();
    });
    show();
  });
})();
