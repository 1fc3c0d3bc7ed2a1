// Charts. Each one is drawn when it comes near the screen.
const data = JSON.parse(document.getElementById("data").textContent);
const AXIS_HEIGHT = 52;
const drawn = new Map(); // chart element -> { panel, view }

const DARK = {
  "#000000": "#f3f4f6", "#0072B2": "#5bb0ea", "#D55E00": "#ff934d", "#009E73": "#34d399",
  "#C2185B": "#ff7aa8", "#7F7F7F": "#a3a3a3", "#9CA3AF": "#6b7280",
};
const themed = (text) => (isDark() ? text.replace(/#[0-9A-F]{6}/g, (color) => DARK[color] ?? color) : text);

function config(isCurve) {
  const style = getComputedStyle(document.body);
  const [text, muted, line] = ["--text", "--muted", "--line"].map((name) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(${name})`;
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  });
  return {
    background: "transparent", font: style.fontFamily, view: { stroke: null },
    axis: { labelColor: muted, titleColor: text, gridColor: line, domainColor: muted, tickColor: muted,
      labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal" },
    legend: { disable: isCurve, labelColor: text, titleColor: text, labelFontSize: 11, titleFontSize: 11,
      orient: "bottom", gradientLength: 120, gradientThickness: 8 },
    text: { color: text, fontSize: 12 }, line: { strokeWidth: 1.8 },
  };
}

// Centered moving average; windows are shorter at both ends.
function smooth(values, width) {
  const half = (width - 1) / 2;
  if (!half) return values;
  return values.map((_, index) => {
    const window = values.slice(Math.max(0, index - half), index + half + 1);
    return window.reduce((sum, value) => sum + value, 0) / window.length;
  });
}

function curveRows(panel) {
  const curves = panel.logs.map((log) => {
    const values = data.released[panel.metric][log];
    const name = `published, ${values.length} epochs`;
    return { path: name, run_name: name, curve: name, role: data.released_role, values: values.slice(0, panel.epochs) };
  });
  for (const path of panel.runs) {
    const run = data.runs[path];
    curves.push({ path, run_name: run.run_name, curve: run.curve, role: run.role, values: run[panel.metric], unfinished: run.unfinished });
  }
  return curves
    .filter(({ role }) => !settings.hidden.includes(role))
    .flatMap(({ path, run_name, curve, role, values, unfinished }) =>
      smooth(values, settings.smoothing).map((value, index) => {
        const row = { run: path, run_name, curve, role, epoch: index + 1, value };
        if (unfinished && index === values.length - 1) row.unfinished = unfinished;
        return row;
      }),
    );
}

function rowsOf(panel) {
  const names = Object.keys(panel.columns);
  const count = names.length ? panel.columns[names[0]].length : 0;
  const rows = Array.from({ length: count }, (_, index) =>
    Object.fromEntries(names.map((name) => [name, panel.columns[name][index]])),
  );
  if (!names.includes("section")) return rows;
  return rows.filter(matches).map((row, order) => ({ ...row, order }));
}

// Limits of the axes, the same for all panels of a figure.
function limits(panels, rows) {
  const epochs = panels[0].epochs;
  // At least two epochs, or the curves would have no width.
  const first = Math.max(1, Math.min(Math.round((settings.zoom / 100) * epochs), epochs - 1));
  const values = rows.flat().filter((row) => row.epoch >= first).map((row) => row.value);
  if (!values.length) return { x_min: first, x_max: epochs };
  const scale = panels[0].is_log ? Math.log : (value) => value;
  const inverse = panels[0].is_log ? Math.exp : (value) => value;
  const low = scale(values.reduce((a, b) => Math.min(a, b)));
  const high = scale(values.reduce((a, b) => Math.max(a, b)));
  const margin = 0.03 * (high - low) || (panels[0].is_log ? 0.1 : 1);
  return { x_min: epochs > 1 ? first : 0, x_max: epochs, y_min: inverse(low - margin), y_max: inverse(high + margin) };
}

// The rows of all panels of a figure and their limits, computed once until a setting changes.
let figureCurves = new Map();
function curvesOf(panels) {
  if (!figureCurves.has(panels)) {
    const rows = panels.map(curveRows);
    figureCurves.set(panels, { rows: new Map(panels.map((panel, index) => [panel, rows[index]])), signals: limits(panels, rows) });
  }
  return figureCurves.get(panels);
}
const panelsOf = (chart) => data.panels[chart.closest("figure").dataset.figure];

async function draw(chart) {
  if (drawn.has(chart)) return;
  const panels = panelsOf(chart);
  const panel = panels[chart.dataset.panel];
  const entry = { panel };
  drawn.set(chart, entry);
  const spec = JSON.parse(themed(JSON.stringify(data.specs[panel.spec])));
  spec.width = "container";
  const { rows: curves, signals } = panel.runs ? curvesOf(panels) : { signals: {} };
  const rows = curves?.get(panel) ?? rowsOf(panel);
  spec.height = panel.row_height ? panel.row_height * Math.max(rows.length, 1) : "container";
  spec.datasets = { rows: JSON.parse(themed(JSON.stringify(rows))) };
  for (const param of spec.params ?? []) param.value = signals[param.name] ?? param.value;
  const { view } = await vegaEmbed(chart, spec, {
    actions: false, config: config(Boolean(panel.runs)), tooltip: { theme: isDark() ? "dark" : "light" },
    renderer: rows.length > 300 ? "canvas" : "svg", logLevel: 1, // errors
  });
  entry.view = view;
  if (panel.runs) view.addSignalListener("hover", (_, value) => highlight(value.run?.[0], value.run_name?.[0]));
  view.addEventListener("click", (_, item) => {
    if (item?.datum?.section) show(item.datum.section);
  });
}

function redraw(chart) {
  drawn.get(chart)?.view?.finalize();
  drawn.delete(chart);
  observer.unobserve(chart);
  observer.observe(chart);
}
const redrawAll = () => [...drawn.keys()].forEach(redraw);
document.addEventListener("themechange", redrawAll);
const darkScheme = matchMedia("(prefers-color-scheme: dark)");
darkScheme.addEventListener("change", redrawAll);

function updateCurves() {
  figureCurves = new Map();
  for (const [chart, { panel, view }] of drawn) {
    if (!panel.runs || !view) continue;
    const { rows, signals } = curvesOf(panelsOf(chart));
    for (const [name, value] of Object.entries(signals)) view.signal(name, value);
    view.data("rows", rows.get(panel)).runAsync();
  }
  for (const button of all(".legend button")) {
    button.setAttribute("aria-pressed", String(!settings.hidden.includes(button.textContent)));
  }
}
document.addEventListener("curvechange", updateCurves);

function filterCharts() {
  for (const chart of all(".chart")) {
    const panel = panelsOf(chart)[chart.dataset.panel];
    const fits = (other) => matches({ method: other.title });
    // A filter by the baseline, which is in the panels of all methods, hides none of them.
    if (panel.runs) chart.closest(".panel").hidden = !fits(panel) && panelsOf(chart).some(fits);
    else if (panel.columns.section) {
      // The place is kept free until the chart is drawn.
      chart.style.minHeight = `${panel.row_height * rowsOf(panel).length + AXIS_HEIGHT}px`;
      redraw(chart);
    }
  }
  fitCharts();
}
document.addEventListener("filterchange", filterCharts);

// Vega measures the width of a chart only when the window has changed.
const fitCharts = () => dispatchEvent(new Event("resize"));
all("details").forEach((fold) => fold.addEventListener("toggle", fitCharts));

// A curve, its row in the tables and its seed are highlighted together.
let highlighted = "";
function highlight(run = "", runName = "") {
  if (highlighted === `${run} ${runName}`) return;
  highlighted = `${run} ${runName}`;
  for (const row of all("tr[data-run-name]")) {
    const isSame = row.dataset.run && run ? row.dataset.run === run : row.dataset.runName === runName;
    row.classList.toggle("highlighted", runName !== "" && isSame);
  }
  for (const { panel, view } of drawn.values()) {
    if (!panel.runs || !view) continue;
    const isHere = panel.runs.some((path) => data.runs[path].run_name === runName);
    view.signal("highlighted_run", isHere ? run : "").signal("highlighted_run_name", isHere ? runName : "").runAsync();
  }
}
for (const row of all('tr[data-run-name]:not([data-run-name=""])')) {
  row.addEventListener("pointerenter", () => highlight(row.dataset.run, row.dataset.runName));
  row.addEventListener("pointerleave", () => highlight());
}

// The legend of a figure of curves hides curves of all figures.
for (const figure of all("figure")) {
  const panels = data.panels[figure.dataset.figure].filter((panel) => panel.runs);
  const roles = new Set(panels.flatMap((panel) => panel.runs.map((path) => data.runs[path].role)));
  if (panels.some((panel) => panel.logs.length)) roles.add(data.released_role);
  for (const [role, color] of Object.entries(data.role_colors)) {
    if (!roles.has(role)) continue;
    const button = figure.querySelector(".legend").appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = role;
    button.dataset.color = color;
    button.setAttribute("aria-pressed", String(!settings.hidden.includes(role)));
    button.addEventListener("click", () => {
      settings.hidden = settings.hidden.includes(role)
        ? settings.hidden.filter((other) => other !== role)
        : [...settings.hidden, role];
      saveSettings();
      updateCurves();
    });
  }
}

function colorLegends() {
  for (const button of all(".legend button")) button.style.setProperty("--color", themed(button.dataset.color));
}
colorLegends();
document.addEventListener("themechange", colorLegends);
darkScheme.addEventListener("change", colorLegends);

const observer = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  { rootMargin: "300px" },
);
all(".chart").forEach((chart) => observer.observe(chart));
showControls();
applyFilters();

// The rest is drawn while the browser is idle, so that a printed page is complete.
const whenIdle = globalThis.requestIdleCallback ?? ((action) => setTimeout(action, 50)); // not in Safari
function drawRest() {
  const next = all(".chart").find((chart) => !drawn.has(chart) && chart.offsetWidth);
  if (next) draw(next).finally(() => whenIdle(drawRest));
}
addEventListener("load", () => whenIdle(drawRest, { timeout: 3000 }));
