// Elements with text, a table that sorts by a click on a column, and who of many charts is on the screen.
import { short } from "./charts.js";

export const $ = (id) => document.getElementById(id);
export const many = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

export function make(tag, text = "", attributes = {}) {
  const one = document.createElement(tag);
  if (text !== "") one.textContent = text;
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  return one;
}

// columns: [key, what stands above, options]; options.whole: a number that is not shortened, options.text: from the left,
// options.cell: what makes an element of a row. rows: objects, in the order of those that are equal. sort: [key, 1 or -1].
export function drawTable(table, columns, rows, sort) {
  const [key, way] = sort;
  const sorted = rows.map((row, place) => [row, place]).sort(([a, i], [b, j]) => (a[key] == null ? 1 : b[key] == null ? -1 : a[key] < b[key] ? -way : a[key] > b[key] ? way : 0) || i - j);
  const head = make("tr");
  for (const [name, text, options] of columns) {
    const cell = make("th", "", { "aria-sort": name === key ? (way > 0 ? "ascending" : "descending") : "none", scope: "col", class: options?.text ? "text" : "" });
    cell.append(make("button", text, { type: "button", "data-sort": name }));
    head.append(cell);
  }
  const focused = table.contains(document.activeElement) ? document.activeElement.dataset.sort : null;
  const top = make("thead"), body = make("tbody");
  top.append(head);
  for (const [row] of sorted) {
    const line = make("tr");
    for (const [name, , options] of columns) {
      const value = row[name], cell = make("td", "", options?.text ? { class: "text" } : {});
      cell.append(options?.cell ? options.cell(row) : typeof value === "number" && !options?.whole ? short(value) : String(value ?? "–"));
      line.append(cell);
    }
    body.append(line);
  }
  table.replaceChildren(top, body);
  if (focused) table.querySelector(`[data-sort="${focused}"]`)?.focus();
}

// ascending: the columns that begin with the smallest.
export function sortsOnClick(table, sort, ascending, then) {
  table.addEventListener("click", (event) => {
    const key = event.target.dataset?.sort;
    if (!key) return;
    sort[1] = sort[0] === key ? -sort[1] : ascending.includes(key) ? 1 : -1;
    sort[0] = key;
    then();
  });
}

export const seeing = (then) => new IntersectionObserver((entries) => {  // of a hundred charts only those on the screen are drawn
  for (const one of entries) if (one.isIntersecting) { one.target.dataset.seen = "1"; then(); } else delete one.target.dataset.seen;
}, { rootMargin: "200px" });
