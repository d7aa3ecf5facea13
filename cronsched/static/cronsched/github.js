// What GitHub knows, beside the fields of a job that calls a workflow: lists to choose from, and the
// workflow's own inputs as fields that write into metadata. Without it, or without GitHub, all is free text.
function startGitHub() {
  "use strict";
  const TYPING_MS = 500;
  const form = document.getElementById("job_form");
  const place = document.getElementById("cs-github");
  if (!form || !place) return;
  const field = (name) => form.elements.namedItem(name);
  const owner = field("github_owner"), repo = field("github_repo");
  const workflow = field("github_workflow_name"), metadata = field("metadata");
  if (!repo || !workflow || !metadata) return;
  const hint = place.querySelector("[role=status]"), fields = place.querySelector(".cs-github-fields");
  const plain = hint.textContent;
  const asked = {};

  // The newest question of a kind alone is answered; the same one is not asked twice.
  async function ask(kind, query) {
    const text = new URLSearchParams(query).toString();
    if (asked[kind]?.text === text) return asked[kind].answer;
    const answer = fetch(`${place.dataset[kind]}?${text}`, { redirect: "error" })
      .then((it) => (it.ok ? it.json() : { ok: false, message: String(it.status) }))
      .catch(() => ({ ok: false, message: "" }));
    asked[kind] = { text, answer };
    const said = await answer;
    return asked[kind].text === text ? said : null;
  }

  // Of a list that is cut, those are asked for that match what is typed.
  function offer(input, said, search) {
    offerNames(input, said.names);
    if (!said.is_cut) return;
    hint.textContent = place.dataset.cut;
    if (input.dataset.searched) return;
    input.dataset.searched = "1";
    input.addEventListener("input", later(() => input.value && search(input.value)));
  }

  function offerNames(input, names) {
    const id = `${input.id}-choices`;
    const list = document.getElementById(id) ?? document.body.appendChild(document.createElement("datalist"));
    list.id = id;
    list.replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
    input.setAttribute("list", id);
    input.setAttribute("autocomplete", "off");
  }

  const present = () => {
    try {
      const value = JSON.parse(metadata.value || "{}");
      return value && typeof value === "object" && !Array.isArray(value) ? value : null;
    } catch { return null; }
  };

  function put(name, value) {
    const all = present();
    if (!all) return;
    if (value === "") delete all[name]; else all[name] = value;
    metadata.value = JSON.stringify(all, null, 2);
    metadata.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // ---- one input of the workflow, or the branch, as a field

  function control(spec, value) {
    let it;
    if (spec.options.length || spec.type === "boolean") {
      it = document.createElement("select");
      const unset = spec.default === null ? "–" : `${spec.default} (${place.dataset.unset})`;
      it.add(new Option(unset, ""));
      for (const option of spec.options.length ? spec.options : ["true", "false"]) it.add(new Option(option, option));
    } else {
      it = document.createElement("input");
      it.type = spec.type === "number" ? "number" : "text";
      if (it.type === "number") it.step = "any";
      it.placeholder = spec.default ?? "";
    }
    it.value = value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value);
    return it;
  }

  function row(spec, number) {
    const all = present() ?? {};
    const box = document.createElement("div"), label = document.createElement("label");
    const it = control(spec, all[spec.name]);
    it.id = `cs-github-input-${number}`;
    it.className = "cs-github-control";
    it.required = false;
    label.htmlFor = it.id;
    label.textContent = (spec.label ?? spec.name) + (spec.is_required && spec.default === null ? ` (${place.dataset.required})` : "");
    it.addEventListener("change", () => put(spec.name, it.value));
    box.append(label, it);
    if (spec.description) {
      const help = document.createElement("span");
      help.className = "text-subtle";
      help.id = `${it.id}-help`;
      help.textContent = spec.description;
      it.setAttribute("aria-describedby", help.id);
      box.append(help);
    }
    return [box, it];
  }

  async function searchBranches(input, search) {
    const said = await ask("branches", { ...where(), search });
    if (said?.ok) offerNames(input, said.names);
  }

  function show(found, branches) {
    const correlation = field("github_correlation_input")?.value;
    const specs = found.inputs.filter((spec) => spec.name !== correlation);
    const branch = { name: "branchDetails", label: place.dataset.branch, type: "string", options: [], default: place.dataset.defaultRef, description: "" };
    const rows = [branch, ...specs].map(row);
    hint.textContent = found.has_trigger ? plain : place.dataset.noTrigger;
    if (branches?.ok) offer(rows[0][1], branches, (search) => searchBranches(rows[0][1], search));
    rows[0][1].addEventListener("change", soonInputs);
    fields.replaceChildren(...rows.map(([box]) => box));
    fields.hidden = false;
  }

  // ---- questions

  const where = () => ({ owner: owner?.value ?? "", repo: repo.value });

  async function askRepositories() {
    const said = await ask("repositories", { owner: owner?.value ?? "" });
    if (said?.ok) offer(repo, said, searchRepositories);
  }

  async function searchRepositories(search) {
    const said = await ask("repositories", { owner: owner?.value ?? "", search });
    if (said?.ok) offerNames(repo, said.names);
  }

  async function askWorkflows() {
    if (!repo.value) return;
    const said = await ask("workflows", where());
    if (said?.ok) offerNames(workflow, said.names);
    else if (said) hint.textContent = `${said.message} ${place.dataset.free}`;
  }

  async function askInputs() {
    fields.hidden = true;
    if (!repo.value || !/\.ya?ml$/.test(workflow.value)) return;
    const ref = present()?.branchDetails ?? "";
    const [said, branches] = await Promise.all([
      ask("inputs", { ...where(), workflow: workflow.value, ref }),
      ask("branches", where()),
    ]);
    if (said?.ok) show(said, branches);
    else if (said) hint.textContent = `${said.message} ${place.dataset.free}`;
  }

  function later(work) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(work, TYPING_MS);
    };
  }

  const soonInputs = later(askInputs), soonAll = later(() => { askWorkflows(); askInputs(); });
  const isChosen = () => form.querySelector("input[name=target_kind]:checked")?.value === "github_actions";
  repo.addEventListener("focus", askRepositories);
  workflow.addEventListener("focus", askWorkflows);
  for (const it of [owner, repo]) it?.addEventListener("input", soonAll);
  workflow.addEventListener("input", soonInputs);
  form.querySelectorAll("input[name=target_kind]").forEach((it) => it.addEventListener("change", () => isChosen() && soonAll()));
  if (isChosen()) soonAll();
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startGitHub);
else startGitHub();
