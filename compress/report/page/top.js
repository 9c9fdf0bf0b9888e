// What stands above the table: the recommendation, the way to use it, and the finding; and the notes below everything.
const GROUP_TITLES = { warnings: "Warnings", method: "Method", data: "Data" };

function drawTop() {
  const now = table();
  byId("sentence").textContent = now.sentence;
  byId("finding").textContent = now.finding;
  byId("where").textContent = now.title;
  byId("loud").replaceChildren(...now.loud.map((line) => make("p", {}, line)));
  document.title = `compress: ${now.title}`;
  byId("use").replaceChildren(...(now.use ? useOf(now.use) : []));
  byId("use").hidden = !now.use;
}

function useOf(use) {
  const column = (text, lines) => make("div", {}, make("p", {}, text), lines.length ? copyable(lines) : null);
  const next = use.commands.length ? column(`${use.then}:`, use.commands) : null;
  return [make("h2", {}, "How to use it"), make("div", { class: "columns" }, column(use.where, use.code), next)];
}

// A block of lines, and a button that copies them; without a clipboard it selects them.
function copyable(lines) {
  const block = make("pre", { tabindex: "0" }, lines.join("\n"));
  const button = make("button", { type: "button", class: "copy", onclick: () => copy(block, button) }, "Copy");
  return make("div", { class: "copyable" }, block, button);
}

async function copy(block, button) {
  try {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(block);
    button.textContent = "Selected";
  }
}

function drawNotes() {
  byId("notes").replaceChildren(
    make("h2", {}, "Notes"),
    ...table().notes.map(([group, lines]) =>
      make(
        "details",
        { "data-group": group },
        make("summary", {}, `${GROUP_TITLES[group]} (${lines.length})`),
        make(
          "ul",
          {},
          lines.map((line) => make("li", {}, line)),
        ),
      ),
    ),
  );
}
