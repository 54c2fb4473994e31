// The board while it is watched: parts that have changed are put in place, and what is asked of the loop is asked in a
// dialog. Without this script the page shows everything as of its loading, and its forms work as forms.
"use strict";

const RETRY_MS = 5000;
// The service ends each connection after some minutes, and is connected to again at once: no news for anybody.
const PATIENCE_MS = 4000;
const connection = document.getElementById("connection");
const announced = document.getElementById("announced");
let source = null;
let retry = 0;
let doubt = 0;

function put(part) {
  const place = document.getElementById(part.id);
  if (!place || place.dataset.tag === part.tag) return;
  // Whoever reads with the keyboard, or is in the middle of a choice, is not taken away from it.
  if (place.contains(document.activeElement)) {
    place.addEventListener("focusout", () => setTimeout(() => put(part)), { once: true });
    return;
  }
  const chosen = place.value;
  place.innerHTML = part.html;
  place.dataset.tag = part.tag;
  if (chosen) place.value = chosen;
  announce();
}

// To whoever listens: what goes on, and what became of what was asked last. Not the figures, which change all the time.
function announce() {
  const told = [...document.querySelectorAll("#standing h1, #standing .asked li:first-child")];
  const words = told.map((element) => element.textContent.trim()).join(". ");
  if (announced.textContent !== words) announced.textContent = words;
}

function say(words, live) {
  if (connection.textContent !== words) connection.textContent = words;
  connection.classList.toggle("live", live);
}

function watch() {
  clearTimeout(retry);
  source = new EventSource("/live");
  source.addEventListener("open", () => {
    clearTimeout(doubt);
    doubt = 0;
    say("Live", true);
  });
  source.addEventListener("part", (event) => put(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    doubt ||= setTimeout(() => say("Not connected: shown as of the last word. Trying again.", false), PATIENCE_MS);
    // A refusal ends an EventSource for good: too many watch, or the session has ended.
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(watch, RETRY_MS);
  });
}

function rest() {
  clearTimeout(retry);
  clearTimeout(doubt);
  doubt = 0;
  if (source) source.close();
  source = null;
}

// A browser keeps few connections to one service: tabs that nobody sees give theirs back.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) rest();
  else if (!source) watch();
});
addEventListener("pagehide", rest);
addEventListener("pageshow", () => { if (!source && !document.hidden) watch(); });

for (const act of document.querySelectorAll("details.act")) {
  const dialog = document.createElement("dialog");
  const form = act.querySelector("form");
  dialog.setAttribute("aria-labelledby", form.getAttribute("aria-labelledby"));
  const cancel = document.createElement("button");
  cancel.type = "button";
  cancel.textContent = "Cancel";
  cancel.addEventListener("click", () => dialog.close());
  form.querySelector(".buttons").append(cancel);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = act.querySelector("summary").textContent;
  button.className = act.className;
  button.setAttribute("aria-haspopup", "dialog");
  button.addEventListener("click", () => dialog.showModal());
  // Sent once, however often it is pressed.
  form.addEventListener("submit", () => { form.querySelector("button.main").disabled = true; });
  dialog.append(form);
  act.replaceWith(button, dialog);
}
announce();
if (!document.hidden) watch();
