// The charts of a card: single batches, rounds, break-even, power, operating points.
function times(card, chart) {
  const times = card.times;
  const data = () =>
    times.series
      .map((series, index) => ({
        name: series.name,
        x: times.edges,
        y: [...series.share, 0],
        mode: "lines",
        line: { shape: "hv", width: 2, color: ink(index ? "front" : "reference"), dash: index ? "solid" : "dot" },
        fill: "tozeroy",
        fillcolor: ink(index ? "front-veil" : "reference-veil"),
        hovertemplate: "%{x:.3g} ms: %{y:.3g} %<extra></extra>",
      }))
      .map((trace) => ({ ...trace, name: forPlotly(trace.name) }));
  const more = () => ({
    xaxis: { type: "log", title: { text: "milliseconds per batch" }, ...logTicks([times.edges[0], times.edges.at(-1)]) },
    yaxis: { title: { text: "% of batches" } },
  });
  const sentence = times.series
    .map(
      (series) =>
        `${series.name}: median ${short(series.p50)} ms of ${series.n} batches` +
        (series.beyond ? `, ${series.beyond} slower than drawn` : ""),
    )
    .join("; ");
  return [chart("Latency of single batches", data, more), make("p", { class: "soft small" }, sentence + ".")];
}

function rounds(card, row, chart) {
  const rounds = card.rounds;
  if (!rounds.pairs.length) return unknown("no round measured both");
  const x = rounds.pairs.map((pair) => pair[0]);
  const data = () => [
    {
      x: rounds.pairs.flatMap((pair) => [pair[0], pair[0], null]),
      y: rounds.pairs.flatMap((pair) => [pair[1], pair[2], null]),
      mode: "lines",
      line: { color: ink("soft"), width: 1 },
      hoverinfo: "skip",
      showlegend: false,
    },
    {
      name: forPlotly(card.against),
      x,
      y: rounds.pairs.map((pair) => pair[1]),
      mode: "markers",
      marker: { symbol: "square-open", size: 9, color: ink("reference"), line: { width: 2 } },
    },
    {
      name: forPlotly(row.name),
      x,
      y: rounds.pairs.map((pair) => pair[2]),
      mode: "markers",
      marker: { symbol: "diamond", size: 9, color: ink("front") },
    },
  ];
  return [
    chart("Cost of each round", data, () => ({
      xaxis: { title: { text: rounds.gaps ? "round (" + rounds.gaps + ")" : "round" }, dtick: Math.ceil(x.length / 12) },
      yaxis: { title: { text: rounds.what }, rangemode: "tozero" },
    })),
    rounds.instead
      ? make("p", { class: "soft small" }, "Latency is shown, because the energy of both was not measured well enough.")
      : null,
  ];
}

function even(card, row, chart) {
  const even = card.even;
  const end = even.at ? 2 * even.at[0] : (3 * even.spent) / even.baseline,
    x = [0, end];
  const data = () => [
    {
      name: forPlotly(card.against),
      x,
      y: [0, end * even.baseline],
      mode: "lines",
      line: { color: ink("reference"), dash: "dot", width: 2 },
    },
    {
      name: forPlotly(row.name),
      x,
      y: [even.spent, even.spent + end * even.own],
      mode: "lines",
      line: { color: ink("front"), width: 2 },
    },
  ];
  const more = () => ({
    xaxis: { title: { text: even.per }, rangemode: "tozero" },
    yaxis: { title: { text: even.unit === "J" ? "total joules" : "total seconds" }, rangemode: "tozero" },
    shapes: even.at
      ? [
          {
            type: "rect",
            x0: even.at[1],
            x1: Math.min(even.at[2] ?? end, end),
            y0: 0,
            y1: 1,
            yref: "paper",
            line: { width: 0 },
            fillcolor: ink("front-veil"),
            layer: "below",
          },
        ]
      : [],
  });
  const sentence = even.text
    ? `Including compression, costs are equal after ${even.text}.`
    : `No break-even: ${even.reason || "no reason was recorded"}.`;
  return [chart(`Cost by number of ${even.per}`, data, more), make("p", { class: "soft small" }, sentence)];
}

const powerOf = (card) =>
  card.session === null
    ? { why: "the raw samples of this result are missing (traces/)" }
    : DATA.power[card.session];

function power(card, row, chart) {
  const power = powerOf(card);
  return power.boards.flatMap((board) => {
    const data = () => [
      { name: "watts", x: board.t, y: board.w, mode: "lines", line: { color: ink("front"), width: 1.2 } },
      ...(board.mhz.some((each) => each !== null)
        ? [
            {
              name: "clock, MHz",
              x: board.t,
              y: board.mhz,
              yaxis: "y2",
              mode: "lines",
              line: { color: ink("other"), width: 1, dash: "dot" },
            },
          ]
        : []),
      ...(board.c.some((each) => each !== null)
        ? [
            {
              name: "temperature, °C",
              x: board.t,
              y: board.c,
              mode: "lines",
              visible: "legendonly",
              line: { color: ink("soft"), width: 1 },
            },
          ]
        : []),
    ];
    const bands = [
      [card.against, "reference-veil"],
      [row.name, "front-veil"],
    ].flatMap(([name, colour]) =>
      (power.windows[name] || []).map(([x0, x1]) => ({
        type: "rect",
        x0,
        x1,
        y0: 0,
        y1: 1,
        yref: "paper",
        line: { width: 0 },
        fillcolor: ink(colour),
        layer: "below",
      })),
    );
    const more = () => ({
      shapes: bands,
      margin: { l: 50, r: 56, t: 8, b: 66 },
      xaxis: { title: { text: "seconds" } },
      yaxis: { title: { text: "watts" }, rangemode: "tozero" },
      yaxis2: {
        title: { text: "MHz" },
        overlaying: "y",
        side: "right",
        tickmode: "auto",
        showgrid: false,
        rangemode: "tozero",
        color: ink("ink"),
      },
    });
    return [
      chart("Power and clock over time", data, more),
      make(
        "p",
        { class: "soft small" },
        (board.board === null ? "" : `Board ${board.board}. `) +
          `Shaded: the windows of ${card.against} (grey) and of ${row.name}.` +
          (board.thinned ? " Thinned out for this page." : ""),
      ),
    ];
  });
}

function points(card, chart) {
  const ordered = [...card.points].sort((a, b) => (a[1] ?? 0) - (b[1] ?? 0) || (a[2] ?? 0) - (b[2] ?? 0));
  const lengthOf = (p) => p[7] || (p[1] === null ? "" : `length ${p[1]}`) + (p[2] ? `, ${p[2]} generated` : "");
  const lengths = [...new Set(ordered.map(lengthOf))],
    sizes = [...new Set(card.points.map((p) => p[0]))].sort((a, b) => a - b);
  const at = (size, length) => card.points.find((p) => p[0] === size && lengthOf(p) === length);
  const cells = sizes.map((size) => lengths.map((length) => at(size, length)));
  const shift = (p) => (p ? Math.log2(p[3]) : null),
    most = Math.max(0.25, ...card.points.map((p) => Math.abs(shift(p))));
  const data = () => [
    {
      type: "heatmap",
      x: lengths,
      y: sizes.map((size) => `batch ${size}`),
      z: cells.map((line) => line.map(shift)),
      zmin: -most,
      zmax: most,
      showscale: false,
      xgap: 2,
      ygap: 2,
      colorscale: [
        [0, "#0072B2"],
        [0.5, ink("heat")],
        [1, "#D55E00"],
      ],
      text: cells.map((line) =>
        line.map((p) => (p ? pointText(p) : "not measured")),
      ),
      texttemplate: "%{text}",
      hovertemplate: "%{y}, %{x}: %{text}<extra></extra>",
    },
  ];
  const axes = [...new Set(card.points.map((p) => p[6]))];
  return [
    chart("Ratios at operating points", data, () => ({
      margin: { l: 70, r: 20, t: 8, b: 44 },
      yaxis: { type: "category" },
      xaxis: { type: "category" },
    })),
    make(
      "p",
      { class: "soft small" },
      `${axes.join(" or ")} against ${card.against}: blue is less, orange is more` +
        (axes.length > 1 ? "; energy where it was measured, else latency" : "") +
        ".",
    ),
  ];
}

// The cost at a point in the view of costs: a factor (2.2x) or a ratio (0.451).
function pointText([, , , ratio, low, high]) {
  const isRatio = state.view === "ratio";
  const text = (each) => short(isRatio ? each : 1 / each);
  const [from, to] = isRatio ? [low, high] : [high, low];
  return (
    `${text(ratio)}${isRatio ? "" : "x"}<br>` + (from && to ? `(${text(from)} to ${text(to)})` : "(no interval)")
  );
}
