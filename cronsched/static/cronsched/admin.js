"use strict";
// What unfold leaves to the mouse alone, made good for keyboards and screen readers.

// It marks what can be clicked by this class, whatever the element is.
const CLICKABLE = "[x-on\\:click].cursor-pointer:not(a[href], button, input, label, select, textarea, [role])";

function makeReachable(root) {
  for (const one of root.querySelectorAll(CLICKABLE)) {
    one.setAttribute("role", "button");
    one.tabIndex = 0;
  }
  // Three dots alone, which open a menu.
  for (const one of root.querySelectorAll("[role=button]:not(button), a[x-on\\:click]")) {
    if (!nameOf(one)) one.setAttribute("aria-label", document.getElementById("cs-words")?.dataset.more ?? "");
  }
  // Their text is the icon's name in English.
  for (const icon of root.querySelectorAll(".material-symbols-outlined:not([aria-hidden])")) {
    icon.setAttribute("aria-hidden", "true");
  }
  // A box that scrolls by itself must be reached to be scrolled.
  for (const box of root.querySelectorAll(".cs-pre:not([tabindex])")) box.tabIndex = 0;
}

// What a screen reader would say of it.
function nameOf(element) {
  const copy = element.cloneNode(true);
  copy.querySelectorAll(".material-symbols-outlined").forEach((icon) => icon.remove());
  return element.title || element.getAttribute("aria-label") || copy.textContent.trim();
}

document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("content")?.setAttribute("role", "main");
  makeReachable(document);
});
// Select2 puts elements of its own in the place of a list, without the list's name.
function nameLists() {
  for (const list of document.querySelectorAll("select.select2-hidden-accessible")) {
    const name = list.labels?.[0]?.textContent.replace("*", "").trim() || list.title;
    const shown = list.nextElementSibling?.querySelectorAll(".select2-selection, .select2-selection__rendered") ?? [];
    for (const one of shown) {
      one.removeAttribute("aria-labelledby");
      one.setAttribute("aria-label", one.matches(".select2-selection__rendered") ? one.textContent.trim() || name : name);
    }
  }
}
// It comes at a time of its own, and anew when its value changes.
document.addEventListener("DOMContentLoaded", () => {
  if (!document.querySelector("select.admin-autocomplete")) return;
  new MutationObserver(nameLists).observe(document.body, { childList: true, subtree: true });
});
document.addEventListener("focusin", (event) => {
  if (!event.target.matches?.(".select2-search__field:not([aria-label])")) return;
  event.target.setAttribute("aria-label", document.getElementById("cs-words")?.dataset.search ?? "");
});

// Unfold shows the page only now: what asked for the focus could not take it before.
document.addEventListener("alpine:initialized", () => {
  requestAnimationFrame(() => {
    if (document.activeElement === document.body) document.querySelector("[autofocus]")?.focus();
  });
});
document.addEventListener("htmx:afterSwap", (event) => makeReachable(event.target));

document.addEventListener("keydown", (event) => {
  const isPress = event.key === "Enter" || event.key === " ";
  if (!isPress || !event.target.matches?.("[role=button]:not(button, a[href])")) return;
  event.preventDefault();
  event.target.click();
});

// The filters open beside the page: into them, and back to the button that opened them.
document.addEventListener("click", (event) => {
  if (!event.target.closest('[x-on\\:click="filterOpen = true"]')) return;
  setTimeout(() => document.querySelector("#filter-form :is(input, select, button, a[href])")?.focus(), 50);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !event.target.closest?.("#filter-form")) return;
  document.querySelector('[x-on\\:click="filterOpen = true"]')?.focus();
});

// One click is enough: a form that was sent says so, and is not sent twice.
const FORGET_MS = 8000; // a download leaves the page where it is
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) { event.preventDefault(); return; }
  // Once all have been asked: a page's own script may send it in another way.
  setTimeout(() => {
    if (event.defaultPrevented || form.method !== "post") return;
    form.dataset.sent = "yes";
    event.submitter?.setAttribute("aria-busy", "true");
    setTimeout(() => forget(form), FORGET_MS);
  });
});
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach(forget));

function forget(form) {
  delete form.dataset.sent;
  document.querySelectorAll("button[aria-busy]").forEach((one) => one.removeAttribute("aria-busy"));
}
