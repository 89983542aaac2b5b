import { element, get, post } from "./api.js";

const UNDELIVERED_SECONDS = 60; // bitrix24.md section 13: about a minute
const $ = (id) => document.getElementById(id);
const list = $("dialogs");
const log = $("messages");
const answer = $("answer");
const narrow = matchMedia("(max-width: 640px)");
let chosen = null; // chat_id
let editing = null; // message id
let shown = "";

const time = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const initials = (name) => (name || "?").split(/\s+/).map((word) => word[0] ?? "").join("").slice(0, 2).toUpperCase();
const operator = () => Number($("operator").value);

function tint(text) {
  let sum = 0;
  for (const sign of text) sum = (sum * 31 + sign.codePointAt(0)) % 360;
  return `hsl(${(sum * 137) % 360} 40% 42%)`; // neighbours get distant hues
}

function face(node, name, key) {
  node.textContent = initials(name);
  node.style.background = tint(key);
  return node;
}

async function refresh() {
  const dialogs = await get("/desk/dialogs");
  if (chosen !== null && !dialogs.some((one) => one.chat_id === chosen)) chosen = null;
  if (chosen === null && dialogs.length && !narrow.matches) chosen = dialogs[0].chat_id;
  showDialogs(dialogs);
  await showTalk(dialogs.length > 0);
}

function showDialogs(dialogs) {
  list.replaceChildren(
    ...dialogs.map((one) => {
      const who = element("span", { className: "row" },
        element("strong", { textContent: one.user_name }),
        element("time", { textContent: one.at ? time(one.at) : "" }));
      const said = element("span", { className: "said", textContent: one.text });
      const where = element("small", { textContent: one.closed ? `${one.line_name} · closed` : one.line_name });
      const button = element("button", { type: "button" },
        face(element("span", { className: "face" }), one.user_name, one.external_chat_id),
        element("span", { className: "about" }, who, said, where));
      button.dataset.dialog = one.external_chat_id;
      button.setAttribute("aria-pressed", String(one.chat_id === chosen));
      button.addEventListener("click", () => choose(one.chat_id));
      return element("li", {}, button);
    }),
  );
}

async function choose(chatId) {
  chosen = chatId;
  stopEditing();
  say("");
  await refresh();
  if (chatId !== null && !narrow.matches) answer.focus();
}

async function showTalk(any) {
  document.body.classList.toggle("reading", chosen !== null);
  $("talk").hidden = chosen === null;
  $("empty").hidden = chosen !== null || (narrow.matches && any);
  if (chosen === null) return;
  const wanted = chosen;
  const talk = await get(`/desk/dialog/${wanted}`);
  if (wanted !== chosen) return;
  face($("face"), talk.user_name, talk.external_chat_id);
  $("who").textContent = talk.user_name;
  $("where").textContent = `${talk.line_name || "line " + talk.line} · session ${talk.session_id}${talk.closed ? " · closed" : ""}`;
  $("close").disabled = talk.closed;
  $("vote").disabled = talk.closed;
  const key = JSON.stringify([talk.messages, talk.messages.map(mark)]);
  if (key === shown) return;
  const before = log.scrollHeight - log.scrollTop - log.clientHeight;
  const other = log.dataset.chat !== String(wanted);
  shown = key;
  log.dataset.chat = wanted;
  log.replaceChildren(...talk.messages.map(bubble));
  if (other || before < 80) {
    const down = () => (log.scrollTop = log.scrollHeight);
    down();
    for (const image of log.querySelectorAll("img")) image.addEventListener("load", down);
  }
}

function mark(message) {
  if (message.author === "visitor" || message.hidden) return "";
  if (message.delivered) return "delivered";
  return Date.now() / 1000 - message.at > UNDELIVERED_SECONDS ? "failed" : "sending";
}

const MARKS = { "": "", delivered: "✓ delivered", sending: "sending…", failed: "not delivered" };

function bubble(message) {
  const item = element("li", { className: `message ${message.author}` });
  item.dataset.message = message.id;
  item.classList.toggle("hidden-one", message.hidden);
  if (message.author !== "system" && message.name) item.append(element("strong", { textContent: message.name }));
  if (message.deleted) {
    item.classList.add("deleted");
    item.append(element("p", { textContent: "Message deleted" }));
  } else {
    if (message.text) item.append(element("p", { className: "text", textContent: message.text }));
    item.append(...message.files.map(attachment));
  }
  const state = mark(message);
  const foot = element("small", { className: "foot" },
    element("time", { textContent: time(message.at) }),
    message.edited && !message.deleted ? element("span", { textContent: "edited" }) : null,
    message.hidden ? element("span", { textContent: "not sent to the visitor" }) : null,
    state ? element("span", { className: `mark-${state}`, textContent: MARKS[state] }) : null);
  if (message.author === "operator" && !message.deleted) {
    foot.append(
      tool("Edit", () => edit(message)),
      tool("Delete", () => act("/sandbox/delete", { message_id: message.id })),
    );
  }
  item.append(foot);
  return item;
}

function attachment(file) {
  const link = element("a", { className: "file", href: file.link, target: "_blank", rel: "noopener" });
  if (file.type === "image" && file.size) link.append(element("img", { src: file.link, alt: file.name }));
  else link.textContent = `${file.name} · ${Math.max(1, Math.round(file.size / 1024))} KB`;
  return link;
}

function tool(name, action) {
  const button = element("button", { type: "button", className: "tool", textContent: name });
  button.addEventListener("click", action);
  return button;
}

function edit(message) {
  editing = message.id;
  answer.value = message.text;
  $("send").textContent = "Save";
  say("Editing; Escape leaves it as it was.");
  answer.focus();
  grow();
}

function stopEditing() {
  if (editing === null) return;
  editing = null;
  answer.value = "";
  $("send").textContent = "Send";
  grow();
}

function say(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

async function act(path, body) {
  try {
    await post(path, { user_id: operator(), ...body });
    say("");
    return true;
  } catch (error) {
    say(error.message);
    return false;
  }
}

async function send() {
  const text = answer.value;
  if (!text.trim() || chosen === null) return;
  const done = editing === null
    ? await act("/sandbox/answer", { chat_id: chosen, text })
    : await act("/sandbox/edit", { message_id: editing, text });
  if (!done) return;
  stopEditing();
  answer.value = "";
  grow();
}

async function sendFile(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  const files = [{ name: file.name, type: file.type, content_base64: btoa(binary) }];
  await act("/sandbox/answer", { chat_id: chosen, text: "", files });
}

function grow() {
  answer.style.height = "auto";
  answer.style.height = `${Math.min(answer.scrollHeight, 160)}px`;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
answer.addEventListener("input", grow);
answer.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  } else if (event.key === "Escape") {
    stopEditing();
    say("");
  }
});
$("file").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (file && chosen !== null) await sendFile(file);
  event.target.value = "";
});
$("vote").addEventListener("click", () => act("/sandbox/vote", { chat_id: chosen }));
$("close").addEventListener("click", () => act("/sandbox/close", { chat_id: chosen }));
$("back").addEventListener("click", () => choose(null));

const stream = new EventSource("/desk/stream");
let busy = false;
let again = false;
async function changed() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  await refresh().catch(() => null);
  busy = false;
  if (again) {
    again = false;
    changed();
  }
}
stream.addEventListener("message", changed);
setInterval(changed, 10_000); // the marks grow old by themselves
