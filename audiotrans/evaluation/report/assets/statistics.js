/** Probability of exactly k of n, each with probability p. In logarithms, for n may be large. */
function binomial(k, n, p) {
  if (p <= 0) return k === 0 ? 1 : 0;
  if (p >= 1) return k === n ? 1 : 0;
  let log = k * Math.log(p) + (n - k) * Math.log1p(-p);
  for (let i = 1; i <= k; i += 1) log += Math.log((n - k + i) / i);
  return Math.exp(log);
}

/** Probability of k or more of n. */
function binomialUpper(k, n, p = 0.5) {
  let sum = 0;
  for (let i = k; i <= n; i += 1) sum += binomial(i, n, p);
  return Math.min(1, sum);
}

/** Exact two-sided p-value of k of n against even odds: all outcomes that are as unlikely or more. */
function binomialTwoSided(k, n) {
  const limit = binomial(k, n, 0.5) * (1 + 1e-7);
  let sum = 0;
  for (let i = 0; i <= n; i += 1) if (binomial(i, n, 0.5) <= limit) sum += binomial(i, n, 0.5);
  return Math.min(1, sum);
}

/** Exact (Clopper-Pearson) interval of a proportion. */
function exactInterval(k, n, level = 0.95) {
  const tail = (1 - level) / 2;
  const solve = (rises, wanted) => {
    let low = 0;
    let high = 1;
    for (let i = 0; i < 60; i += 1) {
      const middle = (low + high) / 2;
      if (rises(middle) < wanted) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  };
  const lower = k === 0 ? 0 : solve((p) => binomialUpper(k, n, p), tail);
  const upper = k === n ? 1 : solve((p) => binomialUpper(k + 1, n, p), 1 - tail);
  return [lower, upper];
}

/** Correct p-values for there being several (Holm). */
function holm(values) {
  const order = values.map((value, at) => [value, at]).sort((one, other) => one[0] - other[0]);
  const corrected = new Array(values.length);
  let largest = 0;
  order.forEach(([value, at], rank) => {
    largest = Math.max(largest, Math.min(1, value * (values.length - rank)));
    corrected[at] = largest;
  });
  return corrected;
}
