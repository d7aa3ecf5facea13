/* Buttons that copy the text of an element: <button data-copy="#id" data-copied="Copied">. */
"use strict";
(function () {
  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  async function copy(element) {
    if (navigator.clipboard && window.isSecureContext) {
      try {
        await navigator.clipboard.writeText(element.textContent);
        return true;
      } catch (refused) {
        // The browser's user said no: the way below asks nobody.
      }
    }
    // Plain http knows no clipboard: the text is left selected, so that a key copies it at the worst.
    select(element);
    return document.execCommand("copy");
  }

  document.addEventListener("click", async function (event) {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const done = await copy(document.querySelector(button.dataset.copy));
    if (!done) return;
    const label = button.textContent;
    button.setAttribute("aria-live", "polite");
    button.textContent = button.dataset.copied;
    window.setTimeout(function () { button.textContent = label; }, 2000);
  });
})();

/* The bell: looks for unread notices while somebody looks at the page. */
(function () {
  const SECONDS = 30;
  const bell = document.querySelector("[data-unread-url]");

  function show(link, count) {
    const badge = link.querySelector(".cd-bell-count");
    const text = count > 99 ? "99+" : String(count);
    if (badge.textContent === text) return;
    badge.textContent = count ? text : "";
    badge.hidden = !count;
    link.setAttribute("aria-label", count ? link.dataset.some + " " + text : link.dataset.none);
  }

  async function look(link) {
    if (document.hidden) return;
    try {
      const response = await fetch(link.dataset.unreadUrl, { headers: { Accept: "application/json" } });
      // Signed out meanwhile: the answer is the page to sign in.
      if (response.ok && !response.redirected) show(link, (await response.json()).unread);
    } catch (fault) {
      // The next look may find the server again.
    }
  }

  function start() {
    const link = bell || document.querySelector("[data-unread-url]");
    if (!link) return;
    window.setInterval(function () { look(link); }, SECONDS * 1000);
    document.addEventListener("visibilitychange", function () { look(link); });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();

/* A field that narrows many links: <input data-narrows="id" hidden>. Enter follows the first that is left. */
(function () {
  function links(field) {
    return [...document.getElementById(field.dataset.narrows).querySelectorAll("a")];
  }

  function narrow(field) {
    const wanted = field.value.trim().toLowerCase();
    links(field).forEach((link) => { link.hidden = !link.textContent.toLowerCase().includes(wanted); });
  }

  function start() {
    document.querySelectorAll("[data-narrows]").forEach((field) => {
      field.hidden = false;
      field.addEventListener("input", () => narrow(field));
      field.addEventListener("keydown", (event) => {
        if (event.key === "Enter") links(field).find((link) => !link.hidden)?.click();
      });
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
