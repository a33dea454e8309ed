// Looks whether it is one's turn, opens the session when it is ready and somebody is there to see
// it, and says so by a notification where that was wanted.
"use strict";

(() => {
  const page = document.getElementById("waiting");
  const notify = document.getElementById("notify");
  const said = document.getElementById("notify-status");
  const contact = window.arcetriContact;
  const INTERVAL = 4000;
  const HIDDEN = 10000;
  const WANTED = `arcetri-notify-${page.dataset.request}`;
  let told = "";
  let ready = "";

  function open() {
    if (ready && !document.hidden) {
      window.location.replace(ready);
    }
  }

  function wanted() {
    return window.sessionStorage.getItem(WANTED) === "yes" && Notification.permission === "granted";
  }

  function notice(title, body) {
    if (!("Notification" in window) || !document.hidden || !wanted()) {
      return;
    }
    const note = new Notification(title, { body, tag: page.dataset.request });
    note.addEventListener("click", () => {
      window.focus();
      note.close();
    });
  }

  function announce() {
    document.title = `Ready: ${page.dataset.title}`;
    notice(
      "Your notebook is ready",
      `${page.dataset.title} has started. Open it soon, or it goes to the next in line.`,
    );
  }

  async function look() {
    const text = await contact.ask(page.dataset.state, { Accept: "application/json" });
    if (text === null) {
      return;
    }
    const now = JSON.parse(text);
    if (now.state === "running" && now.session) {
      if (!ready) {
        ready = now.session;
        announce();
      }
      open();
    } else if (now.state === "ended" || (now.state === "starting" && !document.hidden)) {
      // The page that this one leads to then tells the steps of the start, or how it ended.
      looks.stop();
      window.location.reload();
    } else if (now.state === "queued" || now.state === "admitted") {
      const fresh = JSON.stringify([now.state, now.place, now.trouble, now.instead]);
      if (told && told !== fresh) {
        document.dispatchEvent(new Event("arcetri:look"));
      }
      told = fresh;
    }
  }

  function offerNotification() {
    if (!("Notification" in window) || !window.isSecureContext) {
      return;
    }
    notify.hidden = Notification.permission === "denied" || wanted();
    if (wanted()) {
      said.textContent =
        {
          out: "You cannot be told while you are logged out.",
          barred: "You cannot be told with the login of now.",
          silent: "You cannot be told while the platform does not answer.",
        }[contact.state()] ?? "You will be told when it is ready, as long as this page stays open.";
    }
  }

  notify.addEventListener("click", async () => {
    const answer = await Notification.requestPermission();
    if (answer === "granted") {
      window.sessionStorage.setItem(WANTED, "yes");
    } else {
      said.textContent = "Your browser does not allow this page to tell you.";
    }
    offerNotification();
  });
  document.addEventListener("arcetri:contact", (event) => {
    offerNotification();
    if (event.detail === "out") {
      notice("You have been logged out", `${page.dataset.title}: ${document.getElementById("contact").dataset.kept}`);
    }
  });
  document.addEventListener("visibilitychange", open);

  offerNotification();
  const looks = contact.every(INTERVAL, HIDDEN, look);
  looks.now();
})();
