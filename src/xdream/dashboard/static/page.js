// The page: what comes as events is kept in `S` and drawn. Text goes into the page as text, never as markup.
import { draw, forget, minutes, short } from "./charts.js";
import * as orders from "./orders.js";
import { beginParts, showParts } from "./parts.js";
import { $, drawTable, make, many, seeing, sortsOnClick } from "./tables.js";

const at = new URLSearchParams(location.search).get("at") || "";
const url = (path) => path + (at ? `?at=${encodeURIComponent(at)}` : "");
const S = { about: null, rows: new Map(), events: [], times: [], drift: [], live: {}, overview: null, shown: 0, sort: ["id", 1], heldUntil: 0 };

const clock = (utc) => new Date(utc).toLocaleTimeString();

// ------------------------------------------------------------------ what arrives

function take(message, whole) {
  if (message.overview) { S.overview = message.overview; return; }
  if (message.about) { S.about = message.about; showPlan(); }
  if (whole) { S.rows.clear(); S.events = []; S.times = []; S.drift = []; S.live = {}; }
  for (const [run, generation, t, took, best, mean, sd, scored, images, pixels] of message.rows || []) {
    if (!S.rows.has(run)) S.rows.set(run, []);
    S.rows.get(run).push({ generation, t, took, best, mean, sd, scored, images, pixels });
  }
  S.events = S.events.concat(message.events || []).slice(-300);
  S.times.push(...(message.times || []));
  S.drift.push(...(message.drift || []));
  if (message.live) {
    const held = message.live.held;
    if (held && !(S.live.held && S.live.held.since === held.since)) S.heldUntil = performance.now() + 1000 * held.left_s - (whole ? Math.max(0, Date.now() - Date.parse(held.since)) : 0);
    S.live = message.live;
  }
}

let waiting = false;
function soon() {  // at most once per frame, however much arrives
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; show(); document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1); });  // counted for tests
}

// ------------------------------------------------------------------ what is derived

const runs = () => S.about.runs;
const isVoid = (generation) => (S.live.void || []).includes(generation);
const rowsOf = (run) => S.rows.get(run) || [];
const last = (list) => list[list.length - 1];
const told = (run) => rowsOf(run).filter((row) => !isVoid(row.generation));
const total = (run) => { const rows = told(run); return rows.length ? Math.max(Math.floor(S.about.presentations / (rows[0].images * S.about.repeats)), rows.length) : null; };
const median = (list) => { const sorted = [...list].sort((a, b) => a - b); return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null; };

function stateOf() {
  const live = S.live;
  if (live.over) return ["over", "over"];
  if (live.held) return ["held", `block ${live.held.block} is to be rejected`];
  if (live.running === false) return ["stopped", live.paused ? `not running (paused: ${live.paused})` : "not running"];
  if (live.paused) return ["paused", `paused: ${live.paused}`];
  return S.about.kind === "session" ? ["showing", "showing"] : ["running", "running"];
}

// ------------------------------------------------------------------ drawing

function show() {
  if (S.overview) return showParts(S.overview);
  if (!S.about) return;
  const session = S.about.kind === "session";
  $("name").textContent = S.about.name;
  document.title = `${S.about.name} – xdream watch`;
  $("kind").textContent = `${session ? "session with a rig" : "experiment"} in ${S.about.folder}`;
  const [state, text] = stateOf();
  $("state").dataset.state = state;
  $("state").textContent = text;
  for (const id of ["progress", "responses", "times", "plan"]) $(`${id}-card`).hidden = false;
  for (const id of ["block", "channel", "answers", "events"]) $(`${id}-card`).hidden = !session;
  showSteering(session);
  showAlarms();
  showFacts(session);
  showResponses();
  showStrip();
  if (session) { showBlock(); showAnswers(); showEvents(); showChannel(); showNothingYet(); }
  showDrift();
  showTimes();
}

function showSteering(session) {
  const live = S.live;
  $("steer").hidden = live.over === true;
  $("read-only").hidden = orders.allowed() || live.over === true;
  $("pause").hidden = !session;
  $("pause").textContent = live.paused ? "Go on" : "Pause";
  for (const id of ["pause", "end", "take-back"]) $(id).disabled = !orders.allowed();
  $("held").hidden = !live.held;
  if (live.held) {
    const left = Math.max(0, Math.ceil((S.heldUntil - performance.now()) / 1000));
    const when = live.running === false ? `${live.held.left_s} s after the session is resumed` : `in ${left} s`;
    $("held-text").textContent = `Block ${live.held.block} is rejected ${when}; nothing is shown until then (${live.held.reason}).`;
  }
}

function showAlarms() {
  const list = S.live.troubles || [];
  $("alarms").hidden = list.length === 0;
  $("alarms").replaceChildren(...list.map((one) => {
    const often = one.times > 1 ? ` ${one.times} times` : "";
    const row = make("div", "", { class: "alarm" });
    row.append(make("span", `${one.what}${often}${one.why ? ": " : ""}${one.why}`), make("time", `since ${clock(one.since)}`, { class: "quiet", datetime: one.since }));
    const seen = make("button", "Acknowledge", { type: "button" });
    seen.disabled = !orders.allowed();
    seen.addEventListener("click", () => orders.give(url("/order"), "acknowledge", String(one.id)));
    row.append(seen);
    return row;
  }));
}

function showFacts(session) {
  const live = S.live, going = runs().filter((run) => !live.endings?.[run.id]);
  const lengths = runs().map((run) => told(run.id).length);
  const most = Math.max(0, ...lengths), whole = Math.max(0, ...runs().map((run) => total(run.id) || 0));
  const longest = runs().find((run) => told(run.id).length === most);
  const row = longest && last(told(longest.id));
  const shown = runs().reduce((sum, run) => sum + told(run.id).reduce((n, one) => n + one.images * S.about.repeats, 0), 0);
  const pace = longest ? median(told(longest.id).slice(-10).map((one) => one.took)) : null;
  const left = going.length && pace != null ? pace * Math.max(whole - most, 0) : null;
  const facts = [["generation", `${most}${whole ? ` of ${whole}` : ""}`], ["presentations told", shown.toLocaleString("en")],
    ["runs going on", `${going.length} of ${runs().length}`], ["since the start", row ? minutes(row.t) : "–"],
    ["per generation", pace == null ? "–" : pace < 10 ? `${short(pace)} s` : minutes(pace)], ["estimated rest", left == null ? "–" : `about ${minutes(left)}`]];
  if (live.under_way) facts.push([`generation ${live.under_way[0] + 1}, under way`, `${live.under_way[1]} of ${live.under_way[2]} responses`]);
  if (live.void?.length) facts.push(["void generations", live.void.length]);
  $("facts").replaceChildren(...facts.map(([name, value]) => { const one = make("div"); one.append(make("b", String(value)), make("span", name)); return one; }));
  $("progress").max = Math.max(whole, 1);
  $("progress").value = most;
}

const CHARTED = 4;
function showResponses() {
  const session = S.about.kind === "session", count = runs().length;
  const what = session ? (S.about.repeats === 1 ? "Each image was presented once per generation: best is the highest of many single, noisy trials, and lies above the best image's true mean." : `Each point of an image is the mean of ${S.about.repeats} presentations; best is the highest of many noisy means, and lies above the best image's true mean.`)
    : S.about.noisy ? "Responses without the artificial noise." : "Responses without noise.";
  const refs = S.about.references ? ` References: mean of all ${S.about.references} natural images${session ? ", each the mean over all its presentations so far," : ""} ± their standard deviation.` : "";
  $("responses-text").textContent = `${what} Bands: ± one standard deviation over images.${refs}`;
  if (!$("key").childElementCount) for (const [name, text] of [["best", "best image"], ["mean", "mean"], ["band", "± SD over images"], ["refs", "references, mean"], ["refband", "± SD over references"], ["refbest", "best reference"]])
    if (S.about.references || !name.startsWith("ref")) $("key").append(make("span", text, { class: name }));
  const large = count <= CHARTED, wide = $("charts").clientWidth || 1200;
  const width = count === 1 ? wide : large ? Math.max(Math.floor((wide - 14) / 2), 320) : 220, height = large ? 260 : 130;
  for (const run of runs()) {
    let chart = document.getElementById(`run-${run.id}`);
    if (!chart) {
      chart = make("div", "", { id: `run-${run.id}`, class: large ? "chart" : "chart small", role: "img" });
      chart.append(make("h3"), make("div"));
      $("charts").append(chart);
      seen.observe(chart);
    }
    chart.style.width = `${width}px`;
    const rows = told(run.id), now = last(rows);
    chart.firstChild.textContent = `${run.id}: ${run.target}${S.live.endings?.[run.id] ? ` (ended: ${S.live.endings[run.id]})` : ""}`;
    chart.setAttribute("aria-label", `Run ${run.id}, ${run.target}: ${now ? `best ${short(now.best)}, mean ${short(now.mean)} in generation ${now.generation + 1}` : "nothing told yet"}`);
    if (!chart.dataset.seen) continue;
    drawRun(chart.lastChild, run, rows, width, height, large);
  }
  $("runs-box").hidden = count === 1;
  if (count > 1) showTable();
}

const seen = seeing(soon);

function drawRun(box, run, rows, width, height, large) {
  const gens = rows.map((row) => row.generation + 1);
  const of = (f) => rows.map((row) => { const x = f(row); return x == null || Number.isNaN(x) ? null : x; });
  const data = [gens, of((r) => r.best), of((r) => r.mean), of((r) => r.mean == null ? null : r.mean + r.sd), of((r) => r.mean == null ? null : r.mean - r.sd)];
  const series = ["best", "mean", "edge", "edge"], bands = [[3, 4, "--band"]], ref = S.live.references?.[run.id];
  if (ref) {
    const constant = (x) => gens.map(() => x);
    data.push(constant(ref[0]), constant(ref[0] + ref[1]), constant(ref[0] - ref[1]), constant(ref[2]));
    series.push("refs", "edge", "edge", "refbest");
    bands.push([6, 7, "--greyband"]);
  }
  const sums = new Map(); let sum = 0;
  for (const row of rows) { sum += row.images * S.about.repeats; sums.set(row.generation + 1, [sum, row.t]); }
  const text = (g) => sums.has(g) ? `${sums.get(g)[0]} / ${minutes(sums.get(g)[1])}` : "";
  const unit = S.about.zscore ? "score (SD of references)" : S.kind === "spikes" ? "score (spikes/s)" : "score (unit of the response)";
  draw(box, `run-${run.id}`, { x: large ? "generation" : "", y: large ? unit : "", width, height, series, bands, data, top: large ? { label: "presentations / time since the start", text } : null });
  box.dataset.points = String(gens.length);
}

function showTable() {
  const whole = { whole: true }, text = { text: true };
  const several = new Set(runs().map((run) => run.generator)).size > 1;
  const columns = [["id", "run", whole], ["target", "target", text], ...(several ? [["generator", "generator", text]] : []), ["optimizer", "optimizer", text], ["seed", "seed", whole], ["generation", "generation", whole], ["best", "best now"], ["ever", "best ever"], ["mean", "mean now"], ["ref", "best reference"], ["ending", "state", text]];
  drawTable($("runs"), columns, runs().map((run) => {
    const rows = told(run.id), now = last(rows) || {};
    const ever = rows.reduce((most, row) => row.best != null && (most == null || row.best > most) ? row.best : most, null);
    return { ...run, generation: rows.length, best: now.best, mean: now.mean, ever, ref: S.live.references?.[run.id]?.[2], ending: S.live.endings?.[run.id] || "goes on" };
  }), S.sort);
}

function picture(pixels, name) {
  if (!S.about.images || !pixels) return make("span", "not kept", { class: "none" });
  const image = make("img", "", { src: url(`/image/${pixels}`), alt: name, title: name, loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(make("span", "not kept", { class: "none" })), { once: true });
  return image;
}

function choose(id, options, changed) {  // fills a choice once
  if ($(id).childElementCount === options.length) return;
  $(id).replaceChildren(...options.map(([value, text]) => make("option", text, { value })));
  $(id).onchange = changed;
}

function showStrip() {
  $("strip-card").hidden = !S.about.images;
  if (!S.about.images) return;
  choose("strip-run", runs().map((run) => [run.id, `run ${run.id}: ${run.target}`]), () => { $("strip").replaceChildren(); soon(); });
  const run = Number($("strip-run").value || runs()[0].id), rows = rowsOf(run), strip = $("strip");
  $("strip-text").textContent = "The image with the best score of each generation, and that score.";
  const end = strip.scrollWidth - strip.scrollLeft - strip.clientWidth < 40;
  for (const row of rows.slice(strip.childElementCount)) {
    const one = make("li", "", { "data-generation": row.generation });
    one.append(picture(row.pixels, `best image of generation ${row.generation + 1}`), make("b", short(row.best)), document.createTextNode(`generation ${row.generation + 1}`));
    strip.append(one);
  }
  for (const one of strip.children) one.classList.toggle("void", isVoid(Number(one.dataset.generation)));
  if (end) strip.scrollLeft = strip.scrollWidth;
}

function showBlock() {
  const block = S.live.block;
  $("block-card").hidden = !block;
  if (!block) return;
  $("block-title").textContent = `Block ${block.block}, generation ${block.generation + 1}`;
  $("block-text").textContent = `${block.answered} of ${block.planned} presentations answered${block.holder ? `; held by ${block.holder}` : ""}${block.aside ? `; answers to ${block.aside} were put aside` : ""}.${S.about.references ? " Dashed: references." : ""}`;
  $("accept").hidden = !block.aside || !orders.allowed();
  const key = `${block.block}/${block.images.length}`;
  if ($("block-images").dataset.block === key) return;
  $("block-images").dataset.block = key;
  $("block-images").replaceChildren(...block.images.slice(0, 200).map(([pixels, name, reference]) => {
    const one = make("li", "", { title: name, class: reference ? "reference" : "" });
    one.append(picture(pixels, name), document.createTextNode(reference ? name.split("-").pop() : name.split("-").slice(2).join(" ") || name));
    return one;
  }));
}

function showAnswers() {
  const counts = Object.entries(S.live.counts || {}).sort();
  $("answers").replaceChildren(...(counts.length ? counts : [["nothing has arrived yet", ""]]).map(([name, count]) => {
    const row = make("tr"); row.append(make("td", name), make("td", String(count))); return row;
  }));
  const head = make("tr"); for (const text of ["block", "generation", "state", ""]) head.append(make("th", text));
  $("blocks").replaceChildren(head, ...(S.live.blocks || []).map(([number, generation, ending]) => {
    const row = make("tr"); for (const text of [number, generation + 1, ending || "open"]) row.append(make("td", String(text)));
    const cell = make("td"), button = make("button", "Reject…", { type: "button", "data-block": number });
    button.disabled = !orders.allowed() || Boolean(S.live.held) || S.live.over;
    cell.append(button); row.append(cell);
    return row;
  }));
}

function showEvents() {
  const list = $("events"), newest = last(S.events)?.[0], leases = S.live.leases || 0;
  $("leases").textContent = leases ? `Not listed: ${many(leases, "time")} that a rig took a block.` : "";
  if (list.dataset.newest === String(newest)) return;
  list.dataset.newest = String(newest);
  list.replaceChildren(...[...S.events].reverse().map(([, utc, generation, block, kind, text]) => {
    const one = make("li");
    one.append(make("time", clock(utc), { datetime: utc }), make("b", `${kind} `), document.createTextNode(text));
    return one;
  }));
}

let asked = "";
async function showChannel() {
  choose("channel", S.about.channels.map((name, i) => [i, name]), () => { asked = ""; forget("channel"); $("channel-charts").replaceChildren(); soon(); });
  if (!$("channel").dataset.chosen) {  // at first that of the first run
    $("channel").dataset.chosen = "1";
    const own = Number(runs()[0].target.split(":").pop());
    if (Number.isInteger(own) && own < S.about.channels.length) $("channel").value = String(own);
  }
  const number = Number($("channel").value || 0), key = `${number}/${Math.max(-1, ...runs().map((run) => last(rowsOf(run.id))?.generation ?? -1))}`;
  if (asked === key) return;
  asked = key;
  const reply = await fetch(url(`/channel/${number}`));
  if (!reply.ok || asked !== key) return;
  const view = await reply.json(), box = $("channel-charts");
  if (S.kind !== view.kind) { S.kind = view.kind; soon(); }
  S.recorded = Boolean(view.kind);
  showNothingYet();
  if (view.kind) $("channel-text").textContent = view.kind === "spikes" ? `Spikes: one line per presentation, and the rate in bins of 10 ms with its standard error. Counted from ${view.windows_ms.map((w) => w.join(" to ")).join(", ")} ms after the onset.`
    : view.kind === "traces" ? "Mean trace with its standard error." : "Responses, one per presentation, as the rig sent them (without baseline, if one is subtracted).";
  const all = view.groups.flatMap((g) => g.values || g.mean.map((m, i) => (m ?? 0) + (g.error[i] ?? 0))), most = Math.max(1e-9, ...all), least = Math.min(0, ...all);
  view.groups.forEach((group, i) => {
    let chart = box.children[i];
    if (!chart) { chart = make("div", "", { class: "chart" }); chart.append(make("h3"), make("div"), make("div")); box.append(chart); }
    chart.firstChild.textContent = `${group.name}: ${many(group.shown, "presentation")}`;
    const width = Math.max(Math.floor(((box.clientWidth || 1200) - 26) / 3), 260);
    chart.style.width = `${width}px`;
    if (group.values) {
      draw(chart.children[1], `channel-${i}`, { x: "presentation, by response", y: "response", width, height: 170, series: ["dots"], data: [group.values.map((_, j) => j + 1), [...group.values].sort((a, b) => a - b)], yrange: [least, most * 1.05] });
      return;
    }
    const edges = [group.centres_ms[0], last(group.centres_ms)];
    if (view.kind === "spikes") draw(chart.children[1], `channel-raster-${i}`, { x: "", y: "trial", width, height: 130, empty: "no spike", series: ["dots"], data: [group.times_ms, group.rows.map((r) => r + 1)], range: edges, yrange: [0, Math.min(group.shown, 60) + 1] });
    draw(chart.children[2], `channel-${i}`, { x: "ms after the onset", y: view.kind === "spikes" ? "rate (Hz)" : "mean", width, height: 150, series: ["mean", "edge", "edge"], bands: [[2, 3, "--band"]],
      data: [group.centres_ms, group.mean, group.mean.map((m, j) => m == null ? null : m + group.error[j]), group.mean.map((m, j) => m == null ? null : m - group.error[j])], range: edges, yrange: [least, most * 1.05] });
  });
}

function showNothingYet() {
  if (S.recorded) return;
  const now = S.live.under_way;
  $("channel-text").textContent = now ? `Shown when a generation is complete: ${now[1]} of ${now[2]} responses of generation ${now[0] + 1} are there.` : "Nothing was recorded yet.";
}

function showDrift() {
  $("drift-card").hidden = S.drift.length === 0;
  if (!S.drift.length) return;
  const id = Number($("strip-run").value || runs()[0].id), rows = S.drift.filter(([run, g]) => run === id && !isVoid(g));
  $("drift-text").textContent = `Run ${id}: mean ± SD over the ${rows.length ? last(rows)[4] : 0} presentations of references in each generation. A drift here is one of the neuron or the recording, not of the images.`;
  draw($("drift"), "drift", { x: "generation", y: "response", width: $("drift").clientWidth || 560, height: 190, series: ["mean", "edge", "edge"], bands: [[2, 3, "--band"]],
    data: [rows.map((r) => r[1] + 1), rows.map((r) => r[2]), rows.map((r) => r[2] + r[3]), rows.map((r) => r[2] - r[3])] });
}

function showTimes() {
  const session = S.about.kind === "session", rows = S.times;
  const parts = session ? ["waiting for the rig (blue)", "drawing images (red)", "scores and optimizer (green, dashed)"] : ["images and responses (blue)", "optimizer and record (green, dashed)"];
  $("times-text").textContent = `${parts.join(", ")}; pauses included.`;
  const data = [rows.map((r) => r[0] + 1), rows.map((r) => session ? r[1] : r[2])], series = ["mean"];
  if (session) { data.push(rows.map((r) => r[2])); series.push("best"); }
  data.push(rows.map((r) => r[3]));
  series.push("green");
  draw($("times"), "times", { x: "generation", y: "seconds", width: $("times").clientWidth || 560, height: 190, series, data });
}

function showPlan() {
  $("notes").replaceChildren(...S.about.notes.map((note) => make("li", note)));
  $("plan").textContent = S.about.plan;
  $("versions").textContent = S.about.versions.map((one, i) => `process ${i + 1}: ${Object.entries(one).map(([k, v]) => `${k} ${v}`).join(", ")}`).join("\n");
}

// ------------------------------------------------------------------ keys and buttons

function theme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("xdream-theme", document.documentElement.dataset.theme);
  soon();
}
$("theme").addEventListener("click", theme);
$("pause").addEventListener("click", async () => {
  if (S.live.paused) return orders.give(url("/order"), "go-on");
  const reason = await orders.ask("Pause: nothing more is offered; answers that still arrive are taken.", true);
  if (reason != null) orders.give(url("/order"), "pause", reason);
});
$("take-back").addEventListener("click", () => orders.give(url("/order"), "take-back"));
$("accept").addEventListener("click", async () => {
  const block = S.live.block;
  if (block && await orders.ask(`The responses to ${many(block.aside, "presentation")} of block ${block.block} that were put aside are used as they are.`) != null) orders.give(url("/order"), "accept", String(block.block));
});
$("end").addEventListener("click", async () => {
  const going = runs().filter((run) => !S.live.endings?.[run.id]), numbers = going.map((run) => run.id);
  const said = await orders.ask(`These runs end with the present generation, or the next one shown. Give their numbers, or leave the field empty for all ${going.length} that go on. This cannot be taken back.`, true, "Runs, e.g. 0 3");
  if (said == null) return;
  const wanted = said.trim() ? said.trim().split(/[\s,]+/).map(Number) : numbers;
  orders.give(url("/order"), "end", "", wanted);
});
$("blocks").addEventListener("click", async (event) => {
  const number = event.target.dataset?.block;
  if (!number) return;
  const reply = await fetch(url(`/cost/${number}`)), cost = await reply.json();
  const held = S.about.undo_s ? ` It is held for ${S.about.undo_s} s, in which nothing is shown and it can be taken back.` : "";
  const reason = await orders.ask(reply.ok ? `${cost.text[0].toUpperCase()}${cost.text.slice(1)}.${held}` : cost.error, true);
  if (reason != null && reply.ok) orders.give(url("/order"), "reject", `${number} ${reason}`.trim());
});
sortsOnClick($("runs"), S.sort, ["id", "target"], soon);
beginParts(soon);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("ask").open || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  if (event.key === "t") theme();
  if (event.key === "p" && !$("pause").hidden && !$("pause").disabled) $("pause").click();
  if (event.key === "u" && !$("held").hidden) $("take-back").click();
});
addEventListener("resize", soon);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { forget(""); soon(); });
setInterval(() => { if (S.live.held) soon(); }, 250);

// ------------------------------------------------------------------ the connection

let heard = performance.now();
function lost(text) {
  $("lost").hidden = !text;
  $("lost").textContent = text || "";
  if (text) { $("state").dataset.state = "lost"; $("state").textContent = "not up to date"; }
}
function connect() {
  const stream = new EventSource(url("/events"));
  const hear = (event, whole) => { heard = performance.now(); lost(""); take(JSON.parse(event.data), whole); if (whole && S.about) $("strip").replaceChildren(); soon(); };
  stream.addEventListener("all", (event) => hear(event, true));
  stream.addEventListener("new", (event) => hear(event, false));
  stream.addEventListener("fault", (event) => lost(`The record cannot be read: ${JSON.parse(event.data).text}`));
  stream.onerror = () => {
    lost("The connection to xdream watch is lost: what is below may be old. The session itself does not depend on this page. Trying again…");
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}
$("back").hidden = !at;
$("back-link").href = `/${location.hash}`;
await orders.enter();
const allowed = await fetch("/overview");
if (allowed.ok) connect();
else lost((await allowed.json()).error);
