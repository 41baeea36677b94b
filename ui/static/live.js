// The live connection of a page: one event stream, the light in the bar, and parts that refresh.
//
// An element with data-live asks for its part of the page again when something it watches changed:
//   data-live="/instances?status=parked"   the address of the page that holds the part
//   data-live-saga, data-live-key          only changes of these (empty: all)
//   data-live-mode="announce"              say how many changed and wait for a click, never jump
// The part is found in the answer by its id and morphed in place, so focus and scroll stay.

const QUIET_MS = 250; // changes within this time are one refresh

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
    for (const part of parts()) if (concerns(part, change)) soon(part);
  };
  for (const name of EVENTS) source.addEventListener(name, changed);
  addEventListener("pagehide", () => source.close());
}

function concerns(part, change) {
  const { liveSaga, liveKey } = part.dataset;
  return (!liveSaga || !change.saga || liveSaga === change.saga) && (!liveKey || !change.key || liveKey === change.key);
}

const waiting = new WeakMap();

function soon(part) {
  if (part.dataset.liveMode === "announce") return announce(part);
  if (waiting.has(part)) return;
  waiting.set(part, setTimeout(() => { waiting.delete(part); refresh(part); }, QUIET_MS));
}

function announce(part) {
  part.dataset.liveCount = Number(part.dataset.liveCount || 0) + 1;
  const button = document.querySelector(`[data-live-show="${part.id}"]`);
  if (!button) return;
  button.hidden = false;
  button.textContent = `${part.dataset.liveCount} new: show`;
  button.onclick = () => { button.hidden = true; part.dataset.liveCount = 0; refresh(part); };
}

async function refresh(part) {
  const answer = await fetch(part.dataset.live, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!answer?.ok) return;
  const text = await answer.text();
  if (!part.isConnected) return;
  await htmx.swap({ sourceElement: part, target: part, text, select: `#${part.id}`, swap: "outerMorph" });
}

connect();
