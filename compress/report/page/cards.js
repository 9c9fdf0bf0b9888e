// One card per recipe, drawn when it is first opened.
const drawnCards = new Map();

function drawCards() {
  const rows = table().rows,
    made = [];
  for (const [place, card] of Object.entries(DATA.cards)) {
    const [which, index] = place.split(":").map(Number);
    if (which !== state.table) continue;
    const row = rows[index];
    const summary = make(
      "summary",
      {},
      make("span", { class: "title" }, row.front ? "★ " : "", row.name),
      pill(row.word),
      make("span", { class: "soft" }, row.says || ""),
    );
    const box = make(
      "details",
      {
        class: "card panel",
        id: `card-${which}-${index}`,
        ontoggle: () => {
          if (box.open) openCard(box, row, card);
        },
      },
      summary,
    );
    made.push(box);
  }
  for (const [name, error] of table().failed) {
    made.push(
      make(
        "div",
        { class: "card panel" },
        make("strong", {}, name),
        " ",
        make("span", { class: "pill broken" }, "FAILED"),
        " ",
        error,
      ),
    );
  }
  drawnCards.clear();
  byId("cards").replaceChildren(...made);
  byId("left").textContent = DATA.left
    ? `${DATA.left} more expensive or beaten results have no card here: their rows are in the table, every figure is in pareto.csv.`
    : "";
}

function openCard(box, row, card) {
  if (drawnCards.has(box)) return;
  const charts = [];
  drawnCards.set(box, charts);
  const chart = (label, data, more) => {
    const place = make("div", { class: "plot", role: "group", "aria-label": label });
    charts.push([place, data, more]);
    return place;
  };
  const part = (title, ...content) => make("section", {}, make("h3", {}, title), ...content);
  const parts = [
    part(
      "Verdict",
      make("p", {}, make("strong", {}, card.says || "no verdict")),
      card.cause ? make("p", {}, "Why: " + card.cause + ".") : null,
      make("p", { class: "soft" }, "Among all rows of the table: " + card.among),
      list(card.facts),
    ),
    part("Answers that changed", ...changed(card, row)),
    part("Latency of single batches", ...times(card, chart)),
    part(
      (card.rounds.what || "Cost").split(",")[0].replace(/^./, (c) => c.toUpperCase()) + ", round by round",
      ...rounds(card, row, chart),
    ),
    part("Layers after compression", ...layers(card)),
    part("Break-even", ...even(card, row, chart)),
    part("Power and clock of the session", ...power(card, row, chart)),
    card.points.length ? part("At every operating point", ...points(card, chart)) : null,
    part(
      "Compression",
      make(
        "ul",
        {},
        [...card.steps, ...card.notes].map((line) => make("li", {}, line)),
      ),
    ),
    part(
      "Provenance",
      list([...card.from, ["energy grade", grade(card.grades)]]),
      make("p", {}, `Save as ${row.name}.yaml; run and verify it with:`),
      make("pre", { tabindex: "0" }, card.recipe),
      make("pre", { tabindex: "0" }, card.commands.join("\n")),
    ),
  ];
  box.append(make("div", { class: "parts" }, parts));
  drawPlots(charts);
}

function drawPlots(charts) {
  for (const [place, data, more] of charts) {
    Plotly.react(place, data(), layout({ margin: { l: 50, r: 20, t: 8, b: 66 }, ...more() }), {
      ...CONFIG,
      displayModeBar: false,
    });
  }
}

const unknown = (why) => [make("p", { class: "soft" }, why.charAt(0).toUpperCase() + why.slice(1) + ".")];
const list = (pairs) =>
  make(
    "dl",
    { class: "figures" },
    pairs.map(([label, text]) => [make("dt", {}, label), make("dd", {}, text)]),
  );
const grade = (energy) =>
  (energy.grade ? `${energy.grade} (${energy.source})` : "none") +
  (energy.reasons.length ? ": " + energy.reasons.join("; ") : "");
