// The level of the music around each frame, as audiotrans/spectrogram/level.py defines it: the same numbers, so that a
// page cuts a sound into pieces as `audiotrans convert` does. A test compares the sound of both.

const LOWEST_HZ = 60, MEDIAN_SECONDS = 0.17, RISE_DB = 60, AHEAD_SECONDS = 0.75, HOLD_SECONDS = 0.3, FALL_DB = 40;
const DEPTH_DB = 45, LOUD_SHARE = 0.95, LIMIT_DB = 400;

// An in-place transform of complex numbers, size a power of two.
function transformer(size) {
  const cos = new Float64Array(size / 2), sin = new Float64Array(size / 2), swap = new Uint32Array(size);
  for (let i = 0; i < size / 2; i++) {
    cos[i] = Math.cos((2 * Math.PI * i) / size);
    sin[i] = -Math.sin((2 * Math.PI * i) / size);
  }
  for (let i = 1; i < size; i++) swap[i] = (swap[i >> 1] >> 1) | (i & 1 ? size >> 1 : 0);
  return (real, imag) => {
    for (let i = 0; i < size; i++) {
      const j = swap[i];
      if (j > i) {
        [real[i], real[j]] = [real[j], real[i]];
        [imag[i], imag[j]] = [imag[j], imag[i]];
      }
    }
    for (let half = 1, step = size / 2; half < size; half *= 2, step /= 2) {
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0, at = start; k < half; k++, at++) {
          const c = cos[k * step], s = sin[k * step], a = real[at + half], b = imag[at + half];
          const x = a * c - b * s, y = a * s + b * c;
          real[at + half] = real[at] - x;
          imag[at + half] = imag[at] - y;
          real[at] += x;
          imag[at] += y;
        }
      }
    }
  };
}

// The mean square of each frame, what lies below LOWEST_HZ left out. Two channels share a transform.
function powers(channels, { sample_rate: rate, n_fft: size, hop_length: hop }) {
  const samples = channels[0].length, frames = 1 + Math.ceil(samples / hop), first = Math.ceil((LOWEST_HZ * size) / rate);
  const window = Float32Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
  const transform = transformer(size), real = new Float64Array(size), imag = new Float64Array(size);
  const found = new Float64Array(frames), scale = 2 / (size * 0.375 * size) / channels.length;
  for (let frame = 0; frame < frames; frame++) {
    const from = frame * hop - size / 2;
    for (let channel = 0; channel < channels.length; channel += 2) {
      const left = channels[channel], right = channels[channel + 1];
      for (let i = 0; i < size; i++) {
        const at = from + i, inside = at >= 0 && at < samples;
        real[i] = inside ? left[at] * window[i] : 0;
        imag[i] = inside && right ? right[at] * window[i] : 0;
      }
      transform(real, imag);
      for (let bin = first; bin <= size / 2; bin++) {
        const mirror = (size - bin) % size;
        const share = bin < size / 2 ? 2 : 4; // the last bin stands for one, the others for two
        found[frame] += (real[bin] ** 2 + imag[bin] ** 2 + real[mirror] ** 2 + imag[mirror] ** 2) / share;
      }
    }
    found[frame] *= scale;
  }
  return found;
}

function quantile(values, share) {
  const order = Float64Array.from(values).sort(), place = share * (order.length - 1), below = Math.floor(place);
  return order[below] + (place - below) * (order[Math.ceil(place)] - order[below]);
}

// Levels in dB re full scale, one for each frame.
export function levels(channels, facts) {
  const power = powers(channels, facts), frames = power.length, seconds = facts.hop_length / facts.sample_rate;
  const half = Math.max(1, Math.round(MEDIAN_SECONDS / seconds / 2));
  const reflected = (i) => (frames > half ? (i < 0 ? -i : i >= frames ? 2 * frames - 2 - i : i) : Math.min(Math.max(i, 0), frames - 1));
  const level = new Float64Array(frames), around = new Float64Array(2 * half + 1);
  for (let frame = 0; frame < frames; frame++) {
    for (let i = -half; i <= half; i++) around[i + half] = power[reflected(frame + i)];
    level[frame] = 10 * Math.log10(Math.max(around.sort()[half], 10 ** (-LIMIT_DB / 10)));
  }
  const least = quantile(level, LOUD_SHARE) - DEPTH_DB;
  const ahead = Math.max(1, Math.round(AHEAD_SECONDS / seconds)), hold = Math.round(HOLD_SECONDS / seconds);
  const risen = level.map((own, frame) => {
    let highest = Math.max(own, least);
    for (let step = 1; step <= ahead && frame + step < frames; step++) {
      highest = Math.max(highest, Math.max(level[frame + step], least) - RISE_DB * seconds * step);
    }
    return highest;
  });
  const held = risen.map((_, frame) => Math.max(...risen.subarray(Math.max(0, frame - hold), frame + 1)));
  for (let frame = 1; frame < frames; frame++) held[frame] = Math.max(held[frame], held[frame - 1] - FALL_DB * seconds);
  return Float32Array.from(held);
}
