// Nothing here is needed to read a page. It follows the hub's choice of light or dark, and looks
// again while something runs.
"use strict";

const chosen = localStorage.getItem("jupyterhub-bs-theme");
if (chosen === "dark" || chosen === "light") {
  document.documentElement.dataset.bsTheme = chosen;
  for (const source of document.querySelectorAll("picture source")) {
    const narrow = "screen and (max-width: 40rem)";
    const small = source.media.includes("max-width");
    if (source.dataset.theme !== chosen) {
      source.media = "not all";
    } else {
      source.media = small ? narrow : "screen";
    }
  }
}

if (document.querySelector("[data-live]")) {
  window.setInterval(() => {
    const busy = document.activeElement && document.activeElement.closest("form, details");
    if (!document.hidden && !busy && !window.getSelection().toString()) {
      window.location.reload();
    }
  }, 10000);
}
