// What the platform tells who sits in JupyterLab: that their session will end, that its node does not
// answer, and why it ended. What is open and modified is saved when an end is announced, and once more
// shortly before it comes.
//
// A prebuilt extension of JupyterLab written by hand: nothing is built or downloaded, and it needs
// no more of JupyterLab than to be loaded. It asks the hub, which the browser is logged in at, and
// draws its sentences itself, because it must still do so when the session has ended and nothing of
// JupyterLab can be loaded any more.
(function () {
  "use strict";

  const NAME = "arcetri-notices";
  const PAUSE = 30000; // milliseconds between two questions
  const HIDDEN = 60000; // the same, for a tab that nobody looks at: its documents are saved, too
  const LAST = 15000; // milliseconds before the end at which is saved once more

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
    left: "display:block;font-weight:600;font-variant-numeric:tabular-nums;",
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
      const now = new Map(notices.map((n) => [n.code, [EDGES.warning, n.sentence, due(n)]]));
      if (ended) {
        now.set(`ended ${ended.sentence}`, [EDGES.ended, ended.sentence, null]);
      }
      for (const [key, { note }] of this.shown) {
        if (!now.has(key)) {
          note.remove();
          this.shown.delete(key);
        }
      }
      for (const [key, [edge, sentence, at]] of now) {
        if (!this.shown.has(key)) {
          this.shown.set(key, this.add(edge));
        }
        const shown = this.shown.get(key);
        shown.at = at;
        if (shown.text.textContent !== sentence) {
          shown.text.textContent = sentence;
        }
      }
      this.count();
    }

    /** Says how much time is left, each second. */
    count() {
      for (const { left, at } of this.shown.values()) {
        const words = at === null ? "" : `${spell(at - performance.now())} left`;
        if (left.textContent !== words) {
          left.textContent = words;
        }
      }
    }

    add(edge) {
      const note = element("div", STYLE.note);
      note.style.borderLeftColor = edge;
      const words = element("span", "");
      const text = element("span", "");
      // Seen each second, but read out only when it is asked for.
      const left = element("span", STYLE.left, { role: "timer", "aria-live": "off" });
      words.append(text, left);
      const close = element("button", STYLE.close, { type: "button", "aria-label": "Dismiss" });
      close.textContent = "\u00d7";
      // Only hidden, so that it does not come back with the next answer.
      close.addEventListener("click", () => note.remove());
      note.append(words, close);
      this.box.append(note);
      return { note, text, left, at: null };
    }
  }

  /** When an end comes, on a clock that nobody sets; null where nobody can say. */
  function due(notice) {
    return notice.seconds === null ? null : performance.now() + notice.seconds * 1000;
  }

  /** A time as a clock shows it: 4:05, 1:00:00. */
  function spell(milliseconds) {
    const seconds = Math.max(0, Math.round(milliseconds / 1000));
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.floor(seconds / 60) % 60;
    const start = hours ? `${hours}:${two(minutes)}` : `${minutes}`;
    return `${start}:${two(seconds % 60)}`;
  }

  /** Saves what is open, modified and may be written. */
  function save(app) {
    const saved = new Set();
    for (const widget of app.shell.widgets("main")) {
      const context = widget.context;
      if (!context || !context.model || !context.model.dirty || saved.has(context.path)) {
        continue;
      }
      if (context.contentsModel && context.contentsModel.writable) {
        saved.add(context.path);
        Promise.resolve(context.save()).catch(() => {}); // JupyterLab itself says what is wrong
      }
    }
  }

  /** Has work saved when an end is announced, and again shortly before it comes. */
  class Keeper {
    constructor(app) {
      this.app = app;
      this.timers = new Map();
    }

    see(notices) {
      const now = new Map(notices.filter((n) => n.saves).map((n) => [n.code, n]));
      for (const [code, timer] of this.timers) {
        if (!now.has(code)) {
          clearTimeout(timer);
          this.timers.delete(code);
        }
      }
      for (const [code, { seconds }] of now) {
        if (!this.timers.has(code)) {
          save(this.app);
          const rest = Math.max(seconds * 1000 - LAST, (seconds * 1000) / 2);
          this.timers.set(code, setTimeout(() => save(this.app), rest));
        }
      }
    }
  }

  /** Asks the hub now and then, and at once when there is reason to. */
  function watch(app, board, url) {
    const keeper = new Keeper(app);
    let asking = false;
    let asked = -Infinity;
    async function look() {
      if (asking || (document.hidden && performance.now() - asked < HIDDEN - PAUSE / 2)) {
        return;
      }
      asking = true;
      asked = performance.now();
      try {
        const answer = await fetch(url, { credentials: "same-origin" });
        if (answer.ok) {
          const { notices, ended } = await answer.json();
          board.show(notices, ended);
          keeper.see(notices);
        }
      } catch {
        // The hub is away, or nobody is logged in there any more: there will be another time.
      } finally {
        asking = false;
      }
    }
    setInterval(look, PAUSE);
    setInterval(() => board.count(), 1000);
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
