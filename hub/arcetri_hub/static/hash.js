// A link's #flavor=...&environment=... reaches the spawn page through the page in between.
"use strict";

if (window.location.hash) {
  for (const link of document.querySelectorAll("a#start")) {
    link.hash = window.location.hash;
  }
}
