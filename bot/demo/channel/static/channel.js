"use strict";

// The channel: only messages that changed are replaced, so that nothing moves under a pointer or a keyboard, and
// whoever does something sees what comes of it.
const timeline = document.querySelector(".timeline");
const messages = () => document.getElementById("messages");
const composer = document.getElementById("text");
const commands = document.getElementById("commands");
let follows = true;
let isPressed = false;
let sent = "";
let unsaid = null;

const isPoll = (event) => event.detail.requestConfig?.elt.id === "poll";

function showNewest() {
  if (follows) timeline.scrollTop = timeline.scrollHeight;
}
timeline.addEventListener("scroll", () => {
  follows = timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 40;
});
window.addEventListener("resize", showNewest);
timeline.addEventListener("load", showNewest, true);
showNewest();

htmx.defineExtension("messages", {
  isInlineSwap: (style) => style === "messages",
  handleSwap(style, target, fragment) {
    if (style !== "messages") return false;
    const shown = messages();
    const fresh = fragment.querySelector("#messages");
    if (Number(fresh.dataset.seen) < Number(shown.dataset.seen)) return [];
    shown.dataset.seen = fresh.dataset.seen;
    const old = new Map([...shown.children].map((one) => [one.id, one]));
    const changed = [];
    for (const one of [...fresh.children]) {
      const before = old.get(one.id);
      old.delete(one.id);
      if (before && before.dataset.state === one.dataset.state) continue;
      if (before) before.replaceWith(one);
      else shown.append(one);
      changed.push(one);
      if (one.dataset.own === "false") unsaid = one;
    }
    for (const gone of old.values()) gone.remove();
    showNewest();
    return changed;
  },
});

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.id === "poll") {
    event.detail.parameters.seen = messages().dataset.seen;
  } else if (event.detail.verb === "post") {
    follows = true;
  }
  if (event.detail.elt === composer.form) {
    sent = composer.value;
    composer.value = "";
    filterCommands();
  }
});
document.addEventListener("htmx:afterRequest", (event) => {
  const { elt, successful, xhr } = event.detail;
  const isRefused = !successful || xhr.getResponseHeader("HX-Retarget") === "#problem";
  if (elt === composer.form && isRefused && !composer.value) composer.value = sent;
  if (elt.closest?.("details")) elt.closest("details").open = false;
  if (xhr.status === 204) announce();
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (document.activeElement === document.body && !isPoll(event)) composer.focus();
});

// What changes below a pressed button waits until it is released.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (isPressed && isPoll(event)) event.detail.shouldSwap = false;
});
document.addEventListener("pointerdown", () => { isPressed = true; });
for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, () => setTimeout(() => { isPressed = false; }));
}

// The newest message is read aloud once it is whole.
function announce() {
  if (!unsaid) return;
  document.getElementById("said").textContent = `${unsaid.ariaLabel}: ${unsaid.querySelector(".said").innerText}`;
  unsaid = null;
}

composer.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.form.requestSubmit(composer.form.querySelector(".primary"));
});
composer.addEventListener("input", filterCommands);

function filterCommands() {
  const typed = composer.value.toLowerCase();
  const asked = typed.slice(1).trim();
  for (const item of commands.querySelectorAll("li")) {
    const name = item.dataset.command;
    item.hidden = typed.startsWith("/") && !name.includes(asked) && !`${asked} `.startsWith(`${name} `);
  }
  if (typed.startsWith("/")) commands.open = true;
  else if (sent !== null) commands.open = false;
}
