// What every page does beyond plain links and forms: keyboard, copy, theme, times.
// Pages work without this file; each function below is one such comfort. Values from payloads are
// only ever written as text.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

function toast(text) {
  const note = document.createElement("div");
  note.className = "toast";
  note.textContent = text;
  $("#toasts").append(note);
  setTimeout(() => note.remove(), 5000);
}

document.addEventListener("snorri:toast", (event) => toast(event.detail));

// --- copy buttons

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    toast("Copied");
  } catch {
    toast("The browser did not allow copying; select the text and copy it");
  }
});

// --- a field that is wrong at a place: the cursor goes there

const wrong = $("textarea[data-at]");
if (wrong) {
  wrong.focus();
  wrong.setSelectionRange(Number(wrong.dataset.at), Number(wrong.dataset.at) + 1);
}

// --- theme: system, or what was chosen

$("#theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("snorri-theme", root.dataset.theme); } catch { /* storage is off */ }
});

// --- relative times move on by themselves

// What is long past needs no second unit, so that a list of such times stands still.
function words(seconds, isPast) {
  const units = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
  for (const [size, name, part, partName] of units) {
    if (seconds < size) continue;
    const count = Math.floor(seconds / size);
    const rest = isPast && count >= 10 ? 0 : Math.floor((seconds % size) / part);
    return `${count} ${name}${rest ? ` ${rest} ${partName}` : ""}`;
  }
  return `${Math.floor(seconds)} s`;
}

function tick() {
  const now = Date.now();
  for (const time of $$("time[data-relative]")) {
    const past = (now - Date.parse(time.dateTime)) / 1000;
    const text = Math.abs(past) < 1 ? "just now" : past > 0 ? `${words(past, true)} ago` : `in ${words(-past, false)}`;
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(() => { if (!document.hidden) tick(); }, 1000);

// --- keyboard

const typing = (target) => target.closest?.("input, textarea, select, [contenteditable]");
let going = 0;
let at = null; // the row that keys act on: where the focus was last

function mark(row) {
  at?.classList.remove("at");
  at = row;
  at.classList.add("at");
}

function move(step) {
  const rows = $$("[data-row]");
  if (!rows.length) return;
  const place = rows.indexOf(at);
  const next = rows[Math.min(rows.length - 1, Math.max(0, place < 0 ? 0 : place + step))];
  mark(next);
  next.scrollIntoView({ block: "nearest" });
  $("a", next)?.focus({ preventScroll: true });
}

document.addEventListener("focusin", (event) => {
  const row = event.target.closest("[data-row]");
  if (row) mark(row);
});
// News keep the row and write its attributes anew, without the mark.
document.addEventListener("htmx:after:swap", () => { if (at?.isConnected) mark(at); });

function press(selector) {
  const target = $(selector);
  if (target) target.click();
  return Boolean(target);
}

document.addEventListener("keydown", (event) => {
  const find = $("#find");
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    find.focus();
    find.select();
    return;
  }
  if (event.key === "Escape") {
    if (typing(event.target)) event.target.blur();
    else $("#menu")?.removeAttribute("open");
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (Date.now() - going < 1200) {
    going = 0;
    const link = $$("[data-go]").find((item) => item.dataset.go === event.key);
    if (link) { event.preventDefault(); location.assign(link.href); }
    return;
  }
  const keys = {
    "/": () => { find.focus(); find.select(); return true; },
    "g": () => { going = Date.now(); return true; },
    "j": () => { move(1); return true; },
    "k": () => { move(-1); return true; },
    "x": () => press("[data-row].at input[type=checkbox]"),
    "[": () => press("[data-key='[']"),
    "]": () => press("[data-key=']']"),
    "p": () => press("[data-key='p']"),
    "d": () => press("[data-key='d']"),
    ".": () => press("[data-key='.']"),
    "?": () => { $("#keys").showModal(); return true; },
  };
  if (keys[event.key]?.()) event.preventDefault();
});

$("#keys-open")?.addEventListener("click", () => $("#keys").showModal());
// The menu is a row at a desk and a sheet over the page on a phone, where it begins closed.
const narrow = matchMedia("(max-width: 1080px)");
const menu = () => $("#menu")?.toggleAttribute("open", !narrow.matches);
narrow.addEventListener("change", menu);
menu();

// --- requests of htmx carry the token that forms carry

document.addEventListener("htmx:config:request", (event) => {
  const token = document.body.dataset.csrf;
  if (token) event.detail.ctx.request.headers["X-CSRFToken"] = token;
});
