"use strict";

// The channel: only messages that changed are replaced, so that nothing moves under a pointer or the keyboard, and
// whoever does something sees what comes of it.
const timeline = document.querySelector(".timeline");
const composer = document.getElementById("text");
const commands = document.getElementById("commands");
const files = document.getElementById("file");
const AT_END_PX = 8;
let sent = "";
let sentFiles = new DataTransfer();
let isPressed = false;
let unannounced = null;
let usesNewest = false;

const isPoll = (event) => event.detail.requestConfig?.elt.id === "poll";
const showAttached = () => {
  document.getElementById("attached").textContent = [...files.files].map((one) => one.name).join(", ");
};
const newest = () => document.getElementById("messages").lastElementChild;
const showEnd = () => { timeline.scrollTop = 0; };
const beginningOf = (one) => one.id + one.querySelector(".said")?.firstElementChild?.textContent;
// One that is longer than the view is read from its beginning.
function showNewest() {
  const one = newest();
  showEnd();
  if (one.offsetHeight > timeline.clientHeight) {
    timeline.scrollTop += one.getBoundingClientRect().top - timeline.getBoundingClientRect().top;
  }
}

htmx.defineExtension("messages", {
  isInlineSwap: (style) => style === "messages",
  handleSwap(style, _target, fragment) {
    if (style !== "messages") return false;
    const shown = document.getElementById("messages");
    const fresh = fragment.querySelector("#messages");
    if (Number(fresh.dataset.seen) < Number(shown.dataset.seen)) return [];
    shown.dataset.seen = fresh.dataset.seen;
    document.getElementById("typing").hidden = fresh.dataset.typing !== "true";
    const isAtEnd = usesNewest || timeline.scrollTop > -AT_END_PX;
    const beginning = beginningOf(newest());
    const gone = new Map([...shown.children].map((one) => [one.id, one]));
    let before = null;
    const changed = [...fresh.children].filter((one) => {
      const old = gone.get(one.id);
      gone.delete(one.id);
      const isSame = old && old.dataset.state === one.dataset.state;
      if (!isSame && old) old.replaceWith(one);
      else if (!isSame && before) before.after(one);
      else if (!isSame) shown.prepend(one);
      before = isSame ? old : one;
      return !isSame;
    });
    for (const one of gone.values()) one.remove();
    if (isAtEnd && beginningOf(newest()) !== beginning) showNewest();
    if (changed.length) usesNewest = false;
    unannounced = changed.findLast((one) => one.dataset.own === "false") ?? unannounced;
    return changed;
  },
});

// What waits for an earlier message to be sent stays as it is until its turn; a second Enter for it sends nothing.
document.addEventListener("submit", ({ target }) => { if (target === composer.form) composer.readOnly = true; }, true);
document.addEventListener("htmx:configRequest", (event) => {
  const { detail } = event;
  if (detail.elt === composer.form) {
    composer.readOnly = false;
    if (!composer.value.trim() && !files.files.length) {
      event.preventDefault();
      return;
    }
  }
  if (detail.elt.id === "poll") detail.parameters.seen = document.getElementById("messages").dataset.seen;
  if (detail.verb === "post") {
    usesNewest = newest().contains(detail.elt);
    if (!usesNewest) showEnd();
  }
  if (detail.elt === composer.form || commands.contains(detail.elt)) {
    if (detail.elt === composer.form && !composer.value.startsWith("/")) document.querySelector(".starters")?.remove();
    sent = composer.value;
    sentFiles = new DataTransfer(); // emptying the field empties its own list, too
    for (const one of files.files) sentFiles.items.add(one);
    composer.value = files.value = "";
    showAttached();
    commands.open = false;
  }
});
document.addEventListener("htmx:afterRequest", ({ detail: { elt, successful, xhr } }) => {
  const isRefused = !successful || xhr.getResponseHeader("HX-Retarget") === "#problem";
  if (elt === composer.form && isRefused && !composer.value) {
    composer.value = sent;
    files.files = sentFiles.files;
    showAttached();
  }
  const menu = elt.closest(".menu");
  if (menu) closeMenus();
  if (xhr.status === 204) announce();
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (document.activeElement === document.body && !isPoll(event)) composer.focus();
});

// An open menu is beside its message's ⋯, and in view.
function place(menu) {
  const items = menu.querySelector(".items");
  const button = menu.querySelector("summary").getBoundingClientRect();
  items.style.right = `${document.documentElement.clientWidth - button.right}px`;
  items.style.top = `${Math.max(0, Math.min(button.bottom + 4, innerHeight - items.offsetHeight - 8))}px`;
}
const placeMenus = () => document.querySelectorAll(".menu[open]").forEach(place);
document.addEventListener("toggle", placeMenus, true);
timeline.addEventListener("scroll", placeMenus);
const closeMenus = (but = null) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (menu !== but) menu.open = false;
};

// As in Discord: the right mouse button opens a message's menu, Escape leaves what is open, Alt with ↑ and ↓ leads to
// the next place, ↑ in an empty field edits the last message.
timeline.addEventListener("contextmenu", (event) => {
  const menu = event.target.closest("article")?.querySelector(".menu");
  if (!menu || event.shiftKey || event.target.closest("a, img, input, select") || getSelection().toString()) return;
  event.preventDefault();
  closeMenus(menu);
  menu.open = true;
  menu.querySelector("summary").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") leave();
  else if (event.altKey && event.key === "ArrowUp") go(-1);
  else if (event.altKey && event.key === "ArrowDown") go(1);
  else return;
  event.preventDefault();
});
function leave() {
  const open = document.querySelector(".menu[open], #commands[open]");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  } else document.querySelector("#form .actions a, #replying a")?.click();
}
function go(step) {
  const places = [...document.querySelectorAll("#places a")];
  const here = places.findIndex((place) => place.hasAttribute("aria-current"));
  places[here + step]?.click();
}
function editLast() {
  const own = [...document.querySelectorAll("article[data-own=true]")].at(-1);
  own?.querySelector("a[href*='edit=']")?.click();
}

// The newest message is read aloud once it is whole.
function announce() {
  if (!unannounced) return;
  const said = unannounced.querySelector(".said").innerText;
  document.getElementById("said").textContent = `${unannounced.getAttribute("aria-label")}: ${said}`;
  unannounced = null;
}

document.addEventListener("htmx:beforeSwap", (event) => {
  // What changes below a pressed button waits until it is released.
  if (isPressed && isPoll(event)) event.detail.shouldSwap = false;
  // If a poll has replaced a button, htmx cannot find how to show the response to it. The next poll brings the same.
  const isReplaced = !event.detail.requestConfig.elt.isConnected;
  if (isReplaced && event.target.id === "messages") event.detail.shouldSwap = false;
});
document.addEventListener("pointerdown", (event) => {
  isPressed = true;
  if (!event.target.closest("#commands")) commands.open = false;
  closeMenus(event.target.closest(".menu"));
});
for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, () => setTimeout(() => { isPressed = false; }));
}

files.addEventListener("change", () => { showAttached(); composer.focus(); });
composer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowUp" && !composer.value && !event.altKey) editLast();
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.form.requestSubmit();
});
composer.addEventListener("input", () => {
  const typed = composer.value.toLowerCase();
  const asked = typed.slice(1).trim();
  for (const item of commands.querySelectorAll("li")) {
    const name = item.dataset.command;
    item.hidden = typed.startsWith("/") && !name.includes(asked) && !`${asked} `.startsWith(`${name} `);
  }
  commands.open = typed.startsWith("/");
});
