// Tells by a notification what becomes of a request, where that was wanted and nobody sees the page.
// What was wanted is of this tab and this request, on whichever page follows it.
"use strict";

window.arcetriNotice = (request) => {
  const KEY = `arcetri-notify-${request}`;
  const able = "Notification" in window && window.isSecureContext && request !== "";

  const wanted = () =>
    able && window.sessionStorage.getItem(KEY) === "yes" && Notification.permission === "granted";

  function say(title, body) {
    if (!document.hidden || !wanted()) {
      return;
    }
    const note = new Notification(title, { body, tag: request });
    note.addEventListener("click", () => {
      window.focus();
      note.close();
    });
  }

  async function want() {
    if ((await Notification.requestPermission()) === "granted") {
      window.sessionStorage.setItem(KEY, "yes");
    }
    return wanted();
  }

  return { able, wanted, want, say };
};
