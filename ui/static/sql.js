// Comforts of the SQL page: colours, completion, Ctrl+Enter, the place of an error, sorting, saved
// queries. The page asks and answers without them. Values are only ever written as text.

const toast = (text) => document.dispatchEvent(new CustomEvent("snorri:toast", { detail: text }));
const base = document.body.dataset.base;
const editor = document.querySelector("#sql");
const form = document.querySelector("#ask");
const box = editor.parentElement;

const KEYWORDS = ("select from where group by order having limit offset with as and or not in is null like ilike between "
  + "case when then else end join left right full inner outer cross on using union all except intersect distinct asc desc "
  + "nulls first last over partition rows range filter qualify exists values describe summarize explain interval cast true false "
  + "count sum avg min max round date_trunc now recursive lateral pivot unpivot any_value quantile_cont").split(" ");
const keywords = new Set(KEYWORDS);
const PIECES = /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|('(?:[^']|'')*'?)|(\$\w+|\?)|(\b\d+(?:\.\d+)?\b)|([A-Za-z_]\w*|"(?:[^"]|"")*"?)/g;
const PAINTED_MAX = 20000;

let schema = { relations: [], macros: [] };
let known = new Set();

// --- colours: a layer below the text, which itself is transparent

const paint = document.createElement("pre");
paint.setAttribute("aria-hidden", "true");
box.prepend(paint);

function kind([, remark, text, value, number, word]) {
  if (remark) return "remark";
  if (text) return "text";
  if (value) return "value";
  if (number) return "number";
  const plain = word.toLowerCase();
  return keywords.has(plain) ? "keyword" : known.has(plain) ? "known" : "";
}

function repaint() {
  const sql = editor.value;
  const painted = sql.length <= PAINTED_MAX;
  box.classList.toggle("painted", painted);
  const parts = [];
  let at = 0;
  for (const found of painted ? sql.matchAll(PIECES) : []) {
    parts.push(sql.slice(at, found.index));
    const piece = document.createElement("span");
    piece.className = kind(found);
    piece.textContent = found[0];
    parts.push(piece);
    at = found.index + found[0].length;
  }
  // The line break at the end of a text has a height only before something.
  paint.replaceChildren(...parts, painted ? `${sql.slice(at)}\n` : "");
  paint.scrollTop = editor.scrollTop;
}

editor.addEventListener("scroll", () => { paint.scrollTop = editor.scrollTop; });

// --- completion

const list = document.createElement("ul");
list.id = "sql-words";
list.hidden = true;
list.setAttribute("role", "listbox");
list.setAttribute("aria-label", "Suggestions");
box.append(list);
editor.setAttribute("aria-autocomplete", "list");
editor.setAttribute("aria-controls", list.id);
let moved = false;

function candidates(word, after) {
  const text = editor.value.toLowerCase();
  const named = schema.relations.filter((one) => new RegExp(`\\b${one.name}\\b`).test(text));
  const columns = (named.length ? named : schema.relations).flatMap((one) =>
    one.columns.map((column) => ({ text: column.name, more: `${one.name}: ${column.type}` })));
  const relations = schema.relations.map((one) => ({ text: one.name, more: "table" }));
  const macros = schema.macros.map((one) => ({ text: one.name, more: one.call }));
  const words = KEYWORDS.map((text) => ({ text: text.toUpperCase(), more: "" }));
  const all = after === "." ? columns
    : /\b(?:from|join)\s+\w*$/i.test(editor.value.slice(0, editor.selectionStart)) ? [...relations, ...macros]
    : [...columns, ...relations, ...macros, ...words];
  const seen = new Set();
  const start = word.toLowerCase();
  return all.filter(({ text: name }) => {
    const plain = name.toLowerCase();
    return plain.startsWith(start) && plain !== start && !seen.has(plain) && seen.add(plain);
  }).slice(0, 12);
}

function suggest(asked) {
  const before = editor.value.slice(0, editor.selectionStart);
  const [word] = /\w*$/.exec(before);
  const after = before.at(-word.length - 1);
  if (editor.selectionStart !== editor.selectionEnd || (!asked && !word && after !== ".")) return close();
  const found = candidates(word, after);
  if (!found.length) return close();
  list.replaceChildren(...found.map(({ text, more }, i) => {
    const row = document.createElement("li");
    row.id = `sql-word-${i}`;
    row.setAttribute("role", "option");
    row.dataset.text = text;
    const small = document.createElement("small");
    small.textContent = more;
    row.append(text, small);
    row.addEventListener("mousedown", (event) => { event.preventDefault(); accept(row); });
    return row;
  }));
  list.hidden = false;
  moved = false;
  choose(0);
  place(before.length - word.length);
}

function place(at) {
  // The painted text stands exactly where the edited one does, so it tells where a character is.
  const range = document.createRange();
  let rest = at;
  for (const node of paint.childNodes) {
    const text = node.firstChild ?? node;
    if (rest <= text.length) { range.setStart(text, rest); break; }
    rest -= text.length;
  }
  const where = range.getClientRects()[0] ?? range.getBoundingClientRect();
  const frame = box.getBoundingClientRect();
  list.style.left = `${Math.max(0, Math.min(where.left - frame.left, frame.width - list.offsetWidth))}px`;
  list.style.top = `${where.bottom - frame.top + 4}px`;
}

function choose(index) {
  const rows = [...list.children];
  const next = (index + rows.length) % rows.length;
  rows.forEach((row, i) => row.setAttribute("aria-selected", String(i === next)));
  rows[next].scrollIntoView({ block: "nearest" });
  editor.setAttribute("aria-activedescendant", rows[next].id);
}

const chosen = () => list.querySelector("[aria-selected=true]");

function accept(row) {
  const before = editor.value.slice(0, editor.selectionStart);
  const [word] = /\w*$/.exec(before);
  editor.setSelectionRange(before.length - word.length, before.length);
  // The old command, since it alone keeps what "undo" knows.
  if (!document.execCommand("insertText", false, row.dataset.text)) editor.setRangeText(row.dataset.text, before.length - word.length, before.length, "end");
  close();
  repaint();
}

function close() {
  list.hidden = true;
  editor.removeAttribute("aria-activedescendant");
}

editor.addEventListener("input", (event) => {
  repaint();
  // Typing asks for suggestions; what was pasted is complete.
  if (event.data?.length === 1 || (!list.hidden && event.inputType?.startsWith("delete"))) suggest(false);
  else close();
});
editor.addEventListener("blur", close);
editor.addEventListener("click", close);

editor.addEventListener("keydown", (event) => {
  const { key } = event;
  if ((event.ctrlKey || event.metaKey) && key === "Enter") {
    event.preventDefault();
    close();
    form.requestSubmit(document.querySelector("#run"));
  } else if (event.ctrlKey && key === " ") {
    event.preventDefault();
    suggest(true);
  } else if (list.hidden) {
    return;
  } else if (key === "ArrowDown" || key === "ArrowUp") {
    event.preventDefault();
    moved = true;
    choose([...list.children].indexOf(chosen()) + (key === "ArrowDown" ? 1 : -1));
  } else if (key === "Tab" || (key === "Enter" && moved)) {
    event.preventDefault();
    accept(chosen());
  } else if (key === "Escape") {
    event.preventDefault();
    event.stopPropagation();
    close();
  } else if (key === "Enter" || key === "ArrowLeft" || key === "ArrowRight") {
    close();
  }
});

fetch(`${base}/api/v1/sql/schema`).then((answer) => (answer.ok ? answer.json() : schema)).then((found) => {
  schema = found;
  known = new Set([...found.relations.flatMap((one) => [one.name, ...one.columns.map((c) => c.name)]), ...found.macros.map((one) => one.name)]);
  repaint();
}).catch(() => { /* without the schema there are fewer suggestions */ });
repaint();

// --- the place of an error: select the word there

if (editor.dataset.offset) {
  const start = [...editor.value].slice(0, Number(editor.dataset.offset)).join("").length;
  const [word] = /^\w*/.exec(editor.value.slice(start));
  editor.focus({ preventScroll: true });
  editor.setSelectionRange(start, start + Math.max(1, word.length));
}

// --- rows in another order

for (const table of document.querySelectorAll("table[data-sortable]")) {
  table.tHead.querySelectorAll("th").forEach((head, column) => {
    const name = head.querySelector("span");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name.textContent;
    button.title = "Sort";
    button.addEventListener("click", () => sort(table, head, column));
    name.replaceWith(button);
  });
}

function sort(table, head, column) {
  const down = head.getAttribute("aria-sort") === "ascending";
  table.tHead.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const numbers = head.classList.contains("n");
  const value = (row) => {
    const cell = row.cells[column];
    if (cell.querySelector(".muted")) return null;
    return numbers ? Number(cell.textContent) : cell.textContent;
  };
  const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = numbers ? a - b : a < b ? -1 : a > b ? 1 : 0;
    return down ? -order : order;
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

// --- queries kept in this browser

const STORE = "snorri-sql";
const saved = document.querySelector("#saved");
const save = document.querySelector("#save");

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one?.sql === "string" && typeof one.name === "string") : [];
  } catch {
    return [];
  }
}

function write(queries) {
  try {
    localStorage.setItem(STORE, JSON.stringify(queries));
  } catch {
    toast("The browser did not keep it: its storage is off or full");
  }
  show();
}

function show() {
  const queries = read();
  saved.hidden = !queries.length;
  saved.querySelector("ul").replaceChildren(...queries.map((one) => {
    const row = document.createElement("li");
    const link = document.createElement("a");
    link.href = `${base}/sql?${new URLSearchParams({ sql: one.sql, params: one.params ?? "" })}`;
    link.textContent = one.name;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "plain";
    remove.textContent = "Remove";
    remove.setAttribute("aria-label", `Remove ${one.name}`);
    remove.addEventListener("click", () => write(read().filter((other) => other.name !== one.name)));
    row.append(remove, link);
    return row;
  }));
}

if (save) {
  save.hidden = false;
  save.addEventListener("submit", (event) => {
    event.preventDefault();
    const field = save.querySelector("input");
    const name = field.value.trim();
    if (!name) return;
    const one = { name, sql: editor.value, params: document.querySelector("#params").value };
    write([...read().filter((other) => other.name !== name), one]);
    saved.open = true;
    field.value = "";
    toast("Saved in this browser");
  });
}
show();
