// Plays the life of an instance: one version after the other, at a chosen speed. Each step is the
// page of that version, morphed in place, so the timeline, the graph and the state move together and
// the address names what is shown. Without this file the steps are links.

const STEP_MS = 1000; // between two versions when they come evenly
const STEP_MS_MIN = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 350;
const TELL_MS = 2000; // a longer wait is counted down

let playing = false;
let timer = 0;
let due = 0;

const player = () => document.querySelector("[data-player]");
const version = () => Number(player().dataset.version);
const last = () => Number(player().dataset.last);
const speed = () => player().querySelector("select").value;

function address(number) {
  const url = new URL(location.href);
  if (number === last()) url.searchParams.delete("version");
  else url.searchParams.set("version", number);
  if (speed() === "even") url.searchParams.delete("speed");
  else url.searchParams.set("speed", speed());
  url.searchParams.delete("done");
  return url;
}

function draw() {
  const box = player();
  if (!box) return;
  const button = box.querySelector("button");
  button.hidden = false;
  button.textContent = playing ? "Pause" : "Play";
  button.disabled = last() === 1;
  box.querySelector("select").hidden = false;
}

// A narrow window shows a part of the timeline: the part with the version that is looked at.
function follow() {
  const head = document.querySelector("#playhead");
  const frame = head?.closest(".wide");
  if (!frame || frame.scrollWidth <= frame.clientWidth) return;
  const scale = frame.scrollWidth / head.ownerSVGElement.viewBox.baseVal.width;
  frame.scrollLeft = Number(head.getAttribute("x")) * scale - frame.clientWidth / 2;
}

function wait_ms() {
  const gap = Number(player().dataset.next) * 1000;
  return speed() === "even" ? STEP_MS : Math.max(STEP_MS_MIN, gap / Number(speed()));
}

function tell() {
  const left = Math.round((due - Date.now()) / 1000);
  const where = `${version()} of ${last()}`;
  const words = left > 90 ? `${Math.round(left / 60)} min` : `${left} s`;
  player().querySelector("[role=status]").textContent = left > TELL_MS / 1000 ? `${where}, the next in ${words}` : where;
}

function pause() {
  playing = false;
  clearTimeout(timer);
  draw();
}

async function show(number) {
  const url = address(number);
  const answer = await fetch(url, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!answer?.ok) {
    document.dispatchEvent(new CustomEvent("snorri:toast", { detail: "The next version could not be loaded; press Play to try again" }));
    pause();
    return false;
  }
  const target = document.querySelector("#instance");
  await htmx.swap({ sourceElement: target, target, text: await answer.text(), select: "#instance", swap: "outerMorph" });
  history.replaceState(null, "", url);
  draw();
  follow();
  return true;
}

function soon() {
  clearTimeout(timer);
  if (!playing) return;
  if (version() >= last()) return pause();
  due = Date.now() + wait_ms();
  beat();
}

function beat() {
  tell();
  const left = due - Date.now();
  if (left > TELL_MS) timer = setTimeout(beat, 1000);
  else timer = setTimeout(async () => { if (playing && await show(version() + 1)) soon(); }, left);
}

async function play() {
  playing = true;
  draw();
  if (version() < last() || await show(1)) soon();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-player] button")) playing ? pause() : play();
});
document.addEventListener("change", async (event) => {
  if (event.target.closest("[data-player] select") && await show(version())) soon();
});
document.addEventListener("htmx:after:swap", draw); // news of elsewhere, and the slider
draw();
