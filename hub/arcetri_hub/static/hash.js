// A link's #flavor=...&environment=... reaches the spawn page through the pages in between.
"use strict";

if (window.location.hash) {
  for (const link of document.querySelectorAll("a#start")) {
    link.hash = window.location.hash;
  }
  // A browser forgets the hash on its way to the login service, unless it is part of where to
  // go back to.
  for (const link of document.querySelectorAll(".service-login a")) {
    const login = new URL(link.href);
    const next = login.searchParams.get("next");
    if (next) {
      login.searchParams.set("next", next.split("#")[0] + window.location.hash);
      link.href = login.href;
    }
  }
}
