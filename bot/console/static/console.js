"use strict";

// One key for each button that says so, unless somebody is writing.
document.addEventListener("keydown", (event) => {
  const writes = event.target.closest("input, textarea, select");
  if (event.key === "Escape" && writes) writes.blur();
  if (writes || event.ctrlKey || event.metaKey || event.altKey) return;
  const aliases = { ArrowLeft: "1", ArrowRight: "2" };
  const key = aliases[event.key] || event.key.toLowerCase();
  const button = document.querySelector(`[data-key="${CSS.escape(key)}"]:not(:disabled)`);
  if (!button || event.repeat) return;
  event.preventDefault();
  button.click();
  const text = button.closest("details")?.querySelector("textarea");
  if (text) text.focus();
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.submit();
});

// A sentence about a problem goes away with the next thing that somebody does and that works.
document.addEventListener("htmx:afterSwap", (event) => {
  const { target, requestConfig } = event.detail;
  if (target.id !== "problem" && requestConfig.triggeringEvent) document.getElementById("problem").replaceChildren();
  showTimes();
});
for (const failure of ["htmx:sendError", "htmx:responseError"]) {
  document.addEventListener(failure, ({ detail: { elt, xhr } }) => {
    if (elt.closest("[data-restarts]")) return;
    const sentence = document.createElement("p");
    sentence.id = "unanswered";
    sentence.className = "problem";
    sentence.textContent = xhr.status === 413
      ? "That is too large for the proxy in front of the console."
      : "The bot does not answer. Is it still running? What you said before is stored.";
    document.getElementById("problem").replaceChildren(sentence);
  });
}
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.successful) document.getElementById("unanswered")?.remove();
  // The page with the whole answers would take away what is typed while they grow.
  const waits = document.querySelector("[data-waits]");
  if (waits) waits.disabled = document.querySelector("#growing [hx-get]") !== null;
});

function showTimes() {
  for (const time of document.querySelectorAll("time:not([title])")) {
    const moment = new Date(time.dateTime);
    const whole = moment.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    time.title = whole;
    time.textContent = time.matches(".clock") ? moment.toLocaleTimeString([], { timeStyle: "short" }) : whole;
  }
}
showTimes();

// On a phone the links do not all fit: the one of this page comes into view.
for (const link of document.querySelectorAll("header nav [aria-current]")) {
  link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft;
}

const theme = document.getElementById("theme");
if (theme) {
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "")) === "dark";
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  });
}
