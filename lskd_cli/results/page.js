"use strict";
const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = (root.dataset.theme ?? (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
});

// 70.50 ± 0.71 is 70.5, 1:02:03 is 3723; nothing comes last.
const number = (text) => text.split(":").reduce((sum, part) => sum * 60 + parseFloat(part), 0);
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const column = [...heading.parentElement.children].indexOf(heading);
    const way = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
    const text = (row) => row.children[column].textContent.trim();
    const compare = (a, b) => {
      if (!text(a) || !text(b)) return Number(!text(a)) - Number(!text(b));
      const difference = number(text(a)) - number(text(b));
      return way * (Number.isNaN(difference) ? text(a).localeCompare(text(b)) : difference);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  });
}
