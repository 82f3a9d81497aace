/** Before and after, side by side: heard one or the other at the same moment, drawn on common scales. */
class TranslationPlayer extends HTMLElement {
  // Gradio may keep the element and change its attribute when the next result comes.
  static observedAttributes = ["data-clips"];

  attributeChangedCallback() {
    if (this.isConnected) this.open();
  }

  connectedCallback() {
    this.open();
  }

  open() {
    if (this.opened === this.dataset.clips) return;
    this.opened = this.dataset.clips;
    const data = JSON.parse(this.opened);
    this.close();
    this.root = this.shadowRoot || this.attachShadow({ mode: "open" });
    this.root.replaceChildren(element("style", {}, LISTEN_STYLE));
    this.data = data;
    this.at = 0;
    if (data.clips.length > 1) this.root.append(this.chooser());
    this.stage = element("div", { class: "stage" });
    this.root.append(this.stage);
    this.show(0);
  }

  disconnectedCallback() {
    this.opened = null;
    this.close();
  }

  close() {
    if (this.transport) {
      this.player.close();
      this.transport.remove();
      this.transport = null;
    }
  }

  chooser() {
    const names = this.data.clips.map((clip, at) => element("option", { value: at }, clip.name));
    const select = element("select", { id: "clip", onchange: () => this.show(Number(select.value)) }, ...names);
    const label = this.data.clips[0].takes[0].picture ? "Look at " : "Listen to ";
    return element("p", { class: "clips" }, element("label", { for: "clip" }, label), select);
  }

  show(at) {
    this.close();
    const clip = this.data.clips[at];
    this.stage.replaceChildren();
    if (clip.takes[0].picture) this.stage.append(this.pictures(clip));
    else this.stage.append(...this.sounds(clip));
  }

  pictures(clip) {
    const figures = clip.takes.map((take, at) => element("figure", {}, this.caption(take, at),
      element("img", { src: take.picture, alt: `${clip.name}, ${take.name}` })));
    return element("div", { class: "pair" }, ...figures);
  }

  sounds(clip) {
    this.player = new Player();
    const choose = (at) => {
      this.player.select(at);
      if (!this.player.playing) this.player.play();
    };
    const seconds = Math.max(...clip.takes.map((take) => take.seconds));
    const figures = clip.takes.map((take, at) => this.figure(clip, take, at, seconds, choose));
    this.player.open(clip.takes, 1);
    this.transport = new Transport(this.player);
    this.transport.show("", clip.takes.map((take) => take.name), choose);
    this.transport.onposition = (share) => {
      this.stage.style.setProperty("--at", `${100 * share}%`);
      figures.forEach((figure, at) => figure.classList.toggle("active", at === this.player.active));
    };
    this.transport.move();
    this.stage.onkeydown = (event) => {
      if (playerKey(event, this.player, (at) => at < clip.takes.length && choose(at))) event.preventDefault();
      else if (event.key.toLowerCase() === "m") this.player.setMatched(!this.player.matched);
    };
    const hint = element("p", { class: "hint" }, element("kbd", {}, "1"), " ", element("kbd", {}, "2"),
      " switch while it plays, ", element("kbd", {}, "Space"), " plays and stops");
    return [element("div", { class: "pair" }, ...figures), this.transport.root, hint];
  }

  figure(clip, take, at, seconds, choose) {
    const seek = (event) => {
      const box = event.currentTarget.getBoundingClientRect();
      this.player.seek(seconds * (event.clientX - box.left) / box.width);
      choose(at);
    };
    const width = `width: ${100 * take.seconds / seconds}%`;
    const ticks = this.data.hertz.map(([place, text]) => element("span", { style: `bottom: ${place}%` }, text));
    return element("figure", { class: "take" },
      this.caption(take, at),
      element("div", { class: "wave", onclick: seek }, this.wave(take, width)),
      element("div", { class: "strip", onclick: seek },
        element("img", { src: take.strip, style: width, alt: `Spectrogram of ${clip.name}, ${take.name}` }),
        element("div", { class: "hertz", "aria-hidden": "true" }, ...ticks)));
  }

  caption(take, at) {
    return element("figcaption", {}, element("span", { class: "when" }, at ? "After" : "Before"), " ", take.name);
  }

  wave(take, width) {
    const [low, high] = take.wave;
    const points = [...high.map((value, at) => [at, -value]), ...low.map((value, at) => [at, -value]).reverse()];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 -1.02 ${Math.max(1, high.length - 1)} 2.04`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("style", width);
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M${points.map((point) => point.join(" ")).join("L")}Z`);
    svg.append(path);
    return svg;
  }
}

customElements.define("translation-player", TranslationPlayer);
