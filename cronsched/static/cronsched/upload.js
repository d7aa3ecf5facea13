/* One step of the upload after the other, until the page has something else to show. */
"use strict";
(function () {
  const form = document.getElementById("upload-work");
  if (!form) return;
  const status = document.getElementById("upload-status");
  const words = status.textContent;
  form.querySelector("button").hidden = true;

  function show(answer) {
    status.textContent = words;
    document.getElementById("upload-progress").value = answer.position;
    document.getElementById("upload-count").textContent = answer.position;
  }

  async function step() {
    let pause = 0;
    try {
      const response = await fetch(form.action, {
        method: "POST",
        body: new FormData(form),
        headers: { Accept: "application/json" },
      });
      if (response.redirected || response.status === 403 || response.status === 404) {
        window.location.reload();
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      const answer = await response.json();
      if (!answer.is_at_work) {
        window.location.assign(answer.page);
        return;
      }
      // Another window is at it: look again a little later.
      pause = answer.position === Number(document.getElementById("upload-count").textContent) ? 1000 : 0;
      show(answer);
    } catch (fault) {
      status.textContent = form.dataset.fault;
      pause = 3000;
    }
    window.setTimeout(step, pause);
  }

  step();
})();
