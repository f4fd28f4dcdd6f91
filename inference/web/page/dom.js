// Building elements. Texts are always set as text: a file's name can hold anything.

/** Return an element with attributes (listeners where the value is a function) and children: nodes, or texts. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Return a share in percent; what is not quite all or nothing is not rounded to it. */
export function percent(share, digits = 0) {
  const text = (100 * share).toFixed(digits);
  if (share > 0 && Number(text) === 0) return `<${(10 ** -digits).toFixed(digits)} %`;
  if (share < 1 && Number(text) === 100) return `>${(100 - 10 ** -digits).toFixed(digits)} %`;
  return `${text} %`;
}

/** Move the focus to a part of the page and show its beginning, so that the keyboard goes on from there. */
export function focusOn(target) {
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "start" });
}
