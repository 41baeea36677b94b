// The quick search as a combobox: suggestions while typing, arrows and Enter to go there. Without
// this file the field is a plain search that leads to a page of what may be meant.

const PAUSE_MS = 120; // of the fingers, before the server is asked

const field = document.querySelector("#find");
const list = document.createElement("div");
let timer = 0;
let asked = 0;
let at = -1;

const options = () => [...list.querySelectorAll("[role=option]")];

function open(isOpen) {
  list.hidden = !isOpen;
  field.setAttribute("aria-expanded", String(isOpen));
  if (!isOpen) choose(-1);
}

function choose(index) {
  at = index;
  options().forEach((option, place) => option.setAttribute("aria-selected", String(place === index)));
  const chosen = options()[index];
  if (chosen) {
    field.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  } else {
    field.removeAttribute("aria-activedescendant");
  }
}

function drawn(item, number) {
  const link = document.createElement("a");
  link.id = `found-${number}`;
  link.setAttribute("role", "option");
  link.setAttribute("aria-selected", "false");
  link.tabIndex = -1;
  link.href = item.href;
  const label = document.createElement("bdi");
  label.textContent = item.label;
  const note = document.createElement("small");
  note.textContent = item.note;
  link.append(label, " ", note);
  return link;
}

function draw(groups) {
  let number = 0;
  list.replaceChildren(...groups.map((group) => {
    const box = document.createElement("div");
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", group.name);
    const head = document.createElement("div");
    head.className = "muted";
    head.setAttribute("aria-hidden", "true");
    head.textContent = group.name;
    box.append(head, ...group.items.map((item) => drawn(item, number++)));
    return box;
  }));
  open(number > 0);
}

async function ask() {
  const mine = ++asked;
  const query = new URLSearchParams({ q: field.value });
  const answer = await fetch(`${document.body.dataset.base}/find/suggestions?${query}`).catch(() => null);
  if (!answer?.ok || mine !== asked || document.activeElement !== field) return;
  draw(await answer.json());
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(ask, PAUSE_MS);
}

function press(event) {
  const count = options().length;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (list.hidden || !count) return ask();
    if (event.key === "ArrowDown") choose((at + 1) % count);
    else choose(at > 0 ? at - 1 : count - 1);
  } else if (event.key === "Enter" && at >= 0 && !list.hidden) {
    event.preventDefault();
    location.assign(options()[at].href);
  }
}

if (field) {
  list.id = "found";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", "found");
  field.after(list);
  open(false);
  field.addEventListener("input", soon);
  field.addEventListener("focus", soon);
  field.addEventListener("keydown", press);
  field.addEventListener("blur", () => { clearTimeout(timer); open(false); });
  list.addEventListener("mousedown", (event) => event.preventDefault()); // a click keeps the focus
}
