// What is not heard plays on at -100 dB, less than the last bit of 16. Muted, or at volume 0, Chromium takes a sound out of
// its mixer, and it drifts away by hundreds of ms; in the mixer all sounds keep to the very sample.
const HUSHED = 1e-5;
const SEEK_BEYOND = 0.25; // seconds apart: jump; below, a hushed sound runs a little faster or slower until it is level
const LEVEL_WITHIN = 0.006; // seconds apart that count as level
const ALIGN_EVERY = 50; // ms
const WAIT_AT_MOST = 1500; // ms until sounds start that are ready, whether or not all are
const AT_END = 0.02; // seconds before its end from which a sound is over

/** Phones leave the volume to their keys: then loudness cannot be matched, and the page says so. */
const canSetVolume = (() => {
  const probe = new Audio();
  probe.volume = 0.5;
  return probe.volume === 0.5;
})();

/** Wait until a sound can play from where it is, or never will. */
function untilReady(sound) {
  return new Promise((done) => {
    const ended = new AbortController();
    const check = () => {
      if ((sound.readyState < 3 || sound.seeking) && !sound.error) return;
      ended.abort(); // takes the listeners away
      done();
    };
    for (const event of ["canplay", "seeked", "error"]) sound.addEventListener(event, check, { signal: ended.signal });
    check();
  });
}

/**
 * Plays one clip in all its takes at once, all but one hushed: so a switch is instant and keeps the moment.
 *
 * A take is {sound, seconds, gain}; sound is null where there is none, gain is in dB and at most 0.
 */
class Player {
  constructor() {
    this.pool = []; // elements are used again: a browser allows only so many, and on phones only those once touched
    this.takes = [];
    this.active = -1;
    this.playing = false;
    this.loop = false;
    this.matched = canSetVolume;
    this.error = "";
    this.listeners = new Set();
    this.timer = 0;
    this.turn = 0; // counts starts, so that one that waits knows when it is no longer wanted
  }

  get seconds() {
    return Math.max(0, ...this.takes.map((take) => take.seconds));
  }

  get position() {
    const clock = this.clock();
    return clock ? Math.min(clock.currentTime, this.seconds) : 0;
  }

  /** Load a clip; the former one is let go. */
  open(takes, active) {
    this.pause();
    this.takes = takes;
    this.error = "";
    while (this.pool.length < takes.length) this.pool.push(this.newElement());
    this.pool.forEach((sound, at) => {
      const take = takes[at];
      if (take && take.sound) {
        sound.preload = "auto";
        sound.src = take.sound;
      } else if (sound.hasAttribute("src")) {
        sound.removeAttribute("src");
        sound.load();
      }
    });
    this.active = active;
    this.setLevels();
  }

  newElement() {
    const sound = new Audio();
    sound.addEventListener("ended", () => sound === this.longest() && this.finish());
    sound.addEventListener("error", () => this.failed(sound));
    return sound;
  }

  close() {
    this.open([], -1);
  }

  play() {
    if (!this.takes.length) return;
    const from = this.position >= this.seconds - AT_END ? 0 : this.position;
    this.playing = true;
    this.put(from);
    this.start();
    clearInterval(this.timer);
    this.timer = setInterval(() => this.align(), ALIGN_EVERY);
    this.tell();
  }

  pause() {
    const at = this.position;
    this.halt();
    if (this.takes.length) this.put(at);
    this.tell();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  seek(seconds) {
    if (this.playing) this.sounding().forEach((sound) => sound.pause()); // to start together again
    this.put(Math.max(0, Math.min(seconds, this.seconds)));
    if (this.playing) this.start();
    this.tell();
  }

  /** Switch to another take at the same moment. */
  select(index) {
    const next = this.takes[index];
    if (!next || !next.sound) return false;
    const at = this.position;
    const sound = this.pool[index];
    if (Math.abs(sound.currentTime - at) > 0.03 && at < next.seconds - AT_END) sound.currentTime = at;
    sound.playbackRate = 1;
    this.active = index;
    this.setLevels();
    if (this.playing && sound.paused) this.start();
    this.tell();
    return true;
  }

  setLoop(on) {
    this.loop = on;
    this.tell();
  }

  setMatched(on) {
    this.matched = on && canSetVolume;
    this.setLevels();
    this.tell();
  }

  setLevels() {
    this.takes.forEach((take, at) => {
      const sound = this.pool[at];
      const level = this.matched ? 10 ** (take.gain / 20) : 1;
      sound.volume = at === this.active ? level : HUSHED;
      sound.muted = !canSetVolume && at !== this.active;
    });
  }

  /** The element whose time counts: the one that is heard, or the longest where that is over or not there yet. */
  clock() {
    const heard = this.pool[this.active];
    const take = this.takes[this.active];
    if (take && take.sound && heard.currentTime < take.seconds - AT_END) return heard;
    return this.longest() || null;
  }

  longest() {
    const at = this.takes.findIndex((take) => take.sound && take.seconds === this.seconds);
    return this.pool[at];
  }

  sounding() {
    return this.pool.filter((_, at) => this.takes[at] && this.takes[at].sound);
  }

  put(seconds) {
    this.takes.forEach((take, at) => {
      if (!take.sound) return;
      const wanted = Math.min(seconds, take.seconds);
      if (Math.abs(this.pool[at].currentTime - wanted) > 0.001) this.pool[at].currentTime = wanted;
    });
  }

  /** Start all sounds together, as soon as they are ready; on phones at once, for there only a touch may start them. */
  start() {
    this.turn += 1;
    const { turn } = this;
    const begin = () => { if (this.playing && turn === this.turn) this.begin(); };
    const waiting = this.sounding().filter((sound) => sound.readyState < 3 || sound.seeking);
    if (!canSetVolume || !waiting.length) begin();
    else Promise.race([Promise.all(waiting.map(untilReady)), new Promise((done) => { setTimeout(done, WAIT_AT_MOST); })]).then(begin);
  }

  begin() {
    const at = this.position;
    this.takes.forEach((take, index) => {
      const sound = this.pool[index];
      if (!take.sound || at >= take.seconds - AT_END || !sound.paused) return;
      sound.play().catch((error) => this.refused(error, index));
    });
  }

  halt() {
    this.playing = false;
    this.turn += 1;
    clearInterval(this.timer);
    this.sounding().forEach((sound) => sound.pause());
  }

  /** Bring the hushed sounds level with the one that is heard; that one is never touched. */
  align() {
    const clock = this.clock();
    if (!clock) return;
    // A file may be longer than its sound: FLAC has silence behind, for the browsers that cannot seek to its very end.
    if (clock.currentTime >= this.seconds) {
      this.finish();
      return;
    }
    this.takes.forEach((take, at) => {
      const sound = this.pool[at];
      if (!take.sound || sound === clock || sound.paused || sound.seeking) return;
      const apart = clock.currentTime - sound.currentTime;
      if (clock.currentTime >= take.seconds - AT_END) return;
      if (Math.abs(apart) > SEEK_BEYOND) sound.currentTime = clock.currentTime;
      else if (at === this.active || Math.abs(apart) < LEVEL_WITHIN) sound.playbackRate = 1;
      else sound.playbackRate = 1 + Math.max(-0.5, Math.min(0.5, 6 * apart));
    });
  }

  /** At the end: again from the start, or stop. */
  finish() {
    if (!this.playing) return;
    if (this.loop) {
      this.seek(0);
      return;
    }
    this.halt();
    this.tell();
  }

  refused(error, index) {
    if (error.name === "AbortError" || index !== this.active) return;
    this.pause();
    this.error = error.name === "NotAllowedError" ? "The browser waits for a click before it plays." : this.error;
    this.tell();
  }

  failed(sound) {
    if (!sound.hasAttribute("src")) return;
    const at = this.pool.indexOf(sound);
    this.error = `Sound ${at + 1} cannot be played: it is not there, or of a format that this browser does not know.`;
    this.tell();
  }

  tell() {
    this.listeners.forEach((listener) => listener());
  }
}

/** The controls of a player: play, takes, position, loop and, where it is wanted, loudness. */
class Transport {
  constructor(player, { matching = true } = {}) {
    this.player = player;
    this.play = element("button", { type: "button", class: "play", "aria-label": "Play", onclick: () => player.toggle() });
    this.title = element("span", { class: "title" });
    this.takes = element("div", { class: "chips", role: "group", "aria-label": "Takes" });
    this.slider = element("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0, "aria-label": "Position",
      oninput: () => player.seek(Number(this.slider.value)) });
    this.time = element("output", { class: "time" });
    this.loop = this.toggle("Loop", () => player.setLoop(!player.loop));
    this.match = this.toggle("Match loudness", () => player.setMatched(!player.matched));
    this.match.disabled = !canSetVolume;
    if (!canSetVolume) this.match.title = "This browser leaves the volume to the device's keys.";
    this.status = element("span", { class: "status", role: "status" });
    const switches = matching ? [this.loop, this.match] : [this.loop];
    this.root = element("div", { class: "transport" }, this.play, this.title, this.takes,
      element("div", { class: "line" }, this.slider, this.time, ...switches), this.status);
    this.listener = () => this.render();
    player.listeners.add(this.listener);
    this.frame = 0;
    this.onposition = () => {};
  }

  toggle(text, action) {
    return element("button", { type: "button", class: "toggle", "aria-pressed": "false", onclick: action }, text);
  }

  /** Name what is played; names holds null for takes without sound. */
  show(title, names, choose) {
    this.title.textContent = title;
    this.takes.replaceChildren(...names.map((name, at) => element("button",
      { type: "button", class: "chip take-switch", "aria-pressed": "false", disabled: name === null, onclick: () => choose(at) },
      element("kbd", { "aria-hidden": "true" }, at < 10 ? String((at + 1) % 10) : ""), name === null ? "–" : name)));
    this.render();
  }

  render() {
    const { player } = this;
    this.play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    this.play.classList.toggle("playing", player.playing);
    this.slider.max = String(player.seconds);
    this.loop.setAttribute("aria-pressed", String(player.loop));
    this.match.setAttribute("aria-pressed", String(player.matched));
    [...this.takes.children].forEach((chip, at) => chip.setAttribute("aria-pressed", String(at === player.active)));
    if (this.status.textContent !== player.error) this.status.textContent = player.error;
    this.move();
  }

  move() {
    const { player } = this;
    cancelAnimationFrame(this.frame);
    this.slider.value = String(player.position);
    this.slider.setAttribute("aria-valuetext", `${player.position.toFixed(1)} of ${player.seconds.toFixed(1)} seconds`);
    this.time.textContent = `${clockTime(player.position)} / ${clockTime(player.seconds)}`;
    this.onposition(player.seconds ? player.position / player.seconds : 0);
    if (player.playing) this.frame = requestAnimationFrame(() => this.move());
  }

  remove() {
    cancelAnimationFrame(this.frame);
    this.player.listeners.delete(this.listener);
    this.root.remove();
  }
}

/** Keys of the player; returns whether one was meant for it. choose(index) selects a take. */
function playerKey(event, player, choose) {
  const inside = event.target instanceof Element ? event.target : document.body;
  const onSlider = inside.matches("input[type=range]");
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (inside.matches("input, select, textarea") && !onSlider) return false;
  if (event.key === " ") {
    // A button keeps its key, save those that choose a take: after a switch, space means play.
    if (inside.matches("button, summary, a") && !inside.matches(".take-switch, .choose, .play")) return false;
    player.toggle();
  } else if (/^[0-9]$/.test(event.key)) choose((Number(event.key) + 9) % 10);
  else if (event.key === "ArrowLeft" && !onSlider) player.seek(player.position - 1);
  else if (event.key === "ArrowRight" && !onSlider) player.seek(player.position + 1);
  else if (event.key.toLowerCase() === "l") player.setLoop(!player.loop);
  else return false;
  return true;
}
