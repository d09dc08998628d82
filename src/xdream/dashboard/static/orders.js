// Orders: with the token, which stands in the address behind the # and never goes to the server in an address.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const $ = (id) => document.getElementById(id);
let right = false;

export const allowed = () => right;

export async function enter() {
  if (!token) return;
  const reply = await fetch("/enter", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  right = reply.ok;
}

let clearing = 0;
export function say(text) {
  $("said").textContent = text;
  clearTimeout(clearing);
  clearing = setTimeout(() => { $("said").textContent = ""; }, 8000);
}

export async function give(url, word, value = "", runs = []) {
  say(`${word}: asked…`);
  try {
    const reply = await fetch(url, { method: "POST", body: JSON.stringify({ word, value, runs }),
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" } });
    const said = await reply.json();
    say(said.error ? `${word}: ${said.error}` : said.obeyed ? `${word}: the session has obeyed` : word === "end" ? `end: runs ${said.runs.join(", ") || "none"} end with this generation or the next` : `${word}: left for the session, which obeys as soon as it can`);
  } catch {
    say(`${word}: xdream watch does not answer; nothing was ordered`);
  }
}

// Resolves to the reason ("" where none is given), or null when the answer is no.
export function ask(text, withReason = false, label = "Reason, for the record") {
  $("ask-text").textContent = text;
  $("ask-reason").value = "";
  const around = $("ask-reason").closest("p");
  around.hidden = !withReason;
  $("ask-reason").parentElement.firstChild.textContent = `${label} `;
  $("ask").showModal();
  return new Promise((resolve) => {
    const end = (answer) => { $("ask").close(); $("ask-yes").onclick = $("ask-no").onclick = $("ask").oncancel = $("ask-reason").onkeydown = null; resolve(answer); };
    $("ask-yes").onclick = () => end($("ask-reason").value);
    $("ask-no").onclick = () => end(null);
    $("ask").oncancel = () => end(null);
    $("ask-reason").onkeydown = (event) => { if (event.key === "Enter") end($("ask-reason").value); };
  });
}
