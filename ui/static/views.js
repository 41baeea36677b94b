// Saved views of a list, kept in this browser. Each is the address of a filter, so a view is shared
// by sending its link; names are only ever written as text.

const STORE = "snorri-views";
const box = document.querySelector("[data-views]");

function saved() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one?.name === "string" && String(one.query).startsWith("?")) : [];
  } catch {
    return [];
  }
}

function keep(views) {
  try {
    localStorage.setItem(STORE, JSON.stringify(views));
  } catch { /* storage is off: views last as long as the page */ }
  draw(views);
}

function draw(views) {
  const list = box.querySelector("ul");
  list.replaceChildren(...views.map((view) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.className = "chip";
    link.textContent = view.name;
    link.href = location.pathname + view.query;
    if (view.query === location.search) link.setAttribute("aria-current", "true");
    const forget = document.createElement("button");
    forget.type = "button";
    forget.className = "plain";
    forget.textContent = "×";
    forget.setAttribute("aria-label", `Forget ${view.name}`);
    forget.addEventListener("click", () => keep(saved().filter((one) => one.name !== view.name)));
    item.append(link, forget);
    return item;
  }));
}

if (box) {
  box.hidden = false;
  box.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = event.target.elements.name.value.trim();
    const query = new URLSearchParams(location.search);
    query.delete("place");
    if (!name) return;
    keep([...saved().filter((one) => one.name !== name), { name, query: `?${query}` }]);
    event.target.reset();
  });
  draw(saved());
}

// The box in the head of the table checks all rows that are shown.
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-check-all]")) return;
  for (const one of document.querySelectorAll("input[name=pick]")) one.checked = event.target.checked;
});
