// Names beside points, the selected, the references' and the front's first: each takes the first spot that hits nothing.
const SPOTS = [
  [9, -9, "left"],
  [9, 11, "left"],
  [-9, -9, "right"],
  [-9, 11, "right"],
  [0, -16, "center"],
  [0, 18, "center"],
  [14, -26, "left"],
  [14, 28, "left"],
  [-14, -26, "right"],
  [-14, 28, "right"],
];

function placeNames(place, rows) {
  const full = place._fullLayout,
    xa = full.xaxis,
    ya = full.yaxis,
    taken = [],
    notes = [];
  const at = rows.map((row) => [xa.d2p(value(row, state.x)), ya.d2p(value(row, state.y))]);
  at.forEach(([x, y]) => taken.push([x - 7, y - 7, x + 7, y + 7]));
  const rank = (row) =>
    row.name === state.selected ? 0 : row.name === table().about ? 1 : row.kind === "reference" ? 2 : row.front ? 3 : 4;
  const order = rows.map((row, index) => index).sort((a, b) => rank(rows[a]) - rank(rows[b]) || at[a][0] - at[b][0]);
  for (const index of order.slice(0, 30)) {
    if (!state.names && rank(rows[index]) > 1) continue;
    const name = rows[index].name.slice(0, 40),
      width = 6.3 * name.length,
      [x, y] = at[index];
    for (const [dx, dy, side] of SPOTS) {
      const left = x + dx - { left: 0, center: 0.5, right: 1 }[side] * width,
        box = [left, y + dy - 8, left + width, y + dy + 6];
      if (box[0] < 0 || box[1] < 0 || box[2] > xa._length || box[3] > ya._length) continue;
      if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]))
        continue;
      taken.push(box);
      notes.push({
        x: state.log ? Math.log10(value(rows[index], state.x)) : value(rows[index], state.x),
        y: value(rows[index], state.y),
        text: forPlotly(name),
        xshift: dx,
        yshift: -dy,
        xanchor: side,
        yanchor: "middle",
        showarrow: false,
        font: { size: 11, color: ink(kindOf(rows[index]) + "-ink") },
        bgcolor: ink("veil"),
        borderpad: 0,
      });
      break;
    }
  }
  return Plotly.relayout(place, { annotations: notes });
}
