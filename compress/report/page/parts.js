// The tables of a card: answers that changed, and changes of the layers.
function grid(head, rows) {
  return make(
    "div",
    { class: "scroll short", tabindex: "0", role: "region", "aria-label": head.join(", ") },
    make(
      "table",
      {},
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          head.map((text) => make("th", { scope: "col" }, text)),
        ),
      ),
      make("tbody", {}, rows),
    ),
  );
}

function changed(card, row) {
  const flips = card.flips;
  if (flips.blocks) {
    return [
      make(
        "p",
        {},
        `A language model's blocks have no single answer. Of ${flips.n} blocks, those whose loss per token changed most:`,
      ),
      grid(
        ["block", "tokens", card.against, row.name],
        flips.blocks.map((cells) =>
          make(
            "tr",
            {},
            cells.map((text) => make("td", {}, String(text))),
          ),
        ),
      ),
    ];
  }
  const [lost, gained, both] = flips.counts;
  const sentence = make(
    "p",
    {},
    flips.sentence ||
      `Of ${flips.n} examples, ${lost} were right under ${card.against} and are wrong now, ${gained} became right` +
        (both ? `, ${both} have another wrong answer.` : "."),
  );
  if (!flips.rows.length) return [sentence];
  const words = flips.words || ["now wrong", "now right", "wrong both times"];
  const rows = flips.rows.map(([number, text, gold, before, after, kind]) =>
    make(
      "tr",
      {},
      make("td", { class: "text wide" }, text === null ? `example ${number}` : text),
      make("td", { class: "text" }, gold),
      make("td", { class: "text" }, before),
      make("td", { class: "text" }, after),
      make("td", { class: "text kind" + kind }, words[kind]),
    ),
  );
  const more = lost + gained + both - flips.rows.length;
  return [
    sentence,
    grid(["example", "gold", card.against, row.name, "change"], rows),
    flips.texts ? make("p", { class: "soft small" }, `The texts were ${flips.texts}.`) : null,
    more > 0 ? make("p", { class: "soft small" }, `${more} more are in the session's outcomes.parquet.`) : null,
  ];
}

function layers(card) {
  const layers = card.layers;
  if (!layers.length)
    return unknown(
      "no layer changed its format, type, rank, sparsity or shape; only values or the number of layers changed",
    );
  const most = Math.max(...layers.map((layer) => layer[7] || 0));
  const rows = layers.map(([name, format, bits, dtype, rank, sparsity, shape, bytes]) =>
    make(
      "tr",
      {},
      make("td", { class: "text layer" }, name || "the whole model"),
      make(
        "td",
        { class: "text" },
        bits
          ? make("span", { class: "bits b" + bits, title: format }, `${format}, ${bits} bit`)
          : format || dtype || "—",
      ),
      make("td", {}, rank === null ? "—" : String(rank)),
      make("td", {}, sparsity === null ? "—" : `${(100 * sparsity).toFixed(1)} %`),
      make("td", {}, shape || "—"),
      make(
        "td",
        { class: "bytes" },
        bytes === null
          ? "—"
          : [
              make(
                "span",
                { class: "barbox" },
                make("span", { class: "barfill", style: `width:${((100 * bytes) / most).toFixed(1)}%` }),
              ),
              ` ${short(bytes / 1000)} kB`,
            ],
      ),
    ),
  );
  const sentence = layers.some((layer) => layer[0] && layer[7] === null)
    ? [
        make(
          "p",
          { class: "soft small" },
          "— where a field does not apply; bytes of single layers are unknown inside an exported graph.",
        ),
      ]
    : [];
  return [grid(["layer", "format", "rank", "zeros", "shape", "bytes"], rows), ...sentence];
}
