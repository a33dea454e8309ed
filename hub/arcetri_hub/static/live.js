// Looks at this page again and again, and shows what has changed in the parts marked data-live.
// Without it the page is complete, and as old as it was when it was loaded.
"use strict";

(() => {
  const INTERVAL = 10000;
  const HEADERS = { Accept: "text/html", "X-Arcetri-Looks-Again": "1" };
  let timer = 0;

  // The token in a form's address differs each time and says nothing new.
  const told = (part) => part.innerHTML.replace(/_xsrf=[^"&]*/g, "");

  // What somebody is about to write or read is left alone until they are done.
  function busy(part) {
    const open = part.querySelector("details[open]");
    const at = document.activeElement;
    return open || (part.contains(at) && at.matches("input, textarea, select"));
  }

  function place(element) {
    return element.closest("form")?.getAttribute("action")?.split("?")[0] ?? element.getAttribute("href");
  }

  function replace(part, fresh) {
    const at = part.contains(document.activeElement) ? document.activeElement : null;
    const where = at && place(at);
    part.replaceChildren(...fresh.childNodes);
    if (where) {
      const again = [...part.querySelectorAll("a, button, summary")];
      again.find((one) => one.tagName === at.tagName && place(one) === where)?.focus();
    }
  }

  async function look() {
    if (document.hidden) {
      return;
    }
    let page;
    try {
      const answer = await fetch(window.location.pathname, { headers: HEADERS });
      if (answer.redirected || answer.status === 403) {
        window.clearInterval(timer); // logged out: the next click says so
        return;
      }
      if (!answer.ok) {
        return;
      }
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      return; // the hub restarts, or the network is away: the next look tells
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      if (fresh && told(fresh) !== told(part) && !busy(part)) {
        replace(part, fresh);
      }
    }
    document.documentElement.dataset.lookedAt = new Date().toISOString();
  }

  document.documentElement.classList.add("js");
  timer = window.setInterval(look, INTERVAL);
  document.addEventListener("visibilitychange", look);
  document.addEventListener("arcetri:look", look);
})();
