// The status page: reads the same API as the CLI, again whenever /api/v1/changes says that something changed. Text only goes in as text.
"use strict";

const WORST_FIRST = ["Held", "Stalled", "Failed", "Duplicate agent", "ErrApplied", "Aborted", "Paused", "WaitApplied", "Offline", "Modified",
  "OutOfSync", "WaitingForDependency", "WaitingForWindow", "Progressing", "Pending", "NotReady", "WaitCheckIn", "Completed", "Ready"];
const BAD = new Set(["Held", "Stalled", "Failed", "Duplicate agent", "ErrApplied", "Error"]);
const GOOD = new Set(["Ready", "Completed"]);
const KINDS = [
  { plural: "gitrepos", title: "Repositories", done: "Ready deployments", empty: "No repository yet. Add one:", command: "fleetctl gitrepo add NAME URL" },
  { plural: "bundles", title: "Bundles", done: "Ready clusters", empty: "No bundle yet. A repository's scan makes them; see how it went:", command: "fleetctl get gitrepos" },
  { plural: "rollouts", path: "/api/v1/rollouts", title: "Rollouts", done: "Clusters updated", empty: "No bundle has a rollout: all clusters are updated at once. How to go step by step:", command: "fleetctl explain rolloutStrategy" },
  { plural: "clusters", title: "Clusters", done: "Ready bundles", empty: "No cluster yet. Register one:", command: "fleetctl cluster register NAME" },
  { plural: "bundledeployments", title: "Deployments", done: "", empty: "Nothing is deployed yet. It needs a repository and a cluster; see both:", command: "fleetctl status" },
];
const MOST_ROWS = 200;
const PAGE_SIZE = 500;
const MOST_PAGES = 20;
const COUNTS = { gitrepos: "gitrepos", bundles: "bundles", clusters: "clusters", bundledeployments: "deployments" };
const MOST_PARTS = 8;
// By kind: the rows, `total` (null if it is not known) and `more`: the manager has rows that are not loaded.
const data = new Map();
// Kinds with more objects than one page. Their filters are applied by the manager, as far as it can.
const paged = new Set();
// By kind, how many times "Show more" was pressed, plus one.
const pages = new Map();
let overview = {};
let workspaces = [];
let heard = 0;
let lost = "";

async function get(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401) {
    location.replace("/login");
    await new Promise(() => {});
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(`${found.summary}. ${found.nextStep}`);
  return found;
}

async function load() {
  const scope = new URLSearchParams(paged.size && workspace() ? { workspace: workspace() } : {});
  const [counts, spaces, ...lists] = await Promise.all([get(`/api/v1/status?${scope}`), get("/api/v1/workspaces"), ...KINDS.map(list)]);
  KINDS.forEach((kind, at) => data.set(kind.plural, lists[at]));
  overview = counts;
  workspaces = spaces.items.map((item) => item.name);
  heard = Date.now();
  document.getElementById("about").textContent = `fleet-manager ${overview.version}, up ${span(overview.uptimeSeconds)}`;
  showWorkspaces();
  draw();
}

// The rows of a kind: of its first pages and, before them, of the first page of what is not Ready.
async function list(kind) {
  if (kind.path) {
    const rows = (await get(kind.path)).items.map((item) => row(kind, item));
    return { rows, total: rows.length, more: false };
  }
  const filters = paged.has(kind.plural) ? serverFilters() : {}, rows = new Map();
  const fetchPage = async (parameters) => {
    const query = new URLSearchParams({ ...filters, ...parameters, limit: PAGE_SIZE });
    const answer = await get(`/api/v1/objects/${kind.plural}?${query}`), metadata = answer.metadata || {};
    for (const item of answer.items) {
      const found = row(kind, item);
      rows.set(found.key, found);
    }
    return metadata;
  };
  let metadata = await fetchPage({});
  const total = metadata.continue ? metadata.remainingItemCount && metadata.remainingItemCount + rows.size : rows.size;
  if (metadata.continue && !Object.keys(filters).length) paged.add(kind.plural);
  if (metadata.continue && !filters.state) await fetchPage({ notReady: true });
  const wanted = Math.ceil((pages.get(kind.plural) || 1) * MOST_ROWS / PAGE_SIZE);
  for (let count = 1; metadata.continue && count < Math.min(wanted, MOST_PAGES); count += 1) metadata = await fetchPage({ continue: metadata.continue });
  return { rows: [...rows.values()], total: total || null, more: Boolean(metadata.continue) };
}

function words() {
  return document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
}

function workspace() {
  return document.getElementById("workspace").value;
}

// What the manager can filter: the workspace, labels (`env=prod`) and one state. The page searches the loaded rows for the other words.
function serverFilters() {
  const typed = document.getElementById("filter").value.split(/\s+/).filter(Boolean), filters = {};
  const labels = typed.filter((word) => /^[\w./-]+=[\w.-]+$/.test(word));
  const states = WORST_FIRST.filter((state) => typed.some((word) => word.toLowerCase() === state.toLowerCase()));
  if (workspace()) filters.workspace = workspace();
  if (labels.length) filters.selector = labels.join(",");
  if (states.length) filters.state = states.join(",");
  return filters;
}

function row(kind, item) {
  const meta = item.metadata || {}, status = item.status || {}, spec = item.spec || {}, display = status.display || {};
  const found = {
    key: `${meta.namespace}/${meta.name}`, name: meta.name, workspace: meta.namespace, note: "", labels: meta.labels || {},
    state: display.state || (status.held ? "Held" : "Pending"), done: "", when: meta.creationTimestamp,
    message: display.message || display.error || status.message || "", parts: [], marks: display.marks || [],
  };
  if (status.pausedBy) found.message = [`paused: ${status.pausedBy.join(", ")}`, found.message].filter(Boolean).join("; ");
  const reason = status.reason || (status.reasons || [])[0];
  if (reason && reason.hint) found.hint = `${reason.code}: ${reason.hint}`;
  if (kind.plural === "gitrepos") {
    found.done = display.readyBundleDeployments || "";
    found.note = [spec.repo, (status.commit || "").slice(0, 8)].filter(Boolean).join(" @ ");
    found.when = status.lastPolled || null;
    if (status.held) {
      found.state = "Held";
      found.message = `Would remove ${status.held.removals} of ${status.held.of} bundles. ` +
        `To confirm: fleetctl gitrepo confirm ${meta.name} --removals ${status.held.removals} --commit ${status.held.commit}`;
    }
  } else if (kind.plural === "bundles") {
    found.done = display.readyClusters || "";
    found.note = (status.commit || "").slice(0, 8);
  } else if (kind.plural === "rollouts") {
    found.done = display.clusters || "";
    found.note = (status.commit || "").slice(0, 8);
    if (found.state !== "Completed") found.parts = (status.partitions || []).filter((part) => part.clusters);
    if (status.offline) found.message = [found.message, `${status.offline} offline, updated at their next report`].filter(Boolean).join("; ");
  } else if (kind.plural === "clusters") {
    const agent = status.agent || {};
    found.done = display.readyBundles || "";
    found.note = status.kubeVersion ? `Kubernetes ${status.kubeVersion}` : "";
    found.when = agent.lastSeen || null;
    if (agent.contact === "connected") found.age = "connected";
    if (agent.contact === "late") found.age = "late";
    if (!found.message && found.state === "WaitCheckIn") found.message = "Waiting for its agent to report for the first time.";
  } else {
    found.name = `${spec.bundle || meta.name} on ${spec.cluster || "?"}`;
    found.note = (spec.commit || "").slice(0, 8);
    found.when = status.reportedAt || null;
  }
  found.text = [found.name, found.workspace, found.state, found.message, found.note, ...found.marks, ...found.parts.map((part) => part.name),
    ...Object.entries(found.labels).map(([key, value]) => `${key}=${value}`)].join(" ").toLowerCase();
  return found;
}

function rank(state) {
  const at = WORST_FIRST.indexOf(state);
  return at < 0 ? 3 : at;
}

function draw() {
  const tables = KINDS.map((kind) => {
    const all = rowsOf(kind.plural).filter((r) => !workspace() || r.workspace === workspace());
    const rows = all.filter((r) => words().every((word) => r.text.includes(word)));
    rows.sort((a, b) => rank(a.state) - rank(b.state) || a.key.localeCompare(b.key));
    return section(kind, all, rows);
  });
  document.getElementById("tables").replaceChildren(...tables);
}

function rowsOf(plural) {
  return data.has(plural) ? data.get(plural).rows : [];
}

function section(kind, all, rows) {
  const { more, total } = data.get(kind.plural) || {}, most = MOST_ROWS * (pages.get(kind.plural) || 1);
  const shown = Math.min(rows.length, most);
  const title = more ? `first ${number(shown)} of ${total ? number(total) : "more"}` : counted(all, rows);
  const badges = paged.has(kind.plural) ? countedStates(overview[COUNTS[kind.plural]] || {}) : tallies(all);
  const head = node("div", {}, node("h2", {}, kind.title), node("span", { className: "count" }, title), ...badges);
  const box = node("section", {}, head);
  if (!all.length && !words().length) {
    box.append(node("p", { className: "empty" }, `${kind.empty} `, node("code", {}, kind.command)));
  } else if (!rows.length) {
    const text = more ? "No loaded row matches the filter. Filter by a label (env=prod) or a state to search all." : "Nothing here matches the filter. Clear it to see all.";
    box.append(node("p", { className: "empty" }, text));
  } else {
    box.append(table(kind, rows.slice(0, most)));
  }
  if (rows.length > most || more) {
    const text = more ? "More are not loaded. Filter by a label (env=prod) or a state to search all." : omitted(rows.slice(most));
    const button = node("button", { type: "button", onclick: () => showMore(kind) }, `Show ${MOST_ROWS} more`);
    box.append(node("p", { className: "empty" }, `${text} `, button));
  }
  return box;
}

function number(count) {
  return count.toLocaleString("en");
}

function showMore(kind) {
  pages.set(kind.plural, (pages.get(kind.plural) || 1) + 1);
  refresh();
}

// Draw what is loaded; then load again what the manager filters or has more of.
let pending = 0;
function refresh() {
  draw();
  clearTimeout(pending);
  if (paged.size) pending = setTimeout(() => load().catch(() => {}), 300);
}

// What the rows that are not shown are like: rows are sorted by state, but the next ones may be in the same state.
function omitted(rows) {
  const counts = new Map();
  for (const r of rows) counts.set(r.state, (counts.get(r.state) || 0) + 1);
  const states = [...counts].map(([state, n]) => `${n} ${state}`).join(", ");
  return `${rows.length} more are not shown: ${states}. Filter to find one.`;
}

function counted(all, rows) {
  return rows.length === all.length ? String(all.length) : `${rows.length} of ${all.length}`;
}

function tallies(all) {
  const counts = new Map();
  for (const r of all) counts.set(r.state, (counts.get(r.state) || 0) + 1);
  return countedStates(Object.fromEntries(counts));
}

function countedStates(counts) {
  return Object.entries(counts).sort((a, b) => rank(a[0]) - rank(b[0])).map(([state, n]) => badge(state, `${number(n)} ${state}`));
}

function table(kind, rows) {
  const seen = { clusters: "Last seen", gitrepos: "Polled", bundles: "Age", rollouts: "Begun" }[kind.plural] || "Reported";
  const head = ["Name", "State", kind.done, seen, "Message"].map((text) => node("th", { scope: "col" }, text));
  const body = rows.map((r) => node("tr", {},
    node("td", { className: "name" }, r.name, node("small", {}, [r.workspace, r.note].filter(Boolean).join(" · "))),
    node("td", {}, badge(r.state, r.state), ...r.marks.map((mark) => node("span", { className: "mark" }, mark))),
    node("td", { className: `done ${kind.plural}`, title: kind.done }, r.done),
    node("td", { className: "age", title: r.when || "" }, shownAge(r)),
    node("td", { className: "message" }, r.message, ...(r.hint ? [node("small", {}, r.hint)] : []), ...partitions(r.parts))));
  return node("table", {}, node("thead", {}, node("tr", {}, ...head)), node("tbody", {}, ...body));
}

// How far each partition is; the first that are not finished when there are many.
function partitions(parts) {
  if (!parts.length) return [];
  const open = parts.findIndex((part) => !part.finishedAt);
  const from = Math.max(0, Math.min(open - 1, parts.length - MOST_PARTS));
  const lines = parts.slice(from, from + MOST_PARTS).map((part) => {
    const down = part.startedAt && part.unavailable ? `${part.unavailable} of ${part.maxUnavailable} down` : "";
    const said = part.finishedAt ? "finished" : part.startedAt ? "" : part.approval === "wanted" ? "waits for approval" : "not begun";
    const numbers = [`${part.told}/${part.clusters} updated`, `${part.ready} ready`, part.failed ? `${part.failed} failed` : "",
      part.offline ? `${part.offline} offline` : "", down, said];
    return node("li", { className: part.finishedAt ? "finished" : part.startedAt ? "begun" : "" },
      node("b", {}, part.name), ` ${numbers.filter(Boolean).join(", ")}`);
  });
  const left = parts.length - lines.length;
  return [node("ul", { className: "parts" }, ...lines, ...(left ? [node("li", {}, `and ${left} more partitions`)] : []))];
}

function badge(state, text) {
  const tone = GOOD.has(state) ? "good" : BAD.has(state) ? "bad" : state === "WaitCheckIn" || state === "Offline" ? "" : "wait";
  return node("span", { className: `state ${tone}`.trim() }, text);
}

function node(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function shownAge(r) {
  if (!r.when) return "never";
  if (r.age === "connected") return "connected";
  return r.age === "late" ? `${ago(r.when)} (late)` : ago(r.when);
}

function ago(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  return Number.isNaN(seconds) ? "" : `${span(seconds)} ago`;
}

function span(seconds) {
  const [size, unit] = seconds < 120 ? [1, "s"] : seconds < 7200 ? [60, "min"] : seconds < 172800 ? [3600, "h"] : [86400, "d"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

function showWorkspaces() {
  const select = document.getElementById("workspace"), chosen = select.value;
  const names = workspaces;
  select.replaceChildren(node("option", { value: "" }, "all"), ...names.map((name) => node("option", { value: name }, name)));
  select.value = names.includes(chosen) ? chosen : "";
}

function showLive() {
  const place = document.getElementById("live");
  place.className = lost ? "lost" : "";
  const age = heard ? `, as of ${span((Date.now() - heard) / 1000)} ago` : "";
  place.textContent = lost ? `${lost}${heard ? `. What is shown is ${span((Date.now() - heard) / 1000)} old` : ""}` : heard ? `Live${age}` : "Loading…";
}

async function follow() {
  let revision = 0, wait = 1;
  for (;;) {
    try {
      const now = (await get(`/api/v1/changes?since=${revision}&wait=${revision ? 50 : 0}`)).revision;
      if (now !== revision || !heard || lost) await load();
      heard = Date.now();
      revision = now;
      lost = "";
      wait = 1;
      await new Promise((done) => setTimeout(done, 500));
    } catch (error) {
      lost = error instanceof TypeError ? "The manager does not answer" : error.message;
      wait = Math.min(wait * 2, 30);
      await new Promise((done) => setTimeout(done, wait * 1000 * (0.5 + Math.random() / 2)));
    }
    showLive();
  }
}

document.getElementById("filter").addEventListener("input", refresh);
document.getElementById("workspace").addEventListener("change", refresh);
document.getElementById("logout").addEventListener("click", async () => {
  await fetch("/logout", { method: "POST", headers: { "fleet-page": "1" } });
  location.replace("/login");
});
setInterval(() => { showLive(); }, 5000);
// A poll of Git that finds nothing is no change, so the times of polls are asked for.
async function refreshPolls() {
  data.set("gitrepos", await list(KINDS.find((kind) => kind.plural === "gitrepos")));
}

setInterval(async () => {
  if (!lost && heard) await refreshPolls().catch(() => {});
  draw();
}, 30000);
follow();
