// Follows JupyterHub's progress events, and opens the session when it answers and somebody is there
// to see it. Where they break off the page is loaded again once the platform answers: a start goes
// on without it.
"use strict";

(() => {
  const page = document.getElementById("pending");
  const bar = document.getElementById("progress-bar");
  const message = document.getElementById("progress-message");
  const log = document.getElementById("progress-log");
  const contact = window.arcetriContact;
  const notice = window.arcetriNotice(page.dataset.request);
  const INTERVAL = 8000;
  const HIDDEN = 30000;
  let source;
  let ready = false;

  function details(event) {
    if (!event.html_message) {
      return "";
    }
    // Only its text is used: nothing an event carries becomes part of this page's markup.
    const parsed = new DOMParser().parseFromString(event.html_message, "text/html");
    return parsed.querySelector("pre")?.textContent ?? "";
  }

  function note(text, more) {
    const line = document.createElement("li");
    line.textContent = text;
    if (more) {
      const raw = document.createElement("pre");
      raw.textContent = more;
      line.append(raw);
    }
    log.append(line);
  }

  // The page answers with the session when it is ready, or says why it did not start.
  function again() {
    source.close();
    window.location.reload();
  }

  // A session counts as opened by who loads it, so a page that nobody sees does not.
  function open() {
    if (ready && !document.hidden) {
      again();
    }
  }

  function announce() {
    ready = true;
    source.close();
    looks.stop();
    document.title = `Ready: ${page.dataset.title}`;
    notice.say("Your notebook is ready", `${page.dataset.title} has started. Open it soon.`);
    open();
  }

  function receive(received) {
    const event = JSON.parse(received.data);
    if (event.progress !== undefined) {
      bar.value = Math.max(bar.value, event.progress);
      bar.textContent = `${event.progress} %`;
    }
    if (event.ready) {
      announce();
    } else if (event.failed) {
      notice.say("Your notebook was not started", `${page.dataset.title}: ${event.message}`);
      again();
    } else if (event.message) {
      if (message.textContent !== event.message) {
        message.textContent = event.message;
      }
      note(event.message, details(event));
    }
  }

  function follow() {
    source = new EventSource(page.dataset.progress);
    source.addEventListener("message", receive);
    source.addEventListener("error", () => {
      // Unseen, the next look is soon enough.
      if (source.readyState === EventSource.CLOSED && !document.hidden) {
        window.setTimeout(looks.now, 2000);
      }
    });
  }

  // The answer to the form is where this leads; looking again would come between.
  document.getElementById("cancel").form.addEventListener("submit", () => {
    source.close();
    looks.stop();
  });

  // A hub that hangs ends no stream of events, so it is asked besides.
  async function look() {
    const answer = await contact.askForPage(page.dataset.home);
    if (answer === null || ready || source.readyState !== EventSource.CLOSED) {
      return;
    }
    if (document.hidden) {
      follow();
    } else {
      looks.stop();
      again();
    }
  }

  document.addEventListener("visibilitychange", open);
  const looks = contact.every(INTERVAL, HIDDEN, look);
  follow();
})();
