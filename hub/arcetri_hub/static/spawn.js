// Live counts, preselection from the link, and only combinations that fit.
// The page works without any of it: the server checks everything again.
"use strict";

(() => {
  const form = document.getElementById("spawn-form");
  if (!form) {
    return;
  }
  const start = document.getElementById("start");
  const status = document.getElementById("start-status");
  const unmet = document.querySelector("[data-unmet]");
  const contact = window.arcetriContact;
  const INTERVAL = 5000;

  const radios = (name) => [...form.querySelectorAll(`input[name="${name}"]`)];
  const cardOf = (flavor) =>
    [...form.querySelectorAll("[data-flavor]")].find((card) => card.dataset.flavor === flavor);
  const titleOf = (radio) => radio.closest(".tile").querySelector(".tile-title").textContent;
  const chosen = (name) => radios(name).find((radio) => radio.checked && !radio.disabled);

  // Only what goes with the chosen flavour can be chosen; the first that fits takes over.
  function fit(name, allowed) {
    const list = radios(name);
    for (const radio of list) {
      radio.disabled = !allowed.includes(radio.value);
      radio.closest(".tile").classList.toggle("tile-unfit", radio.disabled);
    }
    if (!chosen(name) && name !== "group") {
      const first = list.find((radio) => !radio.disabled);
      if (first) {
        first.checked = true;
      }
    }
  }

  let now = JSON.parse(form.dataset.now);

  // What is free depends on the size and on the group that are chosen.
  function showAll() {
    const size = chosen("size")?.value;
    // Also one that does not grant what is chosen now: back at what it grants, it is charged.
    const group = radios("group").find((radio) => radio.checked)?.value;
    for (const offer of now.offers) {
      const sized = offer.sizes[size] ?? offer;
      show({ ...sized, ...sized.charged[group] }, sized);
    }
  }

  function update() {
    const size = chosen("size")?.value;
    showAll();
    const flavor = chosen("flavor");
    for (const card of form.querySelectorAll("[data-flavor]")) {
      card.classList.toggle("flavor-chosen", Boolean(flavor) && card.dataset.flavor === flavor.value);
    }
    if (!flavor) {
      return;
    }
    fitTo(cardOf(flavor.value));
    if (chosen("size")?.value !== size) {
      showAll();
    }
    start.disabled = !mayAsk() || isRefused(flavor);
    const word = flavor.dataset.waits ? "Wait in line" : "Start";
    if (start.textContent !== word) {
      start.textContent = word;
    }
  }

  function fitTo(card) {
    fit("environment", JSON.parse(card.dataset.environments));
    fit("size", JSON.parse(card.dataset.sizes));
    const grantors = JSON.parse(card.dataset.grantors);
    const groups = form.querySelector('[data-field="group"]');
    if (groups) {
      fit("group", grantors);
      groups.hidden = grantors.length < 2;
      for (const radio of radios("group")) {
        radio.required = grantors.length > 1;
      }
    }
  }

  function choose(name, value) {
    const radio = radios(name).find((one) => one.value === value);
    if (radio && !radio.disabled) {
      radio.checked = true;
      update();
    }
  }

  function fromHash() {
    const wish = new URLSearchParams(window.location.hash.slice(1));
    const flavor = radios("flavor").find((one) => one.value === wish.get("flavor"));
    if (flavor?.disabled) {
      // A wish for what is busy stands, as on the server: another flavour must not start instead.
      for (const radio of radios("flavor")) {
        radio.checked = false;
      }
      update();
      fitTo(cardOf(flavor.value));
    }
    for (const name of ["flavor", "group", "environment", "size"]) {
      if (wish.has(name)) {
        choose(name, wish.get(name));
      }
    }
    const card = cardOf((flavor ?? chosen("flavor"))?.value);
    if (card && window.location.hash) {
      unmet.replaceChildren(...notMet(wish, card).map(notice));
    }
  }

  // The sentences that the server has for the same wish in a query.
  function notMet(wish, card) {
    const said = [];
    const flavor = card.querySelector("label").textContent;
    if (wish.get("flavor") && wish.get("flavor") !== card.dataset.flavor) {
      said.push(`The link asks for an accelerator that you are not offered. ${flavor} is chosen instead.`);
    } else if (wish.get("flavor") && (!chosen("flavor") || isRefused(chosen("flavor")))) {
      said.push(`The link asks for ${flavor}, which would not start for you now.`);
    } else if (wish.get("flavor") && chosen("flavor").dataset.waits) {
      said.push(`The link asks for ${flavor}, for which you would wait in line now.`);
    }
    if (wish.get("group") && !JSON.parse(card.dataset.grantors).includes(wish.get("group"))) {
      said.push(`The link names a group that does not grant you ${flavor}.`);
    }
    for (const [name, noun] of [["environment", "an environment"], ["size", "a size"]]) {
      const wanted = wish.get(name);
      const instead = chosen(name);
      if (!wanted || !instead || instead.value === wanted) {
        continue;
      }
      const known = radios(name).find((one) => one.value === wanted);
      const why = known
        ? `The link asks for ${titleOf(known)}, which does not go with ${flavor}.`
        : `The link asks for ${noun} that you are not offered.`;
      said.push(`${why} ${titleOf(instead)} is chosen instead.`);
    }
    return said;
  }

  function notice(sentence) {
    const line = document.createElement("p");
    line.className = "notice";
    line.textContent = sentence;
    return line;
  }

  function sentences(target, reasons) {
    target.replaceChildren(
      ...reasons.map((reason) => {
        const line = document.createElement("p");
        line.className = "reason";
        line.dataset.code = reason.code;
        line.append(reason.sentence);
        if (reason.remedy) {
          const remedy = document.createElement("span");
          remedy.className = "remedy";
          remedy.textContent = ` ${reason.remedy}`;
          line.append(remedy);
        }
        return line;
      }),
    );
  }

  const starts = (offer) => offer.startable > 0 || offer.ahead !== null;
  const mayAsk = () => now.refusals.length === 0 && now.offers.some(starts);
  const isRefused = (flavor) => flavor.dataset.refused !== "";

  // A flavour that another group would let start can be chosen, so that this group can be.
  function show(offer, whomever) {
    const card = cardOf(offer.flavor);
    if (!card) {
      return;
    }
    const radio = card.querySelector('input[name="flavor"]');
    const waits = offer.startable === 0 && offer.ahead !== null;
    radio.disabled = !starts(whomever);
    radio.dataset.waits = waits ? "yes" : "";
    radio.dataset.refused = starts(offer) ? "" : "yes";
    card.classList.toggle("flavor-unavailable", !starts(offer));
    card.classList.toggle("flavor-waits", waits);
    card.querySelector("[data-waits-text]").textContent = offer.waits;
    card.querySelector("[data-borrowed-text]").textContent = offer.borrowed;
    card.querySelector("[data-free]").textContent = offer.free;
    card.querySelector("[data-others]").textContent = offer.others;
    card.querySelector("[data-lamps]").replaceChildren(
      ...offer.lamps.map((state) => {
        const lamp = document.createElement("i");
        lamp.className = state;
        return lamp;
      }),
    );
    for (const group of offer.groups) {
      const line = [...card.querySelectorAll("[data-group]")].find(
        (one) => one.dataset.group === group.group,
      );
      if (line) {
        line.textContent = group.use;
      }
    }
    card.querySelector("[data-why]").replaceChildren(
      ...offer.reasons.map((reason) => {
        const line = document.createElement("p");
        line.className = "reason";
        line.dataset.code = reason.code;
        line.textContent = reason.sentence;
        return line;
      }),
    );
    card.querySelector("[data-hint]").textContent = offer.hint;
    const alternative = card.querySelector("[data-alternative]");
    const other = offer.alternative && cardOf(offer.alternative);
    alternative.hidden = !other;
    if (other) {
      const link = alternative.querySelector("a");
      link.dataset.choose = offer.alternative;
      link.href = `?flavor=${encodeURIComponent(offer.alternative)}`;
      link.textContent = `Take ${other.querySelector("label").textContent} instead`;
    }
  }

  let submitted = false;

  // This page's address with what is chosen on it.
  function withChoice() {
    const address = new URL(window.location.href);
    address.hash = "";
    for (const name of ["flavor", "group", "environment", "size"]) {
      const radio = chosen(name);
      if (radio) {
        address.searchParams.set(name, radio.value);
      } else {
        address.searchParams.delete(name);
      }
    }
    return address.pathname + address.search;
  }

  async function look() {
    const text = submitted ? null : await contact.ask(form.dataset.offers, { Accept: "application/json" });
    if (text === null || submitted) {
      return;
    }
    const answer = JSON.parse(text);
    now = answer;
    const refusals = document.querySelector("[data-refusals]");
    if (answer.refusals.length) {
      const notice = document.createElement("div");
      notice.className = "notice notice-danger";
      sentences(notice, answer.refusals);
      if (refusals.textContent.trim() !== notice.textContent.trim()) {
        refusals.replaceChildren(notice);
      }
    } else {
      refusals.replaceChildren();
    }
    start.disabled = !mayAsk();
    update();
    form.dataset.lookedAt = new Date().toISOString();
  }

  form.addEventListener("change", () => {
    unmet.replaceChildren(); // what is chosen now is not the link's any more
    update();
  });
  form.addEventListener("click", (event) => {
    const link = event.target.closest("[data-choose]");
    if (link) {
      event.preventDefault();
      choose("flavor", link.dataset.choose);
      document.getElementById(`flavor-${link.dataset.choose}`)?.focus();
    }
  });
  form.addEventListener("submit", (event) => {
    if (submitted) {
      event.preventDefault();
      return;
    }
    if (contact.state() === "out") {
      event.preventDefault(); // it would be refused, and the choice lost
      window.location.assign(contact.loginUrl());
      return;
    }
    submitted = true;
    start.setAttribute("aria-disabled", "true");
    start.classList.add("btn-busy");
    status.textContent = "Asking for your session…";
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) {
      window.location.reload(); // back from the session: choices may have changed
    }
  });
  window.addEventListener("hashchange", fromHash);

  document.documentElement.classList.add("js");
  update();
  fromHash();
  document.getElementById("refusal")?.focus();
  contact.returnTo(withChoice);
  contact.every(INTERVAL, Infinity, look);
})();
