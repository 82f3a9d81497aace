// Translates a sound, tile by tile, off the page's own thread.

import * as ort from "./ort/ort.wasm.min.mjs";
import { levels } from "./level.js";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
ort.env.logLevel = "error";

const sessions = new Map();

function sessionOf(file) {
  if (!sessions.has(file)) sessions.set(file, ort.InferenceSession.create(new URL(file, import.meta.url).href));
  return sessions.get(file);
}

// Tiles begin where the graph's noise repeats; so they agree with the whole, as those of `audiotrans convert` do.
function tiles({ period, margin }, length) {
  const count = Math.max(1, Math.round((length - margin) / period));
  return Array.from({ length: count }, (_, i) => {
    const end = i + 1 < count ? (i + 1) * period + margin : length;
    return { start: i * period, begin: i ? i * period + margin : 0, end, stop: Math.min(length, end + margin) };
  });
}

// Adds a tile's samples to those of the whole; over `fade` samples around a border both neighbours count.
function add(whole, piece, { start, begin, end }, fade) {
  const length = whole.length, first = begin ? begin - fade / 2 : 0, last = end < length ? end + fade / 2 : length;
  for (let at = first; at < last; at++) {
    const rise = begin ? Math.min(1, (at - first + 0.5) / fade) : 1;
    const fall = end < length ? Math.min(1, (last - at - 0.5) / fade) : 1;
    whole[at] += piece[at - start] * Math.sin((Math.PI / 2) * rise) ** 2 * Math.sin((Math.PI / 2) * fall) ** 2;
  }
}

async function translate({ facts, channels }) {
  const length = channels[0].length, count = channels.length;
  const session = await sessionOf(facts.file);
  const level = levels(channels, facts), whole = channels.map(() => new Float32Array(length));
  for (const tile of tiles(facts, length)) {
    const size = tile.stop - tile.start, first = tile.start / facts.hop_length;
    const wave = new Float32Array(count * size);
    channels.forEach((channel, i) => wave.set(channel.subarray(tile.start, tile.stop), i * size));
    const frames = 1 + Math.ceil(size / facts.hop_length), given = new Float32Array(frames);
    for (let i = 0; i < frames; i++) given[i] = level[Math.min(first + i, level.length - 1)];
    const { sound } = await session.run({
      wave: new ort.Tensor("float32", wave, [count, size]),
      level_db: new ort.Tensor("float32", given, [frames]),
    });
    whole.forEach((channel, i) => add(channel, sound.data.subarray(i * size, (i + 1) * size), tile, facts.fade));
    sound.dispose();
    self.postMessage({ done: tile.end / length });
  }
  return whole;
}

self.onmessage = async ({ data }) => {
  try {
    const found = await translate(data);
    self.postMessage({ channels: found }, found.map((channel) => channel.buffer));
  } catch (error) {
    self.postMessage({ error: String(error?.message || error) });
  }
};
