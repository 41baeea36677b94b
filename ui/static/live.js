// The live connection of a page: one event stream, the light in the bar, and parts that refresh.
//
// An element with data-live asks for its part of the page again when something it watches changed:
//   data-live="/instances?status=parked"   the address of the page that holds the part
//   data-live-saga, data-live-key          only changes of these (empty: all)
//   data-live-mode="announce"              rows that are there change where they stand; say how many
//                                          others changed and wait for a click, never jump
// A row names its instance in data-of. A button with data-live-pause="id of the part" holds all back.
// The part is found in the answer by its id and morphed in place, so focus and scroll stay.

const QUIET_MS = 250; // changes within this time are one refresh
const LAG_TRIES = 20;

const EVENTS = ["saga:started", "saga:state_changed", "saga:completed", "saga:failed", "saga:compensating",
  "saga:compensated", "saga:parked", "saga:cancelled", "saga:dropped", "saga:reset"];

const toast = (text) => document.dispatchEvent(new CustomEvent("snorri:toast", { detail: text }));

function connect() {
  const { base } = document.body.dataset;
  const light = document.querySelector("#live");
  if (!light || !window.EventSource) return;
  const parts = () => [...document.querySelectorAll("[data-live]")];
  const say = (state, text) => {
    light.dataset.state = state;
    light.querySelector("span").textContent = text;
    light.title = `Live connection: ${text}`;
  };
  const sagas = new Set(parts().map((part) => part.dataset.liveSaga || ""));
  const keys = new Set(parts().map((part) => part.dataset.liveKey || ""));
  const query = new URLSearchParams({ include: "broker" });
  if (sagas.size === 1 && [...sagas][0]) query.set("saga", [...sagas][0]);
  if (query.has("saga") && keys.size === 1 && [...keys][0]) query.set("key", [...keys][0]);
  // From where the page was made, so that nothing between that and now is missed.
  if (Number(document.body.dataset.seq)) query.set("after", document.body.dataset.seq);
  const source = new EventSource(`${base}/api/v1/sagas/subscribe?${query}`);
  let lost = false;
  const well = () => {
    say("live", "live");
    if (lost) { lost = false; parts().forEach((part) => refresh(part)); toast("Connected again"); }
  };
  source.addEventListener("open", well);
  source.addEventListener("broker", (event) => {
    if (JSON.parse(event.data).connected) return well();
    lost = true;
    say("lost", "the broker is away");
  });
  source.addEventListener("error", () => {
    lost = true;
    say("lost", source.readyState === EventSource.CLOSED ? "offline; reload the page" : "connecting again");
  });
  const changed = (event) => {
    let change = {};
    try { change = JSON.parse(event.data); } catch { /* a notice without data */ }
    change.at = Number(event.lastEventId) || 0; // its place in the log
    for (const part of parts()) if (concerns(part, change)) take(part, change);
  };
  document.querySelectorAll("[data-live-pause]").forEach(pausable);
  for (const name of EVENTS) source.addEventListener(name, changed);
  addEventListener("pagehide", () => source.close());
}

function concerns(part, change) {
  const { liveSaga, liveKey } = part.dataset;
  return (!liveSaga || !change.saga || liveSaga === change.saga) && (!liveKey || !change.key || liveKey === change.key);
}

const held = new Map(); // changes that came while a part was paused, by its id

function pausable(button) {
  const id = button.dataset.livePause;
  button.hidden = false;
  button.addEventListener("click", () => {
    const pause = !held.has(id);
    const changes = held.get(id) || [];
    if (pause) held.set(id, []);
    else held.delete(id);
    button.setAttribute("aria-pressed", String(pause));
    button.textContent = "Pause";
    const part = document.getElementById(id);
    if (part) changes.forEach((change) => take(part, change));
  });
}

function take(part, change) {
  const changes = held.get(part.id);
  if (changes) {
    changes.push(change);
    document.querySelector(`[data-live-pause="${part.id}"]`).textContent = `Paused, changes: ${changes.length}`;
  } else if (part.dataset.liveMode === "announce" && !rowOf(part, change)) announce(part);
  else soon(part, change);
}

const rowOf = (part, change) => change.saga && part.querySelector(`[data-of="${CSS.escape(`${change.saga}/${change.key}`)}"]`);

const waiting = new Map(); // what changed in a part and is not on the page yet
const quiet = () => new Promise((resolve) => { setTimeout(resolve, QUIET_MS); });

// One refresh of a part at a time, so that no older answer comes after a newer one.
async function soon(part, change) {
  if (waiting.has(part)) { waiting.get(part).push(change); return; }
  const news = [change];
  waiting.set(part, news);
  while (news.length) {
    await quiet();
    const changes = news.splice(0);
    if (part.dataset.liveMode === "announce") await refreshRows(part, changes);
    else await refresh(part, part.dataset.liveKey ? 0 : newest(changes)); // an instance comes from the log
  }
  waiting.delete(part);
}

function announce(part) {
  part.dataset.liveCount = Number(part.dataset.liveCount || 0) + 1;
  const button = document.querySelector(`[data-live-show="${part.id}"]`);
  if (!button) return;
  button.hidden = false;
  button.textContent = `${part.dataset.liveCount} new: show`;
  button.onclick = () => { button.hidden = true; part.dataset.liveCount = 0; refresh(part); };
}

const newest = (changes) => Math.max(...changes.map((change) => change.at));

// The page of a part; asked again for a while when lists lag behind what is to be seen on it.
async function fetched(part, after = 0) {
  for (let again = LAG_TRIES; ; again -= 1) {
    const answer = await fetch(part.dataset.live, { headers: { "HX-Request": "true" } }).catch(() => null);
    const text = answer?.ok ? await answer.text() : null;
    const shown = text === null ? after : Number(/ data-seq="(\d+)"/.exec(text)?.[1]);
    if (!(shown < after) || again === 0) return text;
    await quiet();
  }
}

async function refresh(part, after) {
  const text = await fetched(part, after);
  if (text === null || !part.isConnected) return;
  await htmx.swap({ sourceElement: part, target: part, text, select: `#${part.id}`, swap: "outerMorph" });
}

// Rows stay where they are; one that the filter has no more is left and announced.
async function refreshRows(part, changes) {
  const text = await fetched(part, newest(changes));
  if (text === null) return;
  const now = new DOMParser().parseFromString(text, "text/html");
  for (const row of new Set(changes.map((change) => rowOf(part, change)))) {
    if (!row?.isConnected) continue;
    const select = `#${CSS.escape(row.id)}`;
    if (!now.querySelector(select)) { announce(part); continue; }
    await htmx.swap({ sourceElement: row, target: row, text, select, swap: "outerMorph" });
    document.querySelector(select)?.classList.add("fresh");
  }
}

connect();
