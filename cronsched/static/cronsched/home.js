// Keeps the home page up to date: fetches the page's content again and replaces the sections that differ.
// Nothing is fetched while nobody looks; what is in focus stays in focus.
(() => {
  "use strict";
  const root = document.getElementById("cs-live");
  if (!root) return;
  const status = document.getElementById("cs-live-status");
  const fault = document.getElementById("cs-live-fault");
  const pauseMs = Number(root.dataset.seconds) * 1000;
  const TIMEOUT_MS = 20000;
  let timer = 0;
  let busy = false;

  const parsed = (html) => new DOMParser().parseFromString(html, "text/html").getElementById("cs-home");
  const sections = (home) => new Map([...home.querySelectorAll("[data-live]")].map((it) => [it.dataset.live, it]));
  // As the server sent them, not as they are now: opening a <details> is no difference.
  let sent = new Map();
  sections(root).forEach((it, name) => sent.set(name, it.innerHTML));

  function replace(old, fresh) {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const mark = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.href ? `a[href="${CSS.escape(focused.getAttribute("href"))}"]:not([tabindex="-1"])` : null);
    const open = [...old.querySelectorAll("details[open][id]")].map((it) => it.id);
    old.className = fresh.className;
    old.innerHTML = fresh.innerHTML;
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    if (focused) {
      const again = mark && old.querySelector(mark);
      if (again) again.focus({ preventScroll: true });
      else { old.tabIndex = -1; old.focus({ preventScroll: true }); }
    }
  }

  function show(html) {
    const home = parsed(html);
    if (!home) throw new Error("not the home page");
    const now = document.getElementById("cs-home");
    const fresh = sections(home);
    const present = sections(now);
    const isSame = fresh.size === present.size && [...fresh.keys()].every((name) => present.has(name));
    const next = new Map([...fresh].map(([name, it]) => [name, it.innerHTML]));
    if (!isSame) now.innerHTML = home.innerHTML;
    else fresh.forEach((it, name) => { if (sent.get(name) !== it.innerHTML) replace(present.get(name), it); });
    if (now.dataset.summary !== home.dataset.summary) {
      now.dataset.summary = home.dataset.summary;
      status.textContent = home.dataset.summary;
    }
    sent = next;
  }

  function say(text) {
    fault.hidden = !text;
    fault.textContent = text;
  }

  async function turn() {
    if (busy || document.hidden) return;
    busy = true;
    const abort = new AbortController();
    const limit = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const answer = await fetch(root.dataset.url, { headers: { Accept: "text/html" }, redirect: "manual", signal: abort.signal });
      if (answer.type === "opaqueredirect" || answer.status === 403) return say(root.dataset.left);
      if (!answer.ok) throw new Error(String(answer.status));
      show(await answer.text());
      say("");
    } catch {
      if (!document.hidden) say(root.dataset.late);
    } finally {
      clearTimeout(limit);
      busy = false;
      plan();
    }
  }

  function plan() {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(turn, pauseMs);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : turn()));
  plan();
})();
