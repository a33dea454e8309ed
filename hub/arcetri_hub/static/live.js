// Looks at this page again and again, and shows what has changed in the parts marked data-live,
// until the page says that what it tells of is over.
// Without it the page is complete, and as old as it was when it was loaded.
"use strict";

(() => {
  const INTERVAL = 10000;
  const contact = window.arcetriContact;
  let over = false;

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

  const whose = (page) => page.querySelector("#login_widget span")?.textContent;

  async function look() {
    const text = over ? null : await contact.askForPage(window.location.pathname);
    if (text === null || over) {
      return;
    }
    const page = new DOMParser().parseFromString(text, "text/html");
    if (whose(page) !== whose(document)) {
      window.location.reload(); // somebody else has logged in, in another tab
      return;
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      if (fresh && told(fresh) !== told(part) && !busy(part)) {
        replace(part, fresh);
      }
    }
    const kept = page.getElementById("contact")?.dataset.kept;
    if (kept !== undefined) {
      document.getElementById("contact").dataset.kept = kept;
    }
    document.documentElement.dataset.lookedAt = new Date().toISOString();
  }

  document.documentElement.classList.add("js");
  const looks = contact.every(INTERVAL, Infinity, look);
  document.addEventListener("arcetri:look", looks.now);
  document.addEventListener("arcetri:over", () => {
    over = true;
    looks.stop();
  });
})();
