// The scatter plot in colours of Okabe and Ito, distinguishable with every kind of colour vision, and shapes.
const KINDS = {
  front: ["on the front", "diamond"],
  other: ["other recipes", "circle"],
  reference: ["references", "square-open"],
};
const phone = window.matchMedia("(max-width: 600px)");
const narrow = () => phone.matches;
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const PAPER_PX = 680; // width of a chart on paper, which is 18 cm
let drawn = [];

const kindOf = (row) => (row.kind === "reference" ? "reference" : row.front ? "front" : "other");

function drawable() {
  const x = axisOf(state.x),
    y = axisOf(state.y),
    own = [x, y].some((axis) => axis.session);
  const rows = shownRows(),
    out = [];
  const kept = rows.filter((row) => {
    const why =
      row.word === "BROKEN"
        ? "broken"
        : value(row, state.x) === null || value(row, state.y) === null
          ? "without figures"
          : own && row.session > 0
            ? "of another session"
            : state.log && value(row, state.x) <= 0
              ? "not above 0"
              : null;
    if (why) out.push(`${row.name} (${why})`);
    return !why;
  });
  return [kept, out];
}

function errors(rows, key) {
  const end = (row, place) => {
    const cell = row.cells[key];
    return cell[place] === null ? 0 : Math.abs(cell[place] - cell[2]);
  };
  return {
    type: "data",
    symmetric: false,
    visible: state.bars,
    thickness: 1,
    width: 3,
    array: rows.map((row) => end(row, 4)),
    arrayminus: rows.map((row) => end(row, 3)),
  };
}

function hover(row) {
  const lines = [
    `<b>${forPlotly(row.name)}</b>${row.front ? " ★" : ""}`,
    forPlotly(row.kind === "reference" ? "reference" : row.verdict || ""),
  ];
  for (const axis of shownAxes())
    if (known(row.cells[axis.key])) lines.push(forPlotly(`${axis.label}: ${cellText(row, axis)}`));
  if (row.grade) lines.push(forPlotly(`energy grade ${row.grade}`));
  if (row.kernel) lines.push(forPlotly(`kernels ${row.kernel}` + (row.runtime ? `, runtime ${row.runtime}` : "")));
  if (row.methods.length) lines.push(forPlotly(row.methods.join(" + ")));
  return lines.filter(Boolean).join("<br>");
}

// The best value at this cost or less, as in pareto.png; the front is of cost and accuracy only.
const onFrontAxes = () => state.x === costKey() && ["metric", "difference"].includes(state.y);

function frontLine() {
  if (!onFrontAxes()) return null;
  const up = axisOf(state.y).better === "high" ? 1 : -1,
    cheap = axisOf(state.x).better === "low" ? 1 : -1;
  const line = [];
  for (const row of table()
    .rows.filter((each) => each.front && value(each, state.x) !== null && value(each, state.y) !== null)
    .sort((a, b) => cheap * (value(a, state.x) - value(b, state.x)))) {
    if (!line.length || up * value(row, state.y) > up * value(line.at(-1), state.y)) line.push(row);
  }
  return {
    x: line.map((row) => value(row, state.x)),
    y: line.map((row) => value(row, state.y)),
    mode: "lines",
    name: "front",
    hoverinfo: "skip",
    line: { shape: "hv", dash: "dash", width: 1.5, color: ink("front") },
    showlegend: false,
  };
}

function layout(extra = {}) {
  const line = {
    color: ink("ink"),
    gridcolor: ink("line"),
    zerolinecolor: ink("line"),
    linecolor: ink("line"),
    automargin: true,
  };
  const { xaxis = {}, yaxis = {}, ...rest } = extra;
  return {
    width: before ? PAPER_PX : undefined,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink("ink"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 50, r: 12, t: 10, b: 72 },
    hovermode: "closest",
    hoverlabel: { align: "left", bgcolor: ink("panel"), bordercolor: ink("soft"), font: { color: ink("ink") } },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: ink("soft"), activecolor: ink("ink") },
    dragmode: false,
    xaxis: { ...line, ...xaxis },
    yaxis: { ...line, ...yaxis },
    ...rest,
  };
}

// Dotted lines where a row equals the reference.
function guides() {
  const own = table().rows.find((row) => row.name === table().reference);
  const at = (key) =>
    axisOf(key).view ? 1 : key === "difference" ? 0 : key === "metric" && own ? value(own, "metric") : null;
  const line = { type: "line", line: { color: ink("soft"), width: 1, dash: "dot" } },
    [x, y] = [at(state.x), at(state.y)];
  return [
    x === null ? null : { ...line, x0: x, x1: x, y0: 0, y1: 1, yref: "paper" },
    y === null ? null : { ...line, y0: y, y1: y, x0: 0, x1: 1, xref: "paper" },
  ].filter(Boolean);
}

function markers(rows, kind) {
  const [name, symbol] = KINDS[kind];
  return {
    name,
    mode: "markers",
    x: rows.map((row) => value(row, state.x)),
    y: rows.map((row) => value(row, state.y)),
    error_x: errors(rows, state.x),
    error_y: errors(rows, state.y),
    customdata: rows.map((row) => row.name),
    hovertext: rows.map(hover),
    hoverinfo: "text",
    marker: {
      symbol,
      size: 10,
      color: ink(kind),
      line: { width: 1.5, color: kind === "reference" ? ink(kind) : ink("panel") },
    },
  };
}

function drawChart() {
  if (!window.Plotly || !DATA.tables.length) return Promise.resolve();
  const [rows, out] = drawable(),
    place = byId("chart");
  drawn = rows;
  const traces = Object.keys(KINDS)
    .map((kind) => [kind, rows.filter((row) => kindOf(row) === kind)])
    .filter(([, mine]) => mine.length)
    .map(([kind, mine]) => markers(mine, kind));
  place.setAttribute(
    "aria-label",
    `Chart of ${rows.length} rows: ${axisOf(state.y).label} against ${axisOf(state.x).label}; the table holds the same figures`,
  );
  byId("chart-note").textContent = noteOn(rows, out);
  return Plotly.react(
    place,
    [...traces, frontLine(), { ...ring(), meta: "ring" }].filter(Boolean),
    layout({ shapes: guides(), xaxis: scale(rows, state.x, state.log), yaxis: scale(rows, state.y, false) }),
    { ...CONFIG, displayModeBar: narrow() ? false : "hover" },
  ).then(() => {
    listen(place);
    return placeNames(place, rows);
  });
}

function noteOn(rows, out) {
  const list = out.slice(0, 8).join(", ") + (out.length > 8 ? ` and ${out.length - 8} more` : "");
  return [
    rows.length && onFrontAxes()
      ? ""
      : `The front is of accuracy and ${table().axis}; its line is drawn on those axes only.`,
    rows.length && state.bars && [state.x, state.y].includes("metric")
      ? `Bars of ${axisOf("metric").label} are those of the paired difference to ${table().reference}.`
      : "",
    out.length ? `Not drawn: ${list}.` : "",
  ]
    .filter(Boolean)
    .join(" ");
}

function listen(place) {
  if (place.dataset.listens) return;
  place.dataset.listens = "yes";
  place.on("plotly_click", (event) => choose(event.points[0].customdata || state.selected));
  place.on("plotly_relayout", (change) => {
    if (!("annotations" in change)) placeNames(place, drawn);
  });
}

function ring() {
  const row = drawn.find((each) => each.name === state.selected);
  return {
    x: row ? [value(row, state.x)] : [],
    y: row ? [value(row, state.y)] : [],
    mode: "markers",
    hoverinfo: "skip",
    showlegend: false,
    marker: { symbol: "circle-open", size: 22, color: ink("ink"), line: { width: 3 } },
  };
}

function markSelected() {
  const place = byId("chart");
  if (!place.data) return;
  const last = place.data.length - 1,
    { x, y } = ring();
  Plotly.restyle(place, { x: [x], y: [y] }, [last]).then(() => placeNames(place, drawn));
}
