// Asks the platform for the page's other scripts. When it does not answer, or does not know any more
// who looks, #contact says so and of when the page is; the question is asked again all the same.
"use strict";

window.arcetriContact = (() => {
  const box = document.getElementById("contact");
  const SILENT = 8000; // without an answer for so long, the page says so
  const LIMIT = 30000; // no question stays open for longer
  const RETRY = 10000; // the pause after a question in vain
  const TICK = 1000;
  const AGAIN = { Accept: "text/html", "X-Arcetri-Looks-Again": "1" }; // who is logged out is told so
  let answered = Date.now();
  let state = "";

  // As the pages write times: in the site's zone, with the day unless that is today.
  function moment(at) {
    const zone = { timeZone: box.dataset.zone };
    const day = (time) =>
      new Date(time).toLocaleDateString("en-GB", { ...zone, weekday: "short", day: "2-digit", month: "short" });
    const clock = new Date(at).toLocaleTimeString("en-GB", { ...zone, hour: "2-digit", minute: "2-digit" });
    return day(at) === day(Date.now()) ? clock : `${day(at)}, ${clock}`;
  }

  // Where one was, for after the login.
  let here = () => window.location.pathname + window.location.search + window.location.hash;

  function loginUrl() {
    const login = new URL(box.dataset.login, window.location.href);
    login.searchParams.set("next", here());
    return login.href;
  }

  function sentence() {
    const at = moment(answered);
    const old = `What you see here is of ${at}.`;
    switch (state) {
      case "out":
        return `You have been logged out. ${box.dataset.kept} ${old}`;
      case "barred":
        return `You may not see this page any more with the login of now. ${box.dataset.kept} ${old}`;
      case "back":
        return "You are logged in again. Load this page again before you send what you have written.";
      case "silent":
        return `The platform has not answered since ${at}; what you see may be old. It is asked again by itself.`;
      default:
        return "";
    }
  }

  function links() {
    const [href, text] = {
      out: [loginUrl(), "Log in again"],
      barred: [box.dataset.logout, "Log out"],
      back: [here(), "Load again"],
    }[state] ?? [];
    if (!href) {
      return [];
    }
    const line = document.createElement("p");
    const link = document.createElement("a");
    link.href = href;
    link.textContent = text;
    line.append(link);
    return [line];
  }

  // The marks come and go with the parts that live.js replaces.
  function markAge() {
    const old = state && state !== "back";
    for (const mark of document.querySelectorAll("[data-as-of]")) {
      mark.textContent = old ? `as of ${moment(answered)}` : "";
      mark.hidden = !old;
    }
  }

  function say() {
    const said = sentence();
    if (box.querySelector("p")?.textContent === (said || undefined)) {
      return;
    }
    const notice = document.createElement("div");
    notice.className = "notice";
    const line = document.createElement("p");
    line.textContent = said;
    notice.append(line, ...links());
    box.replaceChildren(...(said ? [notice] : []));
    markAge();
  }

  function tell(now) {
    const before = state;
    state = now;
    if (state) {
      document.documentElement.dataset.contact = state;
    } else {
      delete document.documentElement.dataset.contact;
    }
    say();
    if (state !== before) {
      document.dispatchEvent(new CustomEvent("arcetri:contact", { detail: state }));
    }
  }

  // Text that somebody has written and not sent.
  function written() {
    const fields = document.querySelectorAll("#content textarea, #content input[type=text], #content input:not([type])");
    return [...fields].some((field) => field.value !== field.defaultValue);
  }

  function heard() {
    if (state === "out" || state === "barred") {
      // The forms' tokens are of the login before: only a fresh page can be sent.
      if (!written()) {
        window.location.replace(here().split("#")[0]);
        return false;
      }
      tell("back");
    } else if (state !== "back") {
      answered = Date.now();
      tell("");
    }
    return true;
  }

  function doubt() {
    if (!state && Date.now() - answered >= SILENT) {
      tell("silent");
    } else {
      say();
    }
  }

  // The answer's text; null where there is none that says anything new.
  async function ask(url, headers) {
    const slow = window.setTimeout(doubt, SILENT);
    try {
      const answer = await fetch(url, { headers, redirect: "manual", signal: AbortSignal.timeout(LIMIT) });
      const text = await answer.text();
      if (answer.status === 401) {
        tell("out");
      } else if (answer.status === 403 || answer.status === 404) {
        tell("barred");
      } else if (answer.type === "opaqueredirect") {
        heard();
      } else if (!answer.ok) {
        doubt();
      } else if (heard()) {
        return text;
      }
    } catch {
      doubt(); // the hub restarts, or the network is away
    } finally {
      window.clearTimeout(slow);
    }
    return null;
  }

  // Looks each `pause` milliseconds, `hidden` while nobody sees the page, and at once when somebody
  // does again. Browsers let few timers of a hidden page run, so times are compared: a tick may
  // stand for a minute.
  function every(pause, hidden, look) {
    let looked = performance.now();
    let looking = false;
    async function now() {
      if (looking) {
        return;
      }
      looking = true;
      looked = performance.now();
      try {
        await look();
      } finally {
        looking = false;
      }
    }
    const timer = window.setInterval(() => {
      const wanted = Math.max(document.hidden ? hidden : pause, state ? RETRY : 0);
      if (performance.now() - looked >= wanted) {
        now();
      }
    }, TICK);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) {
        now();
      }
    });
    return { now, stop: () => window.clearInterval(timer) };
  }

  return {
    ask,
    askForPage: (url) => ask(url, AGAIN),
    every,
    loginUrl,
    state: () => state,
    returnTo: (address) => {
      here = address;
    },
  };
})();
