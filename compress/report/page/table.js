// The table: which rows and columns are shown, in which order; the filters hold for the chart too.
const TEXTS = { verdict: "verdict", methods: "methods", grade: "energy grade", kernel: "kernels", runtime: "runtime" };

function columns() {
  const figures = shownAxes().filter((axis) => table().rows.some((row) => known(row.cells[axis.key])));
  const first = figures.filter((axis) => axis.key === costKey());
  const texts = Object.entries(TEXTS).map(([key, label]) => ({ key, label }));
  return [
    ...[...first, ...figures.filter((axis) => axis.key !== costKey())].map((axis) => ({
      key: axis.key,
      label: withUnit(axis.short, axis),
      axis,
    })),
    ...texts,
  ];
}

const textOf = (row, key) =>
  (key === "methods" ? row.methods.join(" + ") : key === "verdict" ? row.word : row[key]) || "";

function shownRows() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  return table().rows.filter((row) => {
    if (row.kind === "reference") {
      if (!state.references) return false;
    } else if (
      (state.method && !row.methods.includes(state.method)) ||
      (state.grade && (row.grade || "none") !== state.grade)
    ) {
      return false;
    }
    if (state.front && !row.front && row.kind === "recipe") return false;
    const text = [row.name, row.kind, row.word, row.says, row.runtime, ...row.methods].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

function sorted(rows) {
  if (!state.sort) return rows;
  const axis = axisOf(state.sort),
    turn = state.up ? 1 : -1;
  const key = (row) => (axis ? value(row, state.sort) : state.sort === "name" ? row.name : textOf(row, state.sort));
  return [...rows].sort((a, b) => {
    // absolute costs of different sessions are not ranked against each other: each session by itself, newest first
    if (axis && axis.session && a.session !== b.session) return a.session - b.session;
    const [left, right] = [key(a), key(b)];
    if (left === null || right === null) return (left === null) - (right === null);
    return turn * (typeof left === "number" ? left - right : left.localeCompare(right));
  });
}

function sortBy(key) {
  const axis = axisOf(key);
  [state.up, state.sort] = state.sort === key ? [!state.up, key] : [!axis || axis.better !== "high", key]; // best first
  drawTable();
  byId("table").querySelector(`[data-sort="${key}"]`).focus();
}

function heading(key, label, title) {
  const order = state.sort === key ? (state.up ? "ascending" : "descending") : "none";
  const arrow = { ascending: " ▲", descending: " ▼", none: "" }[order];
  const button = make("button", { type: "button", "data-sort": key, onclick: () => sortBy(key), title }, label + arrow);
  return make("th", { scope: "col", "aria-sort": order }, button);
}

function cellOf(row, column) {
  if (!column.axis) {
    const text = textOf(row, column.key);
    if (column.key !== "verdict" || row.kind === "reference") return make("td", { class: "text" }, text || "—");
    return make("td", { class: "text verdict", title: row.verdict }, pill(row.word));
  }
  const cell = row.cells[column.key];
  if (!known(cell)) {
    return make(
      "td",
      { class: "none", title: reason(cell) },
      "—",
      make("span", { class: "hidden" }, " unknown: " + reason(cell)),
    );
  }
  return make(
    "td",
    { title: cell[5] ? "n " + cell[5] : null },
    cell[0],
    cell[1] ? make("small", {}, " " + cell[1]) : null,
  );
}

const pill = (word) => make("span", { class: "pill " + (word || "none").split(" ")[0].toLowerCase() }, word || "—");

function drawTable() {
  const rows = sorted(shownRows()),
    chosen = columns().filter((column) => state.columns.has(column.key));
  const head = make(
    "tr",
    {},
    heading("name", "recipe", "sort by name"),
    chosen.map((column) =>
      heading(
        column.key,
        column.label,
        column.axis && column.axis.session && table().sessions > 1
          ? "within each session: absolute figures of different sessions are not ranked"
          : column.axis
            ? column.axis.label
            : null,
      ),
    ),
  );
  const body = rows.map((row) => {
    const star = row.front
      ? make(
          "span",
          { class: "star", title: "on the front" + (row.odds === null ? "" : ` in ${row.odds} of resamples`) },
          "★ ",
        )
      : null;
    const name = make(
      "button",
      { type: "button", class: "name", "aria-pressed": String(state.selected === row.name) },
      star,
      row.name,
      row.kind === "reference" ? make("small", {}, " reference") : null,
      row.held ? make("small", {}, " kept off the front") : null,
    );
    return make(
      "tr",
      {
        class: row.kind + (state.selected === row.name ? " chosen" : ""),
        "data-name": row.name,
        onclick: () => choose(state.selected === row.name ? null : row.name),
      },
      make("th", { scope: "row" }, name),
      chosen.map((column) => cellOf(row, column)),
    );
  });
  byId("table").replaceChildren(make("thead", {}, head), make("tbody", {}, body));
  const recipes = rows.filter((row) => row.kind === "recipe").length,
    all = table().rows.filter((row) => row.kind === "recipe").length;
  const by = axisOf(state.sort);
  byId("count").textContent =
    `${recipes} of ${all} recipes, ${rows.length - recipes} references` +
    (by && by.session && table().sessions > 1 ? "; sorted within each session, newest first" : "");
}

function drawColumns() {
  const every = columns();
  byId("columns").lastElementChild.replaceChildren(
    ...every.map((column) =>
      check(column.label, state.columns.has(column.key), (on) => {
        if (on) state.columns.add(column.key);
        else state.columns.delete(column.key);
        drawTable();
      }),
    ),
  );
}

function choose(name) {
  const focused = document.activeElement && document.activeElement.closest("#table tr");
  state.selected = name;
  drawTable();
  drawSelected();
  markSelected();
  const row = [...byId("table").querySelectorAll("tbody tr")].find((each) => each.dataset.name === name);
  if (row) row.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (focused) {
    const again = [...byId("table").querySelectorAll("tbody tr")].find(
      (each) => each.dataset.name === focused.dataset.name,
    );
    if (again) again.querySelector("button").focus({ preventScroll: true });
  }
}

function drawSelected() {
  const row = table().rows.find((each) => each.name === state.selected),
    place = byId("selected");
  place.hidden = !row;
  if (!row) return place.replaceChildren();
  const card = byId(`card-${state.table}-${table().rows.indexOf(row)}`);
  place.replaceChildren(
    ...[
      make(
        "h2",
        {},
        row.front ? "★ " : "",
        row.name,
        " ",
        row.kind === "recipe" ? pill(row.word) : make("small", {}, "reference"),
        row.odds === null ? null : make("small", {}, ` on the front in ${row.odds} of resamples`),
      ),
      row.says ? make("p", {}, row.says) : null,
      ...figuresOf(row),
      card ? make("button", { type: "button", onclick: () => goTo(card) }, "Open its card") : null,
    ].filter(Boolean),
  );
}

// The known figures of a row, then the names of the unknown ones by reason.
function figuresOf(row) {
  const figures = [],
    names = new Map();
  for (const axis of shownAxes()) {
    const cell = row.cells[axis.key];
    if (known(cell)) figures.push(make("div", {}, make("dt", {}, axis.label), make("dd", {}, cellText(row, axis))));
    else names.set(reason(cell), [...(names.get(reason(cell)) || []), axis.label]);
  }
  const unknown = [...names].map(([why, labels]) => make("li", {}, `${labels.join("; ")}: ${why}`));
  return [
    make("dl", { class: "figures" }, figures),
    unknown.length
      ? make("details", { class: "soft" }, make("summary", {}, "Unknown figures"), make("ul", {}, unknown))
      : null,
  ];
}

function goTo(card) {
  card.open = true;
  card.scrollIntoView();
  card.querySelector("summary").focus();
}
