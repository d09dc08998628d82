// A study or a tuning: its experiments as small charts, and as a table that sorts.
import { draw, short } from "./charts.js";
import { $, drawTable, make, many, seeing, sortsOnClick } from "./tables.js";

const sort = ["place", 1];
let seen = null;
const number = { whole: true }, text = { text: true };

export function beginParts(soon) {
  seen = seeing(soon);
  sortsOnClick($("parts"), sort, ["place", "part", "at", "targets", "state"], soon);
}

const address = (row) => `?at=${encodeURIComponent(row.at)}${location.hash}`;
const stateOf = (row) => row.error || (row.runs && row.ended === row.runs ? "done" : row.running ? "running" : "not running");

export function showParts(whole) {
  const rows = whole.rows;
  $("name").textContent = whole.name;
  $("kind").textContent = `${whole.kind} in ${whole.folder}`;
  const running = rows.filter((row) => row.running).length;
  $("state").textContent = running ? `${running} running` : "not running";
  $("state").dataset.state = running ? "running" : "stopped";
  $("parts-card").hidden = false;
  $("parts-text").textContent = whole.kind === "study" ? `${whole.done} of ${many(whole.parts, "shard")} done; ${many(rows.length, "experiment")} begun.` : `${many(rows.length, "evaluation")} begun.`;
  $("parts-key").hidden = !rows.some((row) => row.curve?.[0].length);
  $("parts-key").lastChild.hidden = !rows.some((row) => row.reference != null);
  for (const row of rows) if (row.curve?.[0].length) showChart(row);
  const listed = rows.map((row, place) => ({ ...row, place, targets: (row.targets || []).join(", ") + (row.more ? ` and ${row.more} more` : ""), state: stateOf(row) }));
  const begun = listed.length;
  listed.push(...(whole.waiting || []).map((part, i) => ({ part, place: begun + i, state: "not begun" })));
  drawTable($("parts"), [["part", "part", text], ["at", "experiment", { text: true, cell: link }], ["targets", "targets", text], ["ended", "runs ended", { cell: (row) => row.runs == null ? "–" : `${row.ended} of ${row.runs}` }],
    ["generations", "generations", number], ["best", "best"], ["reference", "best reference"], ["state", "state", text]], listed, sort);
}

function link(row) {
  if (!row.at) return "–";
  const one = make("a", row.at);
  one.href = address(row);
  return one;
}

function showChart(row) {
  const id = `part-${row.at}`;
  let chart = document.getElementById(id);
  if (!chart) {
    chart = make("a", "", { id, class: "chart small" });
    chart.append(make("h3"), make("div"));
    $("parts-charts").append(chart);
    seen.observe(chart);
  }
  const [generations, best] = row.curve;
  chart.href = address(row);
  chart.firstChild.textContent = row.at.replace(/^(shards|evaluations)\//, "");
  chart.title = row.at;
  chart.setAttribute("aria-label", `${row.at}: best ${short(row.best)} in ${many(row.generations, "generation")}`);
  if (!chart.dataset.seen) return;
  const data = [generations, best], series = ["best"];
  if (row.reference != null) { data.push(generations.map(() => row.reference)); series.push("refbest"); }
  draw(chart.lastChild, id, { x: "", y: "", width: 220, height: 120, series, data });
  chart.lastChild.dataset.points = String(generations.length);
}
