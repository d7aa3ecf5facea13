// The form of a job while somebody types, and test runs. Without it the form works all the same: the
// preview is the one of the stored schedule, both kinds of target are shown, a test run opens a page.
function startJobs() {
  "use strict";
  const TYPING_MS = 350;
  const form = document.getElementById("job_form");
  const token = () => document.querySelector("input[name=csrfmiddlewaretoken]").value;

  async function post(url, body) {
    const headers = { "X-CSRFToken": token(), "X-Requested-With": "fetch" };
    const answer = await fetch(url, { method: "POST", body, headers, redirect: "error" });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer;
  }

  function later(work) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(work, TYPING_MS);
    };
  }

  // ---- test runs: on the form, and on the page of a job

  async function tryIt(button, url, body) {
    const place = document.getElementById(button.dataset.trial || button.form.dataset.trial);
    const said = { ...button.form.dataset, ...button.dataset };
    button.disabled = true;
    place.textContent = said.waiting;
    try {
      place.innerHTML = await (await post(url, body)).text();
    } catch {
      place.textContent = said.fault;
    }
    button.disabled = false;
    place.focus({ preventScroll: true });
    place.scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    const isTrial = button && (button.dataset.trial || event.target.dataset.trial);
    if (!isTrial) return;
    event.preventDefault();
    tryIt(button, button.getAttribute("formaction") || event.target.action, new FormData(event.target));
  });

  if (!form) return;
  const field = (name) => form.elements.namedItem(name);

  // ---- the preview of the schedule

  const preview = document.getElementById("cs-preview");
  const cron = field("cron_expression");
  let asked = 0;

  async function showPreview() {
    const number = ++asked;
    const body = new FormData();
    for (const name of ["cron_expression", "timezone", "end_date"]) body.set(name, field(name)?.value ?? "");
    preview.setAttribute("aria-busy", "true");
    try {
      const html = await (await post(preview.dataset.url, body)).text();
      // An earlier question may be answered later.
      if (number !== asked) return;
      preview.innerHTML = html;
    } catch {
      if (number === asked) preview.textContent = preview.dataset.fault;
    }
    preview.removeAttribute("aria-busy");
    const isWrong = Boolean(preview.querySelector(".cs-preview-fault"));
    cron.setAttribute("aria-invalid", String(isWrong));
  }

  if (preview && cron) {
    const soon = later(showPreview);
    for (const name of ["cron_expression", "timezone", "end_date"]) field(name)?.addEventListener("input", soon);
    if (cron.value) showPreview();
  }

  // ---- a webhook or a workflow

  const kinds = form.querySelectorAll("input[name=target_kind]");
  const OF_KIND = { webhook: ["target_url"], github_actions: ["github_owner", "github_repo", "github_workflow_name", "github_lists", "follow_run", "follow_timeout_minutes", "github_correlation_input"] };

  function showKind() {
    const chosen = form.querySelector("input[name=target_kind]:checked")?.value;
    for (const [kind, names] of Object.entries(OF_KIND)) {
      for (const name of names) {
        // Unfold names the row of a field, and not that of what is only shown.
        const row = form.querySelector(`.field-${name}`) ?? form.querySelector(`[data-row=${name}]`)?.closest(".field-line");
        // What is at fault is never hidden.
        if (row) row.hidden = chosen !== kind && !row.querySelector(".errorlist");
      }
    }
  }

  kinds.forEach((it) => it.addEventListener("change", showKind));
  if (kinds.length) showKind();

  // ---- metadata

  const metadata = field("metadata");
  const format = document.getElementById("cs-format");

  async function askAboutMetadata() {
    const body = new FormData();
    body.set("metadata", metadata.value);
    return (await post(format.dataset.url, body)).json();
  }

  if (metadata && format) {
    const hint = document.createElement("p");
    hint.id = "cs-metadata-hint";
    hint.className = "cs-hint cs-bad";
    hint.setAttribute("role", "status");
    metadata.insertAdjacentElement("afterend", hint);
    metadata.setAttribute("aria-describedby", [metadata.getAttribute("aria-describedby"), hint.id].filter(Boolean).join(" "));
    const say = (answer) => {
      hint.textContent = answer.ok ? "" : answer.message;
      metadata.setAttribute("aria-invalid", String(!answer.ok));
    };
    // Scrolled to as well: Chromium does that when the field is entered.
    const select = (at) => {
      metadata.setSelectionRange(at, Math.min(at + 1, metadata.value.length));
      metadata.blur();
      metadata.focus();
    };
    if (metadata.dataset.faultAt) select(Number(metadata.dataset.faultAt));
    metadata.addEventListener("input", later(async () => {
      try { say(await askAboutMetadata()); } catch { hint.textContent = ""; }
    }));
    format.hidden = false;
    format.addEventListener("click", async () => {
      try {
        const answer = await askAboutMetadata();
        say(answer);
        if (answer.ok) metadata.value = answer.text;
        else if (answer.at !== undefined && answer.at !== null) select(answer.at);
      } catch { hint.textContent = ""; }
    });
  }
}

// Forms load it in their head.
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startJobs);
else startJobs();
