// A name at every point, as in pareto.png: each takes the nearest spot that hits no point, no name and no leader line,
// and no error bar if one is left. A name that is not next to its point has a leader line to it.
const SIZE = 11,
  HALF = 8, // of a name's height, in pixels
  MOST_NAMES = 80,
  ANGLES = 24;
const pen = document.createElement("canvas").getContext("2d");

function widthOf(name) {
  pen.font = `${SIZE}px system-ui, sans-serif`;
  return pen.measureText(name).width + 4;
}

// Centres of a name around its point, near ones first; `far` ones need a leader line.
function* spots(width, reach) {
  const side = 9 + width / 2;
  for (const [dx, dy] of [[side, -9], [side, 9], [-side, -9], [-side, 9], [0, -17], [0, 17]]) yield { dx, dy };
  for (let away = 24; away < reach; away += 8) {
    for (let step = 0; step < ANGLES; step += 1) {
      const angle = (2 * Math.PI * step) / ANGLES;
      yield { dx: Math.cos(angle) * (away + width / 2), dy: Math.sin(angle) * away, far: true };
    }
  }
}

const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

// Whether the line from one position to another enters a box (Liang and Barsky 1984).
function enters([x0, y0, x1, y1], box) {
  let first = 0,
    last = 1;
  for (const [step, low, high] of [
    [x1 - x0, box[0] - x0, box[2] - x0],
    [y1 - y0, box[1] - y0, box[3] - y0],
  ]) {
    if (step === 0 && (low > 0 || high < 0)) return false;
    if (step === 0) continue;
    first = Math.max(first, Math.min(low / step, high / step));
    last = Math.min(last, Math.max(low / step, high / step));
  }
  return first <= last;
}

// The first free spot; error bars are the first to be crossed if none is free, leader lines the next.
function freeSpot([x, y], width, taken, frame) {
  const reach = Math.max(frame[2], frame[3]),
    own = taken.points.filter((box) => overlap([x, y, x, y], box));
  const inside = [...spots(width, reach)]
    .map((spot) => ({
      ...spot,
      box: [x + spot.dx - width / 2, y + spot.dy - HALF, x + spot.dx + width / 2, y + spot.dy + HALF],
      line: [x, y, x + spot.dx, y + spot.dy],
    }))
    .filter(({ box }) => box[0] >= 0 && box[1] >= 0 && box[2] <= frame[2] && box[3] <= frame[3])
    .filter(({ box }) => ![...taken.points, ...taken.names].some((other) => overlap(box, other)));
  const clear = inside.filter(
    ({ far, line, box }) =>
      !taken.lines.some((other) => enters(other, box)) &&
      !(far && [...taken.names, ...taken.points].some((other) => !own.includes(other) && enters(line, other))),
  );
  return clear.find(({ box }) => !taken.bars.some((bar) => overlap(box, bar))) || clear[0] || inside[0];
}

function barsOf(row, position, xa, ya) {
  const [x, y] = position;
  return [
    [state.x, xa, (low, high) => [low, y - 1, high, y + 1]],
    [state.y, ya, (low, high) => [x - 1, low, x + 1, high]],
  ].flatMap(([key, axis, box]) => {
    const edges = row.cells[key].slice(3, 5);
    if (!state.bars || edges.includes(null)) return [];
    const pixels = edges.map((edge) => axis.d2p(edge));
    return [box(Math.min(...pixels), Math.max(...pixels))];
  });
}

function annotation(row, { dx, dy, far }) {
  const x = value(row, state.x);
  return {
    x: state.log ? Math.log10(x) : x,
    y: value(row, state.y),
    text: forPlotly(row.name.slice(0, 40)),
    xanchor: "center",
    yanchor: "middle",
    ...(far
      ? { ax: dx, ay: dy, showarrow: true, arrowhead: 0, arrowwidth: 0.8, arrowcolor: ink("soft"), standoff: 6 }
      : { xshift: dx, yshift: -dy, showarrow: false }),
    font: { size: SIZE, color: ink(kindOf(row) + "-ink") },
    bgcolor: ink("veil"),
    borderpad: 0,
  };
}

function placeNames(place, rows) {
  const { xaxis: xa, yaxis: ya } = place._fullLayout,
    frame = [0, 0, xa._length, ya._length];
  const at = rows.map((row) => [xa.d2p(value(row, state.x)), ya.d2p(value(row, state.y))]);
  const taken = {
    points: at.map(([x, y]) => [x - 7, y - 7, x + 7, y + 7]),
    names: [],
    lines: [],
    bars: rows.flatMap((row, index) => barsOf(row, at[index], xa, ya)),
  };
  const rank = (row) =>
    row.name === state.selected ? 0 : row.name === table().about ? 1 : row.kind === "reference" ? 2 : row.front ? 3 : 4;
  const order = rows
    .map((row, index) => index)
    .filter((index) => overlap([...at[index], ...at[index]], frame) && (state.names || rank(rows[index]) < 2))
    .sort((a, b) => rank(rows[a]) - rank(rows[b]) || at[a][0] - at[b][0]);
  const notes = [];
  for (const index of order.slice(0, MOST_NAMES)) {
    const spot = freeSpot(at[index], widthOf(rows[index].name.slice(0, 40)), taken, frame);
    if (!spot) continue;
    taken.names.push(spot.box);
    if (spot.far) taken.lines.push(spot.line);
    notes.push(annotation(rows[index], spot));
  }
  return Plotly.relayout(place, { annotations: notes }).then(() => nameless(order.length - notes.length));
}

function nameless(count) {
  byId("chart-names").textContent = count
    ? `${count} names have no room: point at a mark, or choose a row, to see its name.`
    : "";
}
