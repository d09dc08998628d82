// Charts with uPlot. Everything that is shown comes as numbers or as text that uPlot draws on a canvas.
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const made = new Map();
export const short = (x) => x == null ? "–" : Math.abs(x) >= 1e5 || (x && Math.abs(x) < 1e-3) ? x.toExponential(2) : String(Number(x.toPrecision(4)));
export const minutes = (s) => s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;

const WHOLE = [1, 2, 5].flatMap((step) => [1, 10, 100, 1000, 1e4, 1e5].map((ten) => step * ten)).sort((a, b) => a - b);

function axes(x, y, top) {
  const one = (more) => ({ stroke: style("--quiet"), grid: { stroke: style("--grid"), width: 1 }, ticks: { stroke: style("--grid"), width: 1, size: 4 },
    font: "11px system-ui, sans-serif", labelFont: "11.5px system-ui, sans-serif", ...more });
  const counted = x === "" || x === "generation" ? { incrs: WHOLE } : {};  // there is no generation 1.5
  const found = [one({ label: x || null, labelSize: x ? 16 : 0, size: 26, ...counted }), one({ label: y || null, labelSize: y ? 18 : 0, size: 52 })];
  if (top) found.push(one({ scale: "x", side: 0, size: 24, label: top.label, labelSize: 16, space: 110, incrs: WHOLE, values: (u, at) => at.map(top.text), grid: { show: false } }));
  return found;
}

const looks = {
  best: () => ({ label: "best", stroke: style("--red"), width: 2, points: { show: false } }),
  mean: () => ({ label: "mean", stroke: style("--blue"), width: 2, points: { show: false } }),
  edge: () => ({ label: "", stroke: "transparent", width: 0, points: { show: false } }),
  refs: () => ({ label: "references", stroke: style("--grey"), width: 1.5, dash: [7, 4], points: { show: false } }),
  refbest: () => ({ label: "best reference", stroke: style("--grey"), width: 1.5, dash: [2, 3], points: { show: false } }),
  dots: () => ({ label: "", stroke: style("--blue"), width: 0, paths: () => null, points: { show: true, size: 3, fill: style("--blue"), stroke: style("--blue"), width: 0 } }),
  green: () => ({ label: "", stroke: style("--green"), width: 2, dash: [4, 3], points: { show: false } }),
};

// key: where it was drawn last. spec: {x, y, top, width, height, series: [names], bands: [[upper, lower, colour]], data, empty: said without data}
export function draw(box, key, spec) {
  const shape = JSON.stringify([spec.x, spec.y, spec.width, spec.height, spec.series, spec.bands, Boolean(spec.top), document.documentElement.dataset.theme]);
  const before = made.get(key);
  if (!spec.data[0].length) {  // axes without numbers would show numbers that nobody measured
    if (before) { before.plot.destroy(); made.delete(key); }
    box.replaceChildren();
    box.dataset.empty = spec.empty || "nothing yet";
    return;
  }
  delete box.dataset.empty;
  if (before && before.shape === shape && before.box === box) {
    before.spec = spec;
    before.plot.setData(spec.data);
    return;
  }
  if (before) before.plot.destroy();
  const kept = { shape, box, spec };
  const top = spec.top && { label: spec.top.label, text: (x) => kept.spec.top.text(x) };
  const pad = (u, low, high) => low == null ? [0, 1] : low === high ? [low - 1, high + 1] : [low - 0.06 * (high - low), high + 0.06 * (high - low)];
  kept.plot = new uPlot({
    width: spec.width, height: spec.height, legend: { show: false }, cursor: { show: false },
    padding: [8, top ? 44 : 14, 0, 0],  // half of the last label on top stands beside the chart
    scales: { x: { time: false, range: spec.range ? () => kept.spec.range : (u, a, b) => a == null ? [0, 1] : a === b ? [a - 0.5, b + 0.5] : [a, b] },
      y: { range: spec.yrange ? () => kept.spec.yrange : pad } },
    axes: axes(spec.x, spec.y, top),
    series: [{}, ...spec.series.map((name) => looks[name]())],
    bands: (spec.bands || []).map(([up, low, colour]) => ({ series: [up, low], fill: style(colour) })),
  }, spec.data, box);
  box.dataset.points = "0";
  made.set(key, kept);
}

export function forget(beginning) {
  for (const [key, kept] of made) if (key.startsWith(beginning)) { kept.plot.destroy(); made.delete(key); }
}
