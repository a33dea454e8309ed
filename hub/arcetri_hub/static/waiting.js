// Looks whether it is one's turn, opens the session when it is ready and somebody is there to see
// it, and says so by a notification where that was wanted; also that nothing will come of it.
"use strict";

(() => {
  const page = document.getElementById("waiting");
  const notify = document.getElementById("notify");
  const said = document.getElementById("notify-status");
  const contact = window.arcetriContact;
  const notice = window.arcetriNotice(page.dataset.request);
  const INTERVAL = 4000;
  const HIDDEN = 10000;
  let told = "";
  let ready = "";
  let over = false;

  function open() {
    if (ready && !document.hidden) {
      window.location.replace(ready);
    }
  }

  function announce() {
    document.title = `Ready: ${page.dataset.title}`;
    notice.say(
      "Your notebook is ready",
      `${page.dataset.title} has started. Open it soon, or it goes to the next in line.`,
    );
  }

  // Who is not there finds the sentence when they come; another page might have no news of it then.
  function end(message) {
    document.dispatchEvent(new Event("arcetri:over"));
    document.title = `Not started: ${page.dataset.title}`;
    document.getElementById("place").textContent = "Your request has ended";
    page.querySelector(".lead").textContent = message;
    for (const part of page.querySelectorAll("[data-until-end]")) {
      part.hidden = true;
    }
    document.getElementById("wait-ended").hidden = false;
    notice.say("Your notebook was not started", `${page.dataset.title}: ${message}`);
  }

  async function look() {
    if (over) {
      return;
    }
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
    } else if (now.state === "ended" && document.hidden && !now.again && !now.by_its_user) {
      over = true;
      looks.stop();
      end(now.message || "It ended before there was a notebook.");
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
    if (!notice.able) {
      return;
    }
    notify.hidden = Notification.permission === "denied" || notice.wanted();
    if (notice.wanted()) {
      said.textContent =
        {
          out: "You cannot be told while you are logged out.",
          barred: "You cannot be told with the login of now.",
          silent: "You cannot be told while the platform does not answer.",
        }[contact.state()] ?? "You will be told when it is ready, or will not be, as long as this page stays open.";
    }
  }

  notify.addEventListener("click", async () => {
    if (!(await notice.want())) {
      said.textContent = "Your browser does not allow this page to tell you.";
    }
    offerNotification();
  });
  document.addEventListener("arcetri:contact", (event) => {
    offerNotification();
    if (event.detail === "out") {
      notice.say("You have been logged out", `${page.dataset.title}: ${document.getElementById("contact").dataset.kept}`);
    }
  });
  document.addEventListener("visibilitychange", open);

  offerNotification();
  const looks = contact.every(INTERVAL, HIDDEN, look);
  looks.now();
})();
