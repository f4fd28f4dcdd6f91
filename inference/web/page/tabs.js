// Tabs over the sections of an answer; on paper and in a saved page all sections are shown.

import { element } from "./dom.js";

/** Put sections with a `data-tab` name behind tabs, the one that was chosen before on top. Returns the row of tabs. */
export function tabs(sections, chosen) {
  const buttons = sections.map((section, index) => {
    section.id = `tab-panel-${index}`;
    section.setAttribute("role", "tabpanel");
    section.setAttribute("aria-labelledby", `tab-${index}`);
    return element("button", { type: "button", role: "tab", id: `tab-${index}`, "aria-controls": section.id, click: () => show(index) }, section.dataset.tab);
  });

  function show(shown) {
    buttons.forEach((button, index) => {
      button.setAttribute("aria-selected", String(index === shown));
      button.tabIndex = index === shown ? 0 : -1;
      sections[index].classList.toggle("behind", index !== shown);
    });
  }

  const row = element("div", { role: "tablist", class: "tabs controls", "aria-label": "More" }, buttons);
  row.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
    show(next);
    buttons[next].focus();
  });
  show(Math.max(0, sections.findIndex((section) => section.dataset.tab === chosen)));
  return row;
}

/** Show the tab that holds an element. */
export function reveal(target) {
  const panel = target?.closest("[role=tabpanel]");
  if (panel) document.getElementById(panel.getAttribute("aria-labelledby")).click();
}
