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
