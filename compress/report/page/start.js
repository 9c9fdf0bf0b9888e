// Menus, themes and the order of drawing.
function drawMenus() {
  const tables = DATA.tables,
    distinct = (key) => [...new Set(tables.map((each) => each[key]))];
  const go = (fits) => {
    const index = tables.findIndex(fits);
    show(index < 0 ? state.table : index);
  };
  const now = table(),
    menus = [];
  if (distinct("workload").length > 1) {
    menus.push(
      select(
        "workload",
        distinct("workload").map((each) => [each, each]),
        now.workload,
        (chosen) => go((each) => each.workload === chosen),
      ),
    );
  }
  if (distinct("device").length > 1) {
    const here = [...new Set(tables.filter((each) => each.workload === now.workload).map((each) => each.device))];
    menus.push(
      select(
        "device",
        here.map((each) => [each, each]),
        now.device,
        (chosen) => go((each) => each.workload === now.workload && each.device === chosen),
      ),
    );
  }
  const alike = tables
    .map((each, index) => [index, each])
    .filter(([, each]) => each.workload === now.workload && each.device === now.device);
  if (alike.length > 1) {
    menus.push(
      select(
        "table",
        alike.map(([index, each]) => [String(index), each.which]),
        String(state.table),
        (chosen) => show(Number(chosen)),
      ),
    );
  }
  byId("shown").replaceChildren(...menus);
}

function drawFilters() {
  const recipes = table().rows.filter((row) => row.kind === "recipe");
  const methods = [...new Set(recipes.flatMap((row) => row.methods))].sort(),
    grades = [...new Set(recipes.map((row) => row.grade || "none"))].sort();
  const change = (key) => (chosen) => {
    state[key] = chosen;
    drawTable();
    drawChart();
  };
  const search = make("input", {
    type: "search",
    id: "search",
    placeholder: "search",
    "aria-label": "search rows",
    oninput: (event) => change("search")(event.target.value),
  });
  search.value = state.search;
  byId("filters").replaceChildren(
    search,
    select("method", [["", "all"], ...methods.map((each) => [each, each])], state.method, change("method")),
    select("energy grade", [["", "all"], ...grades.map((each) => [each, each])], state.grade, change("grade")),
    check("front only", state.front, change("front")),
    check("references", state.references, change("references")),
    check("ratios", state.view === "ratio", switchView),
  );
}

function drawAxes() {
  const options = shownAxes().map((axis) => {
    const some = table().rows.some((row) => known(row.cells[axis.key]));
    const why = some || !table().rows.length ? null : reason(table().rows[0].cells[axis.key]);
    return [axis.key, withUnit(axis.label, axis) + (some ? "" : " (unknown)"), !some, why];
  });
  const change = (key) => (chosen) => {
    state[key] = chosen;
    if (key === "x") state.log = wide();
    drawAxes();
    drawChart();
  };
  byId("axes").replaceChildren(
    select("x axis", options, state.x, change("x")),
    select("y axis", options, state.y, change("y")),
    check("log scale", state.log, (on) => {
      state.log = on;
      drawChart();
    }),
    check("error bars", state.bars, (on) => {
      state.bars = on;
      drawChart();
    }),
    check("names", state.names, (on) => {
      state.names = on;
      drawChart();
    }),
  );
}

function show(index) {
  Object.assign(state, { table: index, selected: null, sort: null, up: true, method: "", grade: "", search: "" });
  const now = table(),
    some = (key) => now.rows.some((row) => known(row.cells[key]));
  const first = (...keys) => keys.find(some) || keys[0];
  state.x = first(costKey(), inView("latency_factor"), "latency", "stored");
  state.y = first("metric", "difference");
  state.log = wide();
  const energy = now.axis === "energy" ? ["net_factor", "energy", "latency_factor"] : ["latency"];
  const chosen = [costKey(), "metric", "difference", ...energy.map(inView), inView("size_factor")];
  state.columns = new Set([...chosen.filter(some), "verdict"]);
  drawTop();
  drawNotes();
  drawMenus();
  drawFilters();
  drawCards();
  drawFigures();
}

// Everything that depends on the view of costs.
function drawFigures() {
  drawAxes();
  drawColumns();
  drawTable();
  drawSelected();
  drawChart();
}

function switchView(ratios) {
  state.view = ratios ? "ratio" : "factor";
  [state.x, state.y, state.sort] = [inView(state.x), inView(state.y), state.sort && inView(state.sort)];
  state.columns = new Set([...state.columns].map(inView));
  state.log = wide();
  drawFigures();
  for (const charts of drawnCards.values()) drawPlots(charts);
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  const other = name === "dark" ? "light" : "dark";
  byId("theme").textContent = other === "dark" ? "☾ dark" : "☀ light";
  byId("theme").setAttribute("aria-label", `switch to the ${other} theme`);
  if (!window.Plotly) return;
  drawChart();
  for (const charts of drawnCards.values()) drawPlots(charts);
}

function draw() {
  drawChart().then(() => {
    performance.mark("page-drawn");
    document.documentElement.dataset.drawn = "yes";
  });
}

byId("theme").addEventListener("click", () =>
  theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
const dark = window.matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", (event) => theme(event.matches ? "dark" : "light"));
phone.addEventListener("change", drawChart);
// On paper, every card is open and the colours are light.
let before = null;
function printing(begins) {
  if (begins === (before !== null)) return;
  if (begins) {
    const closed = [...document.querySelectorAll("details.card, #notes details")].filter((each) => !each.open);
    before = { theme: document.documentElement.dataset.theme, closed };
    theme("light");
    for (const each of closed) each.open = true;
    for (const { box, row, card } of cardsOfTable) openCard(box, row, card);
  } else {
    for (const each of before.closed) {
      each.open = false;
      if (drawnCards.delete(each)) each.querySelector(".parts").remove(); // drawn again, as wide as the screen
    }
    const { theme: name } = before;
    before = null;
    theme(name);
  }
}
window.addEventListener("beforeprint", () => printing(true));
window.addEventListener("afterprint", () => printing(false));
window.matchMedia("print").addEventListener("change", (event) => printing(event.matches));
theme(dark.matches ? "dark" : "light");
if (DATA.tables.length) show(0);
else byId("sentence").textContent = "There are no results to show.";
