// The scatter plot in colours of Okabe and Ito, distinguishable with every kind of colour vision, and shapes.
const KINDS = {
  front: ["on the front", "diamond"],
  other: ["other recipes", "circle"],
  reference: ["references", "square-open"],
};
const phone = window.matchMedia("(max-width: 600px)");
const narrow = () => phone.matches;
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
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
  for (const axis of table().axes)
    if (known(row.cells[axis.key])) lines.push(forPlotly(`${axis.label}: ${cellText(row, axis)}`));
  if (row.grade) lines.push(forPlotly(`energy grade ${row.grade}`));
  if (row.kernel) lines.push(forPlotly(`kernels ${row.kernel}` + (row.runtime ? `, runtime ${row.runtime}` : "")));
  if (row.methods.length) lines.push(forPlotly(row.methods.join(" + ")));
  return lines.filter(Boolean).join("<br>");
}

// The best value at this cost or less, as in pareto.png; the front belongs to its own two axes only.
function frontLine() {
  if (state.x !== table().axis || state.y !== "difference") return null;
  const up = axisOf("difference").better === "high" ? 1 : -1;
  const line = [];
  for (const row of table()
    .rows.filter((each) => each.front && value(each, state.x) !== null && value(each, "difference") !== null)
    .sort((a, b) => value(a, state.x) - value(b, state.x))) {
    if (!line.length || up * value(row, "difference") > up * value(line[line.length - 1], "difference")) line.push(row);
  }
  return {
    x: line.map((row) => value(row, state.x)),
    y: line.map((row) => value(row, "difference")),
    mode: "lines",
    name: "front",
    hoverinfo: "skip",
    line: { shape: "hv", dash: "dash", width: 1.5, color: ink("front") },
    showlegend: false,
  };
}

function titleOf(axis) {
  const better = {
    low: axis.key === state.x ? "left is better" : "down is better",
    high: axis.key === state.x ? "right is better" : "up is better",
  }[axis.better];
  if (narrow()) return forPlotly(axis.short + (axis.unit && axis.unit !== "×" ? `, ${axis.unit}` : ""));
  return (
    forPlotly(axis.label + (axis.unit && axis.unit !== "×" ? `, ${axis.unit}` : "")) + (better ? ` (${better})` : "")
  );
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

function drawChart() {
  if (!window.Plotly || !DATA.tables.length) return Promise.resolve();
  const [rows, out] = drawable(),
    traces = [];
  drawn = rows;
  for (const [kind, [name, symbol]] of Object.entries(KINDS)) {
    const mine = rows.filter((row) => kindOf(row) === kind);
    if (mine.length)
      traces.push({
        name,
        mode: "markers",
        x: mine.map((row) => value(row, state.x)),
        y: mine.map((row) => value(row, state.y)),
        error_x: errors(mine, state.x),
        error_y: errors(mine, state.y),
        customdata: mine.map((row) => row.name),
        hovertext: mine.map(hover),
        hoverinfo: "text",
        marker: {
          symbol,
          size: 10,
          color: ink(kind),
          line: { width: 1.5, color: kind === "reference" ? ink(kind) : ink("panel") },
        },
      });
  }
  const front = frontLine();
  if (front) traces.push(front);
  traces.push({ ...ring(), meta: "ring" });
  const shapes = [];
  if (state.x.endsWith("_ratio"))
    shapes.push({
      type: "line",
      x0: 1,
      x1: 1,
      y0: 0,
      y1: 1,
      yref: "paper",
      line: { color: ink("soft"), width: 1, dash: "dot" },
    });
  if (state.y === "difference")
    shapes.push({
      type: "line",
      y0: 0,
      y1: 0,
      x0: 0,
      x1: 1,
      xref: "paper",
      line: { color: ink("soft"), width: 1, dash: "dot" },
    });
  if (state.y.endsWith("_ratio"))
    shapes.push({
      type: "line",
      y0: 1,
      y1: 1,
      x0: 0,
      x1: 1,
      xref: "paper",
      line: { color: ink("soft"), width: 1, dash: "dot" },
    });
  const place = byId("chart");
  place.setAttribute(
    "aria-label",
    `Chart of ${rows.length} rows: ${axisOf(state.y).label} against ${axisOf(state.x).label}; the table holds the same figures`,
  );
  const apart =
    rows.length && state.x === table().axis && state.y === "difference"
      ? ""
      : "The front is of accuracy and " +
        table().axis.replace("_ratio", "") +
        "; its line is drawn on those axes only. ";
  const list = out.slice(0, 8).join(", ") + (out.length > 8 ? ` and ${out.length - 8} more` : "");
  byId("chart-note").textContent = apart + (out.length ? "Not drawn: " + list + "." : "");
  return Plotly.react(
    place,
    traces,
    layout({
      shapes,
      xaxis: { title: { text: titleOf(axisOf(state.x)) }, type: state.log ? "log" : "linear", ...ticks(rows) },
      yaxis: { title: { text: titleOf(axisOf(state.y)) } },
    }),
    { ...CONFIG, displayModeBar: narrow() ? false : "hover" },
  ).then(() => {
    listen(place);
    return placeNames(place, rows);
  });
}

function listen(place) {
  if (place.dataset.listens) return;
  place.dataset.listens = "yes";
  place.on("plotly_click", (event) => choose(event.points[0].customdata || state.selected));
  place.on("plotly_relayout", (change) => {
    if (!("annotations" in change)) placeNames(place, drawn);
  });
}

function ticks(rows) {
  if (!state.log || !rows.length) return {};
  const all = rows.map((row) => value(row, state.x)),
    low = Math.min(...all) * 0.7,
    high = Math.max(...all) * 1.4,
    values = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of high / low > 100 ? [1] : [1, 1.5, 2, 3, 5, 7]) values.push(step * 10 ** power);
  }
  const inside = values.filter((each) => each >= low && each <= high);
  return { tickvals: inside, ticktext: inside.map((each) => short(each)), range: [Math.log10(low), Math.log10(high)] };
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
