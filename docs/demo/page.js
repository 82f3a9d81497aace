// The page: a sound in, its translation out. What computes is worker.js.

const $ = (id) => document.getElementById(id);
const listed = await fetch("graphs.json");
if (!listed.ok) {
  $("problem").textContent = "This page is not built yet: python docs/demo/build.py -o site";
  throw new Error("no graphs.json");
}
const facts = await listed.json();
let worker = null, urls = [], turn = 0;

const title = (word) => word.charAt(0).toUpperCase() + word.slice(1);
const seconds = (value) => (value < 90 ? `${Math.ceil(value)} s` : `${Math.ceil(value / 60)} min`);

facts.forEach((each, i) => {
  const choice = document.createElement("label");
  choice.className = "choice";
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "direction", value: i, checked: !i });
  const text = document.createElement("span");
  text.textContent = `${title(each.source)} to ${each.to}`;
  choice.append(radio, text);
  $("directions").append(choice);
});
$("about").textContent = `Model ${facts[0].model}. ${facts[0].summary}`;

// At the model's rate, whatever the file's.
async function decoded(file, rate) {
  const context = new OfflineAudioContext(1, 1, rate);
  try {
    const buffer = await context.decodeAudioData(await file.arrayBuffer());
    return Array.from({ length: Math.min(2, buffer.numberOfChannels) }, (_, i) => buffer.getChannelData(i).slice());
  } catch {
    throw new Error(`${file.name} is no sound that this browser reads: try wav, mp3 or flac.`);
  }
}

const peakOf = (channels) => channels.reduce((most, each) => each.reduce((a, b) => Math.max(a, Math.abs(b)), most), 0);

// 16-bit PCM, turned down where a peak would clip.
function wavOf(channels, rate) {
  const count = channels.length, length = channels[0].length, gain = 32767 / Math.max(1, peakOf(channels));
  const view = new DataView(new ArrayBuffer(44 + 2 * count * length));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, view.byteLength - 8, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, count, true); view.setUint32(24, rate, true);
  view.setUint32(28, 2 * count * rate, true); view.setUint16(32, 2 * count, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * count * length, true);
  for (let i = 0, at = 44; i < length; i++) {
    for (const channel of channels) { view.setInt16(at, Math.round(channel[i] * gain), true); at += 2; }
  }
  return new Blob([view], { type: "audio/wav" });
}

function draw(canvas, channels, name) {
  const { width, height } = canvas, pen = canvas.getContext("2d"), step = channels[0].length / width;
  const most = peakOf(channels) || 1;
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--wave");
  for (let x = 0; x < width; x++) {
    const part = channels[0].subarray(Math.floor(x * step), Math.max(Math.floor((x + 1) * step), Math.floor(x * step) + 1));
    const tall = Math.max(1, (part.reduce((a, b) => Math.max(a, Math.abs(b)), 0) / most) * height);
    pen.fillRect(x, (height - tall) / 2, 1, tall);
  }
  canvas.setAttribute("aria-label", `Waveform of ${name}`);
}

function busy(is) {
  $("working").hidden = !is;
  $("drop").classList.toggle("busy", is);
  $("file").disabled = is;
  document.querySelectorAll("[name=direction]").forEach((each) => { each.disabled = is; });
}

function stop() {
  worker?.terminate();
  worker = null;
  turn += 1; // what is still being read is no longer wanted
  busy(false);
}

function translated(sound, chosen) {
  worker = new Worker("worker.js", { type: "module" });
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.error) reject(new Error(`It could not be translated: ${data.error}`));
      if (data.channels) resolve(data.channels);
      if (data.done) {
        $("bar").value = data.done;
        const left = ((performance.now() - begun) / 1000) * (1 / data.done - 1);
        $("status").textContent = `${Math.round(100 * data.done)} %, ${seconds(left)} left`;
      }
    };
    worker.onerror = (event) => reject(new Error(`The model could not be loaded: ${event.message || "see the console"}`));
    worker.postMessage({ facts: chosen, channels: sound });
  });
}

function show(kind, channels, rate, name) {
  const url = URL.createObjectURL(wavOf(channels, rate));
  urls.push(url);
  $(kind).src = url;
  $(kind).setAttribute("aria-label", `${title(kind)}: ${name}`);
  $(`${kind}-name`).textContent = name;
  draw($(`${kind}-wave`), channels, name);
  return url;
}

async function convert(file) {
  if (!$("working").hidden) return;
  const own = (turn += 1);
  const chosen = facts[Number(document.querySelector("[name=direction]:checked").value)];
  $("problem").textContent = "";
  $("result").hidden = true;
  $("bar").removeAttribute("value");
  $("status").textContent = `Reading ${file.name}`;
  busy(true);
  try {
    const sound = await decoded(file, chosen.sample_rate);
    if (own !== turn) return;
    if (!peakOf(sound)) throw new Error(`${file.name} is silent: there is nothing to translate.`);
    const length = sound[0].length / chosen.sample_rate, begun = performance.now();
    const found = await translated(sound, chosen);
    urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
    const name = `${file.name.replace(/\.[^.]*$/, "")}.${chosen.to}.wav`;
    show("before", sound, chosen.sample_rate, file.name);
    $("download").href = show("after", found, chosen.sample_rate, name);
    $("download").download = name;
    $("result").hidden = false;
    const taken = (performance.now() - begun) / 1000;
    $("status").textContent = `Done: ${seconds(length)} of sound in ${seconds(taken)}.`;
    stop();
    $("result-title").focus();
  } catch (error) {
    if (own !== turn) return;
    $("status").textContent = "";
    $("problem").textContent = error.message;
    stop();
  }
}

$("file").addEventListener("change", () => {
  if ($("file").files.length) convert($("file").files[0]);
  $("file").value = "";
});
$("cancel").addEventListener("click", () => { stop(); $("status").textContent = "Cancelled."; $("file").focus(); });
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.toggle("over", over); });
}
$("drop").addEventListener("drop", (event) => { if (event.dataTransfer.files.length) convert(event.dataTransfer.files[0]); });
document.body.dataset.ready = "yes";
