// Looks whether it is one's turn, opens the session when it is ready and somebody is there to see
// it, and says so by a notification where that was wanted.
"use strict";

(() => {
  const page = document.getElementById("waiting");
  const notify = document.getElementById("notify");
  const said = document.getElementById("notify-status");
  const INTERVAL = 4000;
  const HIDDEN = 4; // of a page that nobody sees, only each fourth look is made
  const WANTED = `arcetri-notify-${page.dataset.request}`;
  let told = "";
  let ready = "";
  let timer = 0;
  let skipped = 0;

  function open() {
    if (ready && !document.hidden) {
      window.location.replace(ready);
    }
  }

  function wanted() {
    return window.sessionStorage.getItem(WANTED) === "yes" && Notification.permission === "granted";
  }

  function announce() {
    document.title = `Ready: ${page.dataset.title}`;
    if ("Notification" in window && document.hidden && wanted()) {
      const note = new Notification("Your notebook is ready", {
        body: `${page.dataset.title} has started. Open it soon, or it goes to the next in line.`,
        tag: page.dataset.request,
      });
      note.addEventListener("click", () => {
        window.focus();
        note.close();
      });
    }
  }

  async function look() {
    skipped += 1;
    if (document.hidden && skipped % HIDDEN) {
      return;
    }
    let now;
    try {
      const answer = await fetch(page.dataset.state, { headers: { Accept: "application/json" } });
      if (!answer.ok) {
        return; // logged out, or the hub restarts: live.js and the next look tell
      }
      now = await answer.json();
    } catch {
      return;
    }
    if (now.state === "running" && now.session) {
      window.clearInterval(timer);
      ready = now.session;
      announce();
      open();
    } else if (now.state === "starting" && !document.hidden) {
      // The page of the start tells its steps.
      window.clearInterval(timer);
      window.location.reload();
    } else if (now.state === "ended") {
      window.clearInterval(timer);
      window.location.reload();
    } else if (now.state === "queued" || now.state === "admitted") {
      const fresh = JSON.stringify([now.state, now.place, now.trouble, now.alternatives]);
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
      said.textContent = "You will be told when it is ready, as long as this page stays open.";
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
  document.addEventListener("visibilitychange", () => {
    open();
    look();
  });

  offerNotification();
  look();
  timer = window.setInterval(look, INTERVAL);
})();
