/* Elements, and numbers as people read them. What the API says becomes text and attributes, and
   nothing here parses HTML: the policy of the page forbids that, too. */
"use strict";

const $ = (id) => document.getElementById(id);

function el(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/* `onclick: f` listens; null and false leave an attribute out. */
function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/* Elements that act as buttons where a button cannot be. */
function pressable(action) {
  return {
    tabindex: 0,
    role: "button",
    onclick: action,
    onkeydown: (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      action(event);
    },
  };
}

const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const whole = (number) => Math.round(number).toLocaleString("en");
const plural = (number, one, many) =>
  `${whole(number)} ${number === 1 ? one : (many ?? one + "s")}`;

/* 1234567 as "1.23 M". */
function short(number) {
  const steps = ["", "k", "M", "G", "T", "P"];
  let step = 0;
  let value = Math.abs(number);
  while (value >= 999.5 && step < steps.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits =
    value >= 99.5 || (step === 0 && Number.isInteger(value)) ? 0 : value >= 9.95 ? 1 : 2;
  return `${(Math.sign(number) * value).toFixed(digits)}${steps[step] && "\u202f" + steps[step]}`;
}

const perSecond = (number) => `${short(number)}/s`;
const bitRate = (bits) => {
  const [value, unit] = short(bits).split("\u202f");
  return `${value}\u202f${unit ?? ""}bit/s`;
};
const octets = (number) => {
  const [value, unit] = short(number).split("\u202f");
  return `${value}\u202f${unit ?? ""}B`;
};

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

/* How long ago by the server's clock; "never" for null. */
const ago = (time) =>
  time === null ? "never" : `${duration((api.now() - Date.parse(time)) / 1000)} ago`;
const clock = (time) => new Date(time).toLocaleTimeString("en-GB");
const hex = (teid) => `0x${teid.toString(16)}`;

const STATES = ["active", "pending", "failed", "error_indicated"];
const spoken = (name) => name.replaceAll("_", " ");
const badge = (state) => el("span", { class: `badge ${state}` }, spoken(state));
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/* A button that copies a text; none where the browser does not let a page do so. */
function copier(label, text) {
  if (!navigator.clipboard) return null;
  const button = el("button", { type: "button" }, label);
  button.addEventListener("click", () => {
    navigator.clipboard.writeText(text()).then(
      () => setText(button, "Copied"),
      () => setText(button, "Not copied"),
    );
    setTimeout(() => setText(button, label), 1500);
  });
  return button;
}
