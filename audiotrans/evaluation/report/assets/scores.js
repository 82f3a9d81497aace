/** Choose decimals so that a column's largest number shows three figures. */
function decimalsFor(values) {
  const largest = Math.max(0, ...values.filter((value) => value !== null).map(Math.abs));
  return largest === 0 ? 2 : Math.min(7, Math.max(0, 2 - Math.floor(Math.log10(largest))));
}

/** Build the score tables of one clip, one for each group of metrics. rows are {name, scores}. */
function clipScores(metrics, rows, name) {
  const groups = [...new Set(metrics.map((metric) => metric.group))];
  const tables = groups.map((group) => {
    const columns = metrics.map((_, at) => at).filter((at) => metrics[at].group === group);
    const places = new Map(columns.map((at) => [at, decimalsFor(rows.map((row) => row.scores[at]))]));
    const heads = columns.map((at) => element("th", { scope: "col" }, metrics[at].label,
      metrics[at].unit ? element("small", { class: "unit" }, metrics[at].unit) : ""));
    const cell = (value, at) => element("td", {}, value === null ? "\u2013" : value.toFixed(places.get(at)).replace("-", "\u2212"));
    const body = rows.filter((row) => columns.some((at) => row.scores[at] !== null)).map((row) => element("tr", {},
      element("th", { scope: "row" }, row.name), ...columns.map((at) => cell(row.scores[at], at))));
    const table = element("table", { class: "scores" }, element("caption", {}, group || "other"),
      element("thead", {}, element("tr", {}, element("td"), ...heads)), element("tbody", {}, ...body));
    return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${group || "other"} scores of clip ${name}` }, table);
  });
  return element("div", { class: "tables" }, ...tables);
}
