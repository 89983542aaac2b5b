import { element, get, post } from "./api.js";

const UNDELIVERED_SECONDS = 60; // bitrix24.md 13.6
const $ = (id) => document.getElementById(id);
const list = $("dialogs");
const log = $("messages");
const answer = $("answer");
const narrow = matchMedia("(max-width: 640px)");
let chosen = null; // the chat_id of the open dialog
let editing = null; // the id of the message that is edited
let shown = ""; // what the page shows of the open dialog

const time = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const initials = (name) => (name || "?").split(/\s+/).map((word) => word[0] ?? "").join("").slice(0, 2).toUpperCase();
const operator = () => Number($("operator").value);

function tint(text) {
  let sum = 0;
  for (const sign of text) sum = (sum * 31 + sign.codePointAt(0)) % 360;
  return `hsl(${(sum * 137) % 360} 40% 42%)`; // names that differ little get very different colours
}

function face(node, name, key) {
  node.textContent = initials(name);
  node.style.background = tint(key);
  return node;
}

async function refresh() {
  const dialogs = await get("/desk/dialogs");
  if (chosen !== null && !dialogs.some((dialog) => dialog.chat_id === chosen)) chosen = null;
  if (chosen === null && dialogs.length && !narrow.matches) chosen = dialogs[0].chat_id;
  showDialogs(dialogs);
  await showDialog(dialogs.length > 0);
}

function showDialogs(dialogs) {
  list.replaceChildren(
    ...dialogs.map((dialog) => {
      const name = element("span", { className: "row" },
        element("strong", { textContent: dialog.user_name }),
        element("time", { textContent: dialog.at ? time(dialog.at) : "" }));
      const preview = element("span", { className: "said", textContent: dialog.text });
      const place = element("small", { textContent: dialog.closed ? `${dialog.line_name} · closed` : dialog.line_name });
      const button = element("button", { type: "button" },
        face(element("span", { className: "face" }), dialog.user_name, dialog.external_chat_id),
        element("span", { className: "about" }, name, preview, place));
      button.dataset.dialog = dialog.external_chat_id;
      button.setAttribute("aria-pressed", String(dialog.chat_id === chosen));
      button.addEventListener("click", () => choose(dialog.chat_id));
      return element("li", {}, button);
    }),
  );
}

async function choose(chatId) {
  chosen = chatId;
  stopEditing();
  showNotice("");
  await refresh();
  if (chatId !== null && !narrow.matches) answer.focus();
}

async function showDialog(hasDialogs) {
  document.body.classList.toggle("reading", chosen !== null);
  $("talk").hidden = chosen === null;
  $("empty").hidden = chosen !== null || (narrow.matches && hasDialogs);
  if (chosen === null) return;
  const chatId = chosen;
  const dialog = await get(`/desk/dialog/${chatId}`);
  if (chatId !== chosen) return;
  face($("face"), dialog.user_name, dialog.external_chat_id);
  $("who").textContent = dialog.user_name;
  $("where").textContent = `${dialog.line_name || "line " + dialog.line} · session ${dialog.session_id}${dialog.closed ? " · closed" : ""}`;
  $("close").disabled = dialog.closed;
  $("vote").disabled = dialog.closed;
  const key = JSON.stringify([dialog.messages, dialog.messages.map(mark)]);
  if (key === shown) return;
  const distance = log.scrollHeight - log.scrollTop - log.clientHeight;
  const another = log.dataset.chat !== String(chatId);
  shown = key;
  log.dataset.chat = chatId;
  log.replaceChildren(...dialog.messages.map(bubble));
  if (another || distance < 80) {
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
    const text = message.text || (message.has_card ? "(a card)" : "");
    if (text) item.append(element("p", { className: "text", textContent: text }));
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
  showNotice("Editing; Escape leaves it as it was.");
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

function showNotice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

async function act(path, body) {
  try {
    await post(path, { user_id: operator(), ...body });
    showNotice("");
    return true;
  } catch (error) {
    showNotice(error.message);
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

/** Of each kind of block one, and a product as a rich link (bitrix24.md 10.6, 10.7). */
async function sendCard() {
  const picture = `${location.origin}/static/lamp.svg`;
  const shop = "https://shop.example/lamp";
  const cell = (NAME, VALUE, DISPLAY) => ({ NAME, VALUE, DISPLAY });
  const blocks = [
    { MESSAGE: "Your order [b]No. 5[/b] is packed." },
    { USER: { NAME: "Olga Petrova", AVATAR: picture } },
    { GRID: [cell("Lamp", "1 × 50 €", "ROW"), cell("Delivery", "5 €", "ROW")] },
    { GRID: [cell("Sum", "55 €", "LINE"), cell("Paid", "yes", "LINE")] },
    { DELIMITER: { SIZE: 200 } },
    { IMAGE: { NAME: "The lamp", LINK: picture } },
    { FILE: { NAME: "invoice.pdf", LINK: "https://shop.example/invoice.pdf", SIZE: 20480 } },
    { LINK: { NAME: "Track it", LINK: "https://shop.example/track", DESC: "where it is now" } },
    { HTML: "<p>Thank you <b>very</b> much!</p>" },
  ];
  const richData = { url: shop, title: "Table lamp", description: "50 €", image: picture };
  await act("/sandbox/answer", { chat_id: chosen, blocks, links: [{ LINK: shop, richData }] });
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
    showNotice("");
  }
});
$("file").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (file && chosen !== null) await sendFile(file);
  event.target.value = "";
});
$("card").addEventListener("click", sendCard);
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
setInterval(changed, 10_000); // "sending" becomes "not delivered" without a change in the portal
