// What the platform tells who sits in JupyterLab: that their session will end, and why it did.
//
// A prebuilt extension of JupyterLab written by hand: nothing is built or downloaded, and it needs
// no more of JupyterLab than to be loaded. It asks the hub, which the browser is logged in at, and
// draws its sentences itself, because it must still do so when the session has ended and nothing of
// JupyterLab can be loaded any more.
(function () {
  "use strict";

  const NAME = "arcetri-notices";
  const PAUSE = 30000; // milliseconds between two questions

  /** What the server wrote into the page. */
  function options() {
    const data = document.getElementById("jupyter-config-data");
    return data ? JSON.parse(data.textContent) : {};
  }

  /** Where the hub answers for this session; null where it is on another host. */
  function address() {
    const { hubPrefix, hubHost, hubServerUser, hubServerName } = options();
    if (!hubPrefix || hubHost || !hubServerUser) {
      return null;
    }
    const query = new URLSearchParams({ user: hubServerUser, server: hubServerName || "" });
    return `${hubPrefix}arcetri/notices?${query}`;
  }

  const STYLE = {
    box: "position:fixed;right:1rem;bottom:2.5rem;z-index:20000;max-width:26rem;display:grid;gap:.5rem;",
    note:
      "display:flex;gap:.75rem;align-items:start;padding:.75rem 1rem;border-radius:4px;" +
      "border:1px solid var(--jp-border-color1,#bdbdbd);border-left:6px solid;" +
      "background:var(--jp-layout-color1,#fff);color:var(--jp-ui-font-color1,#111);" +
      "font:400 14px/1.45 var(--jp-ui-font-family,sans-serif);box-shadow:0 2px 8px rgb(0 0 0/.3);",
    close:
      "flex:none;min-width:24px;min-height:24px;border:0;background:none;color:inherit;" +
      "font-size:18px;line-height:1;cursor:pointer;",
  };
  const EDGES = { warning: "var(--jp-warn-color1,#b26a00)", ended: "var(--jp-error-color1,#c62828)" };

  function element(tag, style, attributes = {}) {
    const made = document.createElement(tag);
    made.style.cssText = style;
    for (const [name, value] of Object.entries(attributes)) {
      made.setAttribute(name, value);
    }
    return made;
  }

  /** Shows each sentence until it is dismissed or does not hold any more. */
  class Board {
    constructor() {
      this.box = element("div", STYLE.box, { id: NAME, role: "log", "aria-label": "Your session" });
      this.shown = new Map();
      document.body.append(this.box);
    }

    show(notices, ended) {
      const now = new Map(notices.map((n) => [n.code, [EDGES.warning, n.sentence]]));
      if (ended) {
        now.set(`ended ${ended.sentence}`, [EDGES.ended, ended.sentence]);
      }
      for (const [key, { note }] of this.shown) {
        if (!now.has(key)) {
          note.remove();
          this.shown.delete(key);
        }
      }
      for (const [key, [edge, sentence]] of now) {
        if (!this.shown.has(key)) {
          this.shown.set(key, this.add(edge));
        }
        const { text } = this.shown.get(key);
        if (text.textContent !== sentence) {
          text.textContent = sentence;
        }
      }
    }

    add(edge) {
      const note = element("div", STYLE.note);
      note.style.borderLeftColor = edge;
      const text = element("span", "");
      const close = element("button", STYLE.close, { type: "button", "aria-label": "Dismiss" });
      close.textContent = "\u00d7";
      // Only hidden, so that it does not come back with the next answer.
      close.addEventListener("click", () => note.remove());
      note.append(text, close);
      this.box.append(note);
      return { note, text };
    }
  }

  /** Asks the hub now and then, and at once when there is reason to. */
  function watch(app, board, url) {
    let asking = false;
    async function look() {
      if (asking || document.hidden) {
        return;
      }
      asking = true;
      try {
        const answer = await fetch(url, { credentials: "same-origin" });
        if (answer.ok) {
          const { notices, ended } = await answer.json();
          board.show(notices, ended);
        }
      } catch {
        // The hub is away, or nobody is logged in there any more: there will be another time.
      } finally {
        asking = false;
      }
    }
    setInterval(look, PAUSE);
    document.addEventListener("visibilitychange", look);
    const lost = app.serviceManager && app.serviceManager.connectionFailure;
    if (lost) {
      lost.connect(look);
    }
    look();
  }

  const plugin = {
    id: `${NAME}:plugin`,
    description: "Says that a session will end, and why it did.",
    autoStart: true,
    activate: (app) => {
      const url = address();
      if (url) {
        watch(app, new Board(), url);
      }
    },
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
