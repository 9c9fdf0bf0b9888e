// One card per recipe, drawn when it is first opened.
const drawnCards = new Map();
let cardsOfTable = [];

function drawCards() {
  const rows = table().rows;
  drawnCards.clear();
  cardsOfTable = Object.entries(DATA.cards)
    .map(([place, card]) => [...place.split(":").map(Number), card])
    .filter(([which]) => which === state.table)
    .map(([which, index, card]) => ({ box: cardBox(`card-${which}-${index}`, rows[index], card), row: rows[index], card }));
  const failed = table().failed.map(([name, error]) =>
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
  byId("cards").replaceChildren(...cardsOfTable.map(({ box }) => box), ...failed);
  byId("left").textContent = DATA.left
    ? `${DATA.left} more expensive or beaten results have no card here: their rows are in the table, every figure is in pareto.csv.`
    : "";
}

function cardBox(id, row, card) {
  const summary = make(
    "summary",
    {},
    make("span", { class: "title" }, row.front ? "★ " : "", row.name),
    pill(row.word),
    make("span", { class: "soft" }, row.says || "no verdict"),
  );
  const open = () => box.open && openCard(box, row, card);
  const box = make("details", { class: "card panel", id, ontoggle: open }, summary);
  return box;
}

function openCard(box, row, card) {
  if (drawnCards.has(box)) return;
  const charts = [],
    missing = new Map();
  drawnCards.set(box, charts);
  const chart = (label, data, more) => {
    const place = make("div", { class: "plot", role: "group", "aria-label": label });
    charts.push([place, data, more]);
    return place;
  };
  const part = (title, ...content) => make("section", {}, make("h3", {}, title), ...content);
  // A part that is unknown is only named, once per reason, at the end.
  const optional = (title, data, content) => {
    if (!data.why) return part(title, ...content());
    missing.set(data.why, [...(missing.get(data.why) || []), title]);
    return null;
  };
  const parts = [
    part("Figures", card.cause ? make("p", {}, "Why: " + card.cause + ".") : null, list(card.facts)),
    optional("Answers that changed", card.flips, () => changed(card, row)),
    optional("Latency of single batches", card.times, () => times(card, chart)),
    optional(titleOfRounds(card.rounds), card.rounds, () => rounds(card, row, chart)),
    optional("Layers after compression", card.layers, () => layers(card)),
    optional("Break-even", card.even, () => even(card, row, chart)),
    optional("Power and clock of the session", powerOf(card), () => power(card, row, chart)),
    card.points.length ? part("At every operating point", ...points(card, chart)) : null,
    part("Recipe", ...recipeOf(card, row)),
    part("Provenance", list([...card.from, ["energy grade", grade(card.grades)]])),
  ];
  if (missing.size) {
    const lines = [...missing].map(([why, titles]) => make("li", {}, `${titles.join(", ")}: ${why}`));
    parts.push(part("Not shown", make("ul", {}, lines)));
  }
  box.append(make("div", { class: "parts" }, parts));
  drawPlots(charts);
}

const titleOfRounds = (rounds) =>
  (rounds.what || "Cost").split(",")[0].replace(/^./, (c) => c.toUpperCase()) + ", round by round";

function recipeOf(card, row) {
  const notes = card.notes.map((line) => make("li", {}, line));
  return [
    notes.length ? make("ul", {}, notes) : null,
    make("p", {}, `Save as ${row.name}.yaml; run and verify it with:`),
    copyable([card.recipe.trimEnd()]),
    copyable(card.commands),
  ];
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
