const DEFAULT_TRIALS = 12;
const MOST_TRIALS = 400;

/** Sessions of this page that the browser keeps; without storage (a private window) they last as long as the page. */
class Sessions {
  constructor(page) {
    this.key = `audiotrans-report:${page}`;
    this.list = [];
    try {
      const kept = JSON.parse(localStorage.getItem(this.key) || "[]");
      if (Array.isArray(kept)) this.list = kept;
    } catch {
      this.list = [];
    }
  }

  save(session) {
    if (!this.list.includes(session)) this.list.push(session);
    this.write();
  }

  forget(session) {
    this.list = this.list.filter((each) => each !== session);
    this.write();
  }

  write() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.list));
    } catch {
      // No storage, or it is full: the session can still be saved as a file.
    }
  }
}

function asked(session) {
  if (session.question === "abx") return "Which one is X?";
  return session.target ? `Which sounds more like a real ${session.target}?` : "Which sounds more real?";
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function chance(p) {
  return p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`;
}

/** The form that starts a session, and the list of earlier ones. */
class BlindSetup {
  constructor(data, sessions, start, view) {
    this.directions = data.directions.filter((direction) => direction.clips.some((clip) => this.playable(clip).length > 1));
    this.sessions = sessions;
    this.start = start;
    this.view = view;
    this.direction = element("select", { id: "blind-direction", onchange: () => this.fill() },
      ...this.directions.map((direction, at) => element("option", { value: at }, data.directions.length > 1 ? `${direction.heading} (${direction.part})` : direction.heading)));
    this.preference = element("input", { type: "radio", name: "question", value: "preference", checked: true, onchange: () => this.fill() });
    this.abx = element("input", { type: "radio", name: "question", value: "abx", onchange: () => this.fill() });
    this.target = element("input", { type: "text", id: "blind-target", maxlength: 60, size: 12 });
    this.systems = element("div", { class: "choices" });
    this.count = element("input", { type: "number", id: "blind-count", min: 1, max: MOST_TRIALS, value: DEFAULT_TRIALS, required: true });
    this.matched = element("input", { type: "checkbox", id: "blind-matched", checked: canSetVolume, disabled: !canSetVolume });
    this.message = element("p", { class: "status", role: "status" });
    this.earlier = element("div", { class: "earlier" });
    this.root = element("div", {}, this.form(), this.earlier);
    if (this.directions.length) this.fill();
    this.listEarlier();
  }

  playable(clip) {
    return clip.takes.filter((take) => take.sound);
  }

  form() {
    if (!this.directions.length) return element("p", { class: "hint" }, "A blind test needs a clip with two sounds or more.");
    const row = (...children) => element("div", { class: "row" }, ...children);
    return element("form", { class: "panel", onsubmit: (event) => { event.preventDefault(); this.submit(); } },
      element("p", { class: "hint" }, "Names are hidden and orders are random until the last answer is given."),
      row(element("label", { for: "blind-direction" }, "Clips"), this.direction),
      element("fieldset", {}, element("legend", {}, "Question"),
        row(element("label", {}, this.preference, " Preference: which of two sounds more like a real "), this.target),
        row(element("label", {}, this.abx, " ABX: which of two is the third? (can they be told apart at all?)"))),
      element("fieldset", {}, element("legend", {}, "Taking part"), this.systems),
      row(element("label", { for: "blind-count" }, "Trials"), this.count,
        element("label", {}, this.matched, " match loudness")),
      row(element("button", { type: "submit", class: "primary" }, "Start"), this.message));
  }

  fill() {
    const direction = this.directions[Number(this.direction.value)];
    this.target.value = direction.target;
    this.target.setAttribute("aria-label", "a real what");
    const rank = (system) => ["system", "truth", "baseline", "input"].indexOf(system.kind);
    const order = direction.systems.map((_, at) => at).sort((one, other) => rank(direction.systems[one]) - rank(direction.systems[other]) || one - other);
    const system = order[0];
    const other = order.find((at) => direction.systems[at].kind === "truth") ?? order[1];
    this.systems.replaceChildren(...direction.systems.map((each, at) => element("label", {},
      element("input", { type: "checkbox", value: at, checked: at === system || at === other }), ` ${each.name}`,
      each.kind === "system" ? "" : element("small", { class: `badge ${each.kind}` }, each.kind))));
    this.message.textContent = "";
  }

  submit() {
    const direction = this.directions[Number(this.direction.value)];
    const chosen = [...this.systems.querySelectorAll("input:checked")].map((box) => Number(box.value));
    const question = this.abx.checked ? "abx" : "preference";
    const count = Math.min(MOST_TRIALS, Math.max(1, Math.round(Number(this.count.value))));
    if (chosen.length < 2 || (question === "abx" && chosen.length > 2)) {
      this.message.textContent = question === "abx" ? "ABX compares two: choose exactly two." : "Choose two or more to compare.";
      return;
    }
    const plan = planTrials(question, direction.clips, chosen, count);
    if (!plan.length) {
      this.message.textContent = "No clip has sounds of two of these.";
      return;
    }
    this.start({ direction, question, plan, target: this.target.value.trim(), matched: this.matched.checked });
  }

  listEarlier() {
    const { list } = this.sessions;
    if (!list.length) return this.earlier.replaceChildren();
    const rows = list.map((session) => element("li", {},
      `${new Date(session.started).toLocaleString()}: ${QUESTIONS[session.question] || "?"}, ${session.direction}, ${session.trials.length} of ${session.planned} trials `,
      element("button", { type: "button", onclick: () => this.view(session) }, "Show"), " ",
      element("button", { type: "button", onclick: () => { this.sessions.forget(session); this.listEarlier(); } }, "Forget")));
    return this.earlier.replaceChildren(element("h3", {}, "Earlier sessions in this browser"), element("ul", {}, ...rows));
  }
}

/** One session: asks trial by trial. Nothing in the document tells whose sound it is until it is over. */
class BlindSession {
  constructor(player, request, sessions, page, done) {
    Object.assign(this, { player, request, sessions, done });
    const { direction, question, plan, target } = request;
    this.names = direction.systems.map((system) => system.name);
    this.matched = request.matched && canSetVolume;
    this.session = { page: page.title, report: page.id, started: new Date().toISOString(), question, target,
      direction: direction.heading, part: direction.part, loudness_matched: this.matched, planned: plan.length, trials: [] };
    this.transport = new Transport(player, { matching: false });
    this.heading = element("h2", { tabindex: -1 });
    this.answers = ["a", "b"].map((key) => element("button", { type: "button", class: "answer", onclick: () => this.answer(key) }));
    this.hint = element("p", { class: "hint", role: "status" });
    this.root = element("main", { class: "trial panel" }, element("h1", {}, "Blind test"), this.heading,
      element("p", { class: "question" }, asked(this.session)), this.transport.root,
      element("div", { class: "answers" }, ...this.answers), this.hint,
      element("button", { type: "button", class: "stop", onclick: () => this.stop() }, "Stop here"));
    this.heard = new Set();
    this.listener = () => this.hear();
    player.listeners.add(this.listener);
    this.before = player.matched;
    player.setMatched(this.matched);
  }

  next() {
    const trial = this.request.plan[this.session.trials.length];
    if (!trial) return this.stop();
    const { takes } = this.request.direction.clips[trial.clip];
    const labels = "x" in trial ? ["a", "b", "x"] : ["a", "b"];
    const heard = labels.map((label) => takes.find((take) => take.system === trial[label]));
    this.heard = new Set();
    this.began = performance.now();
    this.player.open(heard, 0);
    this.transport.show("", labels.map((label) => label.toUpperCase()), (at) => this.choose(at));
    this.heading.textContent = `Trial ${this.session.trials.length + 1} of ${this.session.planned}`;
    this.answers.forEach((button, at) => {
      const label = "AB"[at];
      const text = "x" in trial ? `X is ${label}` : `${label} sounds more like it`;
      button.replaceChildren(text, " ", element("kbd", { "aria-hidden": "true" }, label));
    });
    this.hear();
    return this.heading.focus({ preventScroll: true });
  }

  choose(at) {
    if (this.player.select(at) && !this.player.playing) this.player.play();
  }

  /** Answers open when every sound of the trial has been heard. */
  hear() {
    if (this.player.playing) this.heard.add(this.player.active);
    const ready = this.heard.size === this.player.takes.length;
    this.answers.forEach((button) => { button.disabled = !ready; });
    const hint = ready ? "" : "Listen to every one of them first.";
    if (this.hint.textContent !== hint) this.hint.textContent = hint;
  }

  answer(key) {
    if (this.answers[0].disabled) return;
    const trial = this.request.plan[this.session.trials.length];
    const seconds = Math.round((performance.now() - this.began) / 100) / 10;
    const kept = { clip: this.request.direction.clips[trial.clip].name, a: this.names[trial.a], b: this.names[trial.b] };
    if ("x" in trial) kept.x = this.names[trial.x];
    this.session.trials.push({ ...kept, answer: key, seconds });
    this.sessions.save(this.session);
    this.next();
  }

  key(event) {
    if (playerKey(event, this.player, (at) => this.choose(at))) return true;
    const key = event.key.toLowerCase();
    if ((key !== "a" && key !== "b") || event.ctrlKey || event.metaKey || event.altKey) return false;
    this.answer(key);
    return true;
  }

  stop() {
    this.player.listeners.delete(this.listener);
    this.player.close();
    this.player.setMatched(this.before);
    this.transport.remove();
    this.session.finished = new Date().toISOString();
    if (this.session.trials.length) this.sessions.save(this.session);
    this.done(this.session);
  }
}

/** Show what a session came to, with all names. */
function blindResult(session, back) {
  const counts = countAnswers(session.question, session.trials);
  const early = session.trials.length < session.planned
    ? element("p", { class: "warning" }, `Stopped after ${session.trials.length} of ${session.planned} trials: a session that is stopped when it looks good proves less than its p-value says.`) : "";
  const name = `blind-test-${session.started.slice(0, 19).replaceAll(":", "-")}`;
  const result = { ...session, result: counts };
  return element("main", { class: "result panel" },
    element("h1", { tabindex: -1 }, "Blind test: result"),
    element("p", { class: "question" }, asked(session)),
    element("p", {}, `${session.direction}, ${counts.n} answers, loudness ${session.loudness_matched ? "matched" : "as it is"}.`), early,
    ...(counts.n ? resultTables(session, counts) : [element("p", {}, "No answer was given.")]),
    element("p", { class: "hint" }, "One listener on these clips: it says what this listener hears, not what listeners hear."),
    element("div", { class: "row" },
      element("button", { type: "button", onclick: () => download(`${name}.json`, "application/json", JSON.stringify(result, null, 1)) }, "Save as JSON"),
      element("button", { type: "button", onclick: () => download(`${name}.csv`, "text/csv", sessionCsv(session)) }, "Save as CSV"),
      element("button", { type: "button", class: "primary", onclick: back }, "Back to the report")));
}

function resultTables(session, counts) {
  const interval = ([low, high]) => `${percent(low)} to ${percent(high)}`;
  const table = (head, rows) => element("table", { class: "scores" },
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows.map(([first, ...rest]) => element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((text) => element("td", {}, text))))));
  if (session.question === "abx") {
    const told = counts.p < 0.05 ? "The two were told apart." : "The two were not told apart.";
    return [element("p", { class: "outcome" }, `${counts.correct} of ${counts.n} right (${percent(counts.share)}). ${told}`),
      table(["right", "95 % interval", "by guessing"], [[`${counts.correct} / ${counts.n}`, interval(counts.interval), chance(counts.p)]]),
      element("p", { class: "note" }, "Interval: exact (Clopper-Pearson). p: how often guessing gets as many right or more, exact, one-sided.")];
  }
  const several = counts.pairs.length > 1;
  const [duel] = counts.pairs;
  const [first, second] = counts.systems;
  const outcome = several ? [] : [element("p", { class: "outcome" },
    `${first.system} was chosen ${first.chosen} times of ${duel.n} over ${second.system} (${chance(duel.p)}): ${duel.p < 0.05 ? "a preference." : "no clear preference."}`)];
  const duels = several ? [table(["pair", "first chosen", "95 % interval", "against even odds", "corrected"],
    counts.pairs.map((each) => [`${each.one} : ${each.other}`, `${each.chosen} / ${each.n}`, interval(each.interval), chance(each.p), chance(each.holm)]))] : [];
  return [
    ...outcome,
    table(["sound", "chosen", "share", "95 % interval"], counts.systems.map((row) => [row.system, `${row.chosen} / ${row.n}`, percent(row.chosen / row.n), interval(row.interval)])),
    ...duels,
    element("p", { class: "note" }, `Intervals: exact (Clopper-Pearson). p: exact binomial test, two-sided.${several ? " Corrected for the number of pairs (Holm)." : ""}`)];
}
