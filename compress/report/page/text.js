"use strict";
// Helpers shared by all parts. Texts of results reach the page through text nodes only.
performance.mark("page-begins");
const DATA = JSON.parse(document.getElementById("data").textContent);
const state = {
  table: 0,
  sort: null,
  up: true,
  search: "",
  method: "",
  grade: "",
  front: false,
  references: true,
  columns: new Set(),
  x: "",
  y: "",
  log: false,
  bars: true,
  names: true,
  view: "factor",
  selected: null,
};
const table = () => DATA.tables[state.table];
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

// Plotly interprets some tags and entities in its texts: escaped, they are shown literally.
const forPlotly = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const known = (cell) => Array.isArray(cell);
const value = (row, key) => (known(row.cells[key]) ? row.cells[key][2] : null);
const axisOf = (key) => table().axes.find((axis) => axis.key === key);
// Costs are shown as factors (2.2x faster) or as ratios (0.451): each has an axis of its own.
const shownAxes = () => table().axes.filter((axis) => !axis.view || axis.view === state.view);
const inView = (key) => key.replace(/_(factor|ratio)$/, "_" + state.view);
const costKey = () => `${table().axis}_${state.view}`;
const withUnit = (text, axis) => text + (axis.unit && axis.unit !== "×" ? `, ${axis.unit}` : "");
const reason = (cell) => DATA.reasons[cell];

function cellText(row, axis) {
  const cell = row.cells[axis.key];
  if (!known(cell)) return "— (" + reason(cell) + ")";
  return [cell[0], axis.unit, cell[1]].filter(Boolean).join(" ") + (cell[5] ? ", n " + cell[5] : "");
}

function short(number, digits = 3) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  for (const [limit, unit] of [
    [1e9, " G"],
    [1e6, " M"],
    [1e4, " k"],
  ]) {
    if (size >= limit) return (number / (unit === " k" ? 1e3 : limit)).toPrecision(digits) + unit;
  }
  return String(Number(number.toPrecision(digits)));
}

const ink = (name) =>
  getComputedStyle(document.documentElement)
    .getPropertyValue("--" + name)
    .trim();

function select(label, options, chosen, change) {
  const field = make("select", { "aria-label": label, onchange: (event) => change(event.target.value) });
  for (const [key, text, disabled, title] of options) {
    field.append(make("option", { value: key, selected: key === chosen, disabled, title }, text));
  }
  return make("label", {}, make("span", { class: "soft" }, label), field);
}

function check(label, on, change) {
  const field = make("input", { type: "checkbox", onchange: (event) => change(event.target.checked) });
  field.checked = on;
  return make("label", { class: "check" }, field, label);
}
