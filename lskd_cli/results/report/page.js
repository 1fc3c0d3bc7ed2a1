"use strict";
const root = document.documentElement;
const all = (selector, parent = document) => [...parent.querySelectorAll(selector)];
const STORE = `lskd ${location.pathname}`;

// Values that survive a reload, unless the browser blocks the storage of pages.
const storage = {
  get(key) {
    try {
      return JSON.parse(sessionStorage.getItem(key) ?? "null");
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      sessionStorage.setItem(key, JSON.stringify(value));
    } catch {}
  },
};
const settings = Object.assign(
  { filters: {}, zoom: 0, smoothing: 1, hidden: [], folds: {}, theme: "" },
  storage.get(STORE),
);
const saveSettings = () => storage.set(STORE, settings);

if (settings.theme) root.dataset.theme = settings.theme;
const isDark = () =>
  (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
document.getElementById("theme").addEventListener("click", () => {
  settings.theme = root.dataset.theme = isDark() ? "light" : "dark";
  saveSettings();
  document.dispatchEvent(new Event("themechange"));
});

function keepFold(fold, isOpen) {
  settings.folds[fold.id] = isOpen;
  saveSettings();
}
for (const fold of all("details[id]")) {
  if (fold.id in settings.folds) fold.open = settings.folds[fold.id];
  fold.querySelector("summary").addEventListener("click", (event) => {
    if (!event.target.closest("a")) keepFold(fold, !fold.open); // a link does not fold
  });
}
// On a narrow screen, contents and filters are folded at first; on a wide one, filters have no button.
const narrow = matchMedia("(max-width: 60rem)");
function foldForWidth() {
  for (const fold of all("#contents, #filters")) {
    fold.open = (!narrow.matches && fold.id === "filters") || (settings.folds[fold.id] ?? !narrow.matches);
  }
}
narrow.addEventListener("change", foldForWidth);
foldForWidth();
// Unfold a section and go to it, also if the address has it already.
function show(id) {
  const section = document.getElementById(id);
  const fold = section?.querySelector(":scope > details");
  if (fold) {
    fold.open = true;
    if (fold.id) keepFold(fold, true);
  }
  if (location.hash !== `#${id}`) location.hash = id;
  else section?.scrollIntoView();
}
addEventListener("hashchange", () => show(location.hash.slice(1)));
for (const link of all('a[href^="#"]')) {
  link.addEventListener("click", () => link.hash === location.hash && show(link.hash.slice(1)));
}

// Sorting. 70.50 ± 0.71 is 70.5, 10,000 is 10000, 1:02:03 is 3723; empty cells come last.
const number = (text) => text.replaceAll(",", "").split(":").reduce((sum, part) => sum * 60 + parseFloat(part), 0);
for (const button of all("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const column = [...heading.parentElement.children].indexOf(heading);
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const isText = heading.classList.contains("text");
    const text = (row) => row.children[column].textContent.trim();
    const compare = (a, b) => {
      if (!text(a) || !text(b)) return Number(!text(a)) - Number(!text(b));
      const difference = isText ? NaN : number(text(a)) - number(text(b));
      if (!Number.isNaN(difference)) return direction * difference;
      return direction * text(a).localeCompare(text(b), undefined, { numeric: true });
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  });
}

// Filters by method, pair and state.
const matches = ({ method, methods, pair, state }) => {
  const filters = settings.filters;
  const names = methods ? JSON.parse(methods) : method && [method];
  return (
    (!filters.method || !names || names.includes(filters.method)) &&
    (!filters.pair || !pair || pair === filters.pair || filters.pair.endsWith(` → ${pair}`)) &&
    (!filters.state || state === undefined || state === filters.state)
  );
};
function applyFilters() {
  for (const element of all("tr[data-method], [data-methods]")) element.hidden = !matches(element.dataset);
  document.dispatchEvent(new Event("filterchange"));
}
const controls = document.querySelector("form.controls");
const ranges = {
  zoom: (value) => (value > 0 ? `last ${100 - value} %` : "all"),
  smoothing: (value) => (value > 1 ? `${value} epochs` : "off"),
};
function showControls() {
  if (!controls) return;
  const selects = Object.fromEntries(all("select", controls).map((select) => [select.dataset.filter, select]));
  for (const [name, value] of Object.entries(settings.filters)) {
    const options = [...(selects[name]?.options ?? [])].map((option) => option.value);
    if (!options.includes(value)) delete settings.filters[name]; // of another version of the page
  }
  for (const [name, select] of Object.entries(selects)) select.value = settings.filters[name] ?? "";
  for (const [id, label] of Object.entries(ranges)) {
    controls.elements[id].value = settings[id];
    controls.querySelector(`output[for="${id}"]`).value = label(settings[id]);
  }
}
controls?.addEventListener("input", (event) => {
  const { id, dataset, value } = event.target;
  if (dataset.filter) {
    settings.filters[dataset.filter] = value;
    applyFilters();
  } else {
    settings[id] = Number(value);
    document.dispatchEvent(new Event("curvechange"));
  }
  saveSettings();
  showControls();
});
controls?.addEventListener("reset", (event) => {
  event.preventDefault();
  Object.assign(settings, { filters: {}, zoom: 0, smoothing: 1, hidden: [] });
  saveSettings();
  showControls();
  applyFilters();
  document.dispatchEvent(new Event("curvechange"));
});
controls?.addEventListener("submit", (event) => event.preventDefault());

// The visible rows of a table in the order of the screen, as LaTeX, Markdown or CSV.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
for (const button of all(".copy button")) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const [head, rows, tail] = JSON.parse(button.dataset.lines);
    const visible = all("tbody tr:not([hidden])", button.closest(".table")).map((row) => rows[row.dataset.line]);
    await copyText([...head, ...visible, ...tail].join("\n") + "\n");
    button.textContent = "copied";
    setTimeout(() => (button.textContent = label), 1500);
  });
}
