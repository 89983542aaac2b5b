import { element, get, post } from "./api.js";

const GROUPS = {
  "The portal": {
    down: "Unreachable: connections close, nothing is done",
    http_500: "A proxy's error page instead of an answer",
    slow_seconds: "Seconds until each call is answered",
    item_seconds: "Seconds until each message is stored",
    drop_answers: "Next calls that are done but never answered",
    query_limit: "Next calls refused: too many requests",
    operation_time_limit: "Seconds a method is blocked for its running time",
    overload: "Blocked by hand: OVERLOAD_LIMIT",
    limit: "Limit of 50 calls at once, 2 a second",
    oauth_down: "The OAuth server does not answer",
  },
  "Visitor to operator": {
    inactive_line: "The line is not active",
    fail_items: "Messages with this text fail",
    refuse_contacts: "Messages of visitors with this in their e-mail or telephone fail",
    no_files: "Visitors' files cannot be fetched",
    no_session: "Accepted without a session",
    strict_names: "Names: 25 letters at most, no digits",
    welcome: "Automatic text of each new session",
  },
  "Operator to visitor": {
    lose_events: "Events are lost",
    duplicate_events: "Each event comes twice",
    reorder_events: "Events overtake one another",
    delay_events_seconds: "Seconds until events are posted",
    signature: "The operator's signature",
    deny_history: "Reading the history is forbidden",
  },
  "The build": {
    old_build: "An older portal",
    placement_token: "APPLICATION_TOKEN in placements",
  },
};
const CHOICES = { no_session: ["", "stored", "not stored"], signature: ["new", "old", "none"] };
const DEFAULTS = { limit: true, strict_names: true, placement_token: true, signature: "new" };
const form = document.querySelector("#troubles");
const notice = document.querySelector("#notice");

function control(name, value) {
  if (CHOICES[name]) {
    const options = CHOICES[name].map((choice) => element("option", { value: choice, textContent: choice || "off" }));
    const select = element("select", { name }, ...options);
    select.value = value;
    return select;
  }
  if (typeof value === "boolean") return element("input", { type: "checkbox", name, checked: value, className: "switch" });
  if (typeof value === "number") return element("input", { type: "number", min: 0, step: "any", name, value });
  return element("input", { type: "text", name, value, placeholder: "off" });
}

function show(values) {
  form.replaceChildren(...Object.entries(GROUPS).map(([title, group]) =>
    element("fieldset", {}, element("legend", { textContent: title }),
      ...Object.entries(group).map(([name, label]) => {
        const row = element("label", { className: "switch-row" },
          element("span", {}, label, element("code", { textContent: name })),
          control(name, values[name]));
        row.classList.toggle("changed", values[name] !== (DEFAULTS[name] ?? (typeof values[name] === "boolean" ? false : typeof values[name] === "number" ? 0 : "")));
        return row;
      }))));
}

async function run(work) {
  try {
    await work();
    notice.hidden = true;
  } catch (error) {
    notice.textContent = error.message;
    notice.hidden = false;
  }
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", (event) => {
  const { name, type, checked, value } = event.target;
  const set = type === "checkbox" ? checked : type === "number" ? Number(value) : value;
  run(async () => show(await post("/sandbox/trouble", { [name]: set })));
});
document.querySelector("#clear").addEventListener("click", () =>
  run(async () => show(await post("/sandbox/trouble", {}, "DELETE"))));
for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => run(async () => {
    await post(button.dataset.act);
    show(await get("/sandbox/trouble"));
  }));
}
run(async () => show(await get("/sandbox/trouble")));
