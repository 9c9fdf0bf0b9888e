// Titles, ranges and ticks of the scatter plot's axes.
const ROOM = 0.12; // of an axis, free at either end for names

function titleOf(axis) {
  const [low, high] = axis.key === state.x ? ["left", "right"] : ["down", "up"];
  if (narrow()) return forPlotly(withUnit(axis.short, axis));
  const better = axis.better ? ` (${axis.better === "low" ? low : high} is better)` : "";
  return forPlotly(withUnit(axis.title || axis.label, axis) + better);
}

// The smallest and the largest value on an axis, bars included.
function ends(rows, key, log) {
  const all = rows
    .flatMap((row) => row.cells[key].slice(2, state.bars ? 5 : 3))
    .filter((each) => each !== null && (!log || each > 0));
  return [Math.min(...all), Math.max(...all)];
}

function scale(rows, key, log) {
  const axis = axisOf(key),
    suffix = axis.view === "factor" ? "x" : "",
    title = { text: titleOf(axis) };
  if (!rows.length) return { title, type: log ? "log" : "linear" };
  const [low, high] = ends(rows, key, log);
  if (log) {
    const room = Math.max(1.1, (high / low) ** ROOM);
    return { title, type: "log", ...logTicks([low / room, high * room], suffix) };
  }
  const room = ROOM * (high - low || Math.abs(high) || 1);
  return { title, type: "linear", range: [low - room, high + room], ticksuffix: suffix };
}

function logTicks([low, high], suffix = "") {
  const values = [],
    steps = high / low > 100 ? [1] : narrow() ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1)
    for (const step of steps) values.push(step * 10 ** power);
  const inside = values.filter((each) => each >= low && each <= high),
    range = [Math.log10(low), Math.log10(high)];
  if (inside.length < 2) return { range };
  return { range, tickvals: inside, ticktext: inside.map((each) => short(each) + suffix) };
}

function wide() {
  const all = table()
    .rows.map((row) => (row.word === "BROKEN" ? null : value(row, state.x)))
    .filter((each) => each !== null);
  return all.length > 1 && Math.min(...all) > 0 && Math.max(...all) / Math.min(...all) > 4;
}
