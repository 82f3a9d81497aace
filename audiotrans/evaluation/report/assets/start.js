const holder = document.getElementById("data");
const data = JSON.parse(holder.textContent);
holder.remove(); // names must not stay in the document while a test is blind
document.documentElement.classList.add("with-script");

const report = document.getElementById("report");
const stage = document.getElementById("blind");
const bar = document.getElementById("transport");
const title = document.title;
const player = new Player();
const transport = new Transport(player);
const sessions = new Sessions(data.id);
const clips = data.directions.flatMap((direction) => direction.clips.map((clip) => ({
  ...clip,
  root: document.getElementById(clip.key),
  names: clip.takes.map((take) => direction.systems[take.system].name),
  metrics: direction.metrics,
})));
let current = null;
let blind = null;

/** Play a take of a clip; within the clip that plays, the moment is kept. */
function listen(clip, at) {
  if (!clip.takes[at] || !clip.takes[at].sound) return;
  if (clip !== current) {
    if (current) current.root.classList.remove("current");
    current = clip;
    clip.root.classList.add("current");
    bar.hidden = false;
    player.open(clip.takes, at);
    transport.show(clip.name, clip.takes.map((take, index) => (take.sound ? clip.names[index] : null)), (index) => listen(clip, index));
  }
  player.select(at);
  if (!player.playing) player.play();
}

function marks() {
  if (!current) return;
  for (const row of current.root.querySelectorAll(".take")) {
    const on = Number(row.dataset.take) === player.active;
    row.classList.toggle("active", on);
    row.querySelector(".choose").setAttribute("aria-pressed", String(on));
  }
}

/** Go to the next or previous clip, with the same system where that has it. */
function step(by) {
  const at = current ? clips.indexOf(current) + by : 0;
  const next = clips[at];
  if (!next) return;
  const name = current ? current.names[player.active] : null;
  const same = next.names.findIndex((each, index) => each === name && next.takes[index].sound);
  listen(next, same >= 0 ? same : next.takes.findIndex((take) => take.sound));
  next.root.scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  if (event.defaultPrevented) return;
  let used = false;
  if (blind) used = blind.key(event);
  else if (current) used = playerKey(event, player, (at) => listen(current, at));
  if (!used && !blind && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.matches("input, select, textarea")) {
    const key = event.key.toLowerCase();
    used = true;
    if (key === "m") player.setMatched(!player.matched);
    else if (key === "n") step(1);
    else if (key === "p") step(-1);
    else used = false;
  }
  if (used) event.preventDefault();
}

function wire(clip) {
  const scores = clip.root.querySelector(".clip-scores");
  if (scores) {
    scores.addEventListener("toggle", () => {
      const rows = clip.takes.map((take, at) => ({ name: clip.names[at], scores: take.scores }));
      scores.append(clipScores(clip.metrics, rows, clip.name));
    }, { once: true });
  }
  clip.root.addEventListener("click", (event) => {
    const row = event.target.closest(".take");
    const at = row ? Number(row.dataset.take) : -1;
    if (!row || !clip.takes[at].sound) return;
    if (event.target.closest(".choose")) listen(clip, at);
    const strip = event.target.closest(".strip");
    if (!strip) return;
    const box = strip.getBoundingClientRect();
    listen(clip, at);
    player.seek(((event.clientX - box.left) / box.width) * player.seconds);
  });
}

/** Take the report out of the document while a session is blind: no name may be read there. */
function enterBlind() {
  player.close();
  report.remove();
  bar.hidden = true;
  document.title = "Blind test";
  history.replaceState(null, "", location.href.split("#")[0]);
}

function leaveBlind() {
  stage.replaceChildren();
  document.body.prepend(report);
  document.title = title;
  if (current) current.root.classList.remove("current");
  current = null;
  setup.listEarlier();
  document.getElementById("blind-setup").scrollIntoView();
}

function showResult(session) {
  blind = null;
  if (!session.trials.length) {
    leaveBlind();
    return;
  }
  if (report.isConnected) enterBlind();
  const result = blindResult(session, leaveBlind);
  stage.replaceChildren(result);
  result.querySelector("h1").focus();
  window.scrollTo(0, 0);
}

function startBlind(request) {
  enterBlind();
  blind = new BlindSession(player, request, sessions, data, showResult);
  stage.replaceChildren(blind.root);
  window.scrollTo(0, 0);
  blind.next();
}

const setup = new BlindSetup(data, sessions, startBlind, showResult);
const setupDetails = document.querySelector("#blind-setup details");
setupDetails.append(setup.root);
document.querySelector("nav a[href='#blind-setup']").addEventListener("click", () => { setupDetails.open = true; });
bar.append(transport.root);
transport.onposition = (share) => {
  if (current) current.root.style.setProperty("--at", `${100 * share}%`);
};
player.listeners.add(marks);
clips.forEach(wire);
document.addEventListener("keydown", onKey);
// Firefox presses a focused button when space comes up again: the key has been used already.
document.addEventListener("keyup", (event) => {
  if (event.key === " " && event.target instanceof Element && event.target.matches(".choose, .take-switch, .play")) event.preventDefault();
});
