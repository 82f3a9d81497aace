const QUESTIONS = { preference: "preference", abx: "ABX" };

/** Return every pair of a list. */
function pairs(items) {
  return items.flatMap((one, at) => items.slice(at + 1).map((other) => [one, other]));
}

/** Repeat random orders of a list until there are enough: nothing comes again before all have come. */
function rounds(items, count) {
  const out = [];
  while (items.length && out.length < count) out.push(...shuffle([...items]));
  return out.slice(0, count);
}

/**
 * Plan a session: which clip, which pair, which is A, and for ABX which is X. All by chance, pairs in equal shares.
 *
 * clips are {name, takes: [{system, sound, ...}]}, systems are their indices; null where no clip has two of them.
 */
function planTrials(question, clips, systems, count) {
  const has = (clip, system) => clip.takes.some((take) => take.system === system && take.sound);
  const waiting = new Map();
  const usable = pairs(systems).filter((pair) => {
    const fit = clips.map((_, at) => at).filter((at) => pair.every((system) => has(clips[at], system)));
    if (fit.length) waiting.set(pair, rounds(fit, count));
    return fit.length;
  });
  return rounds(usable, count).map((pair) => {
    const [a, b] = Math.random() < 0.5 ? pair : [pair[1], pair[0]];
    const trial = { clip: waiting.get(pair).pop(), a, b };
    if (question === "abx") trial.x = Math.random() < 0.5 ? a : b;
    return trial;
  });
}

/** Count a session's answers: trials are {a, b, x?, answer: "a" | "b"} with names of systems. */
function countAnswers(question, trials) {
  const answered = trials.filter((trial) => trial.answer);
  if (question === "abx") {
    const correct = answered.filter((trial) => trial[trial.answer] === trial.x).length;
    const n = answered.length;
    return { n, correct, share: n ? correct / n : null, interval: exactInterval(correct, n), p: binomialUpper(correct, n) };
  }
  const wins = new Map();
  const duels = new Map();
  for (const trial of answered) {
    const chosen = trial[trial.answer];
    for (const system of [trial.a, trial.b]) {
      const row = wins.get(system) || { system, chosen: 0, n: 0 };
      row.n += 1;
      row.chosen += system === chosen ? 1 : 0;
      wins.set(system, row);
    }
    const [one, other] = [trial.a, trial.b].sort();
    const key = JSON.stringify([one, other]);
    const duel = duels.get(key) || { one, other, chosen: 0, n: 0 };
    duel.n += 1;
    duel.chosen += chosen === one ? 1 : 0;
    duels.set(key, duel);
  }
  const found = [...duels.values()].map((duel) => ({ ...duel, interval: exactInterval(duel.chosen, duel.n), p: binomialTwoSided(duel.chosen, duel.n) }));
  const corrected = holm(found.map((duel) => duel.p));
  const systems = [...wins.values()].map((row) => ({ ...row, interval: exactInterval(row.chosen, row.n) }));
  systems.sort((one, other) => other.chosen / other.n - one.chosen / one.n);
  return { n: answered.length, systems, pairs: found.map((duel, at) => ({ ...duel, holm: corrected[at] })) };
}

/** Write a session's trials as CSV. */
function sessionCsv(session) {
  const quote = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
  const head = ["trial", "question", "direction", "clip", "a", "b", "x", "answer", "chosen", "correct", "seconds"];
  const rows = session.trials.map((trial, at) => [at + 1, session.question, session.direction, trial.clip, trial.a, trial.b,
    trial.x, trial.answer, trial.answer && session.question === "preference" ? trial[trial.answer] : "",
    trial.answer && trial.x ? Number(trial[trial.answer] === trial.x) : "", trial.seconds]);
  return [head, ...rows].map((row) => row.map(quote).join(",")).join("\r\n") + "\r\n";
}
