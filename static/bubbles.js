/** Makes bubbles: nodes of the server's HTML, and of unsent items. No other module makes nodes of HTML. */

import {lang, texts} from "./config.js"

const PARTS = [".from", ".body", ".meta", ".reason"] // of a bubble; `update` compares each by itself
const SHOWN_PICTURES = /^image\/(png|jpeg|gif|webp|avif)$/

const locale = navigator.languages.find((language) => language.split("-")[0] === lang) ?? lang
const clock = new Intl.DateTimeFormat(locale, {hour: "numeric", minute: "2-digit"})
const moment = new Intl.DateTimeFormat(locale, {dateStyle: "long", timeStyle: "short"})
const relativeDay = new Intl.RelativeTimeFormat(locale, {numeric: "auto"})

/** The bubbles of the server's HTML. */
export function bubblesIn(html) {
  const template = document.createElement("template")
  template.innerHTML = html
  return [...template.content.querySelectorAll(".message")]
}

/** The messages of the server's HTML, as `messageOf` returns them. */
export function messagesIn(html) {
  return bubblesIn(html).map(messageOf)
}

/** A bubble as data, with its `node`. The server's times are shown as the visitor's own. */
export function messageOf(node) {
  localiseTimes(node)
  node.addEventListener("error", ({target}) => offer(target), true) // of its pictures and players: it does not bubble
  for (const table of node.querySelectorAll(".body table")) table.tabIndex = 0 // it scrolls where it has no room
  if (node.isConnected) node.querySelectorAll(".body img").forEach(offerIfFailed)
  const {id, position, revision = "", epoch = "", author, state = "", clientId = ""} = node.dataset
  const reason = node.querySelector(".reason")
  if (id && state === "refused") explain(node, reason.textContent, "retry")
  return {
    id: id ? Number(id) : null,
    position: position ? Number(position) : null,
    revision,
    epoch,
    author,
    state,
    clientId,
    hasOlder: "older" in node.dataset,
    name: node.querySelector(".from").textContent,
    at: new Date(node.querySelector(".meta time").dateTime),
    node,
  }
}

/** The bubble of an unsent item, made of the empty one `pattern`. */
export function unsentMessage(item, pattern) {
  const node = pattern.cloneNode(true)
  node.dataset.clientId = item.client_id
  node.querySelector(".body").append(...(item.file ? describeFile(item.file) : [item.message]))
  node.querySelector(".meta").prepend(make("time", {dateTime: new Date(item.at).toISOString()}), " ")
  return {...messageOf(node), text: item.message, cancel: item.cancel}
}

/** Makes `node` show what `fresh` shows. Only parts that differ are touched, so that a selection stays. */
export function update(node, fresh) {
  for (const {name, value} of fresh.attributes) node.setAttribute(name, value)
  for (const part of PARTS) {
    const [shown, wanted] = [node, fresh].map((bubble) => bubble.querySelector(part))
    if (part === ".body") keepOwnPicture(shown, wanted)
    if (shown && shown.innerHTML !== wanted.innerHTML) shown.replaceChildren(...wanted.childNodes)
  }
  return node
}

/** Says below a bubble what became of the message, and offers the named buttons. */
export function explain(node, text, ...buttons) {
  node.querySelector(".reason").replaceChildren(
    make("span", {textContent: text}),
    ...buttons.map((name) => make("button", {type: "button", name, textContent: texts[name]})),
  )
}

/** Shows a progress bar above the explanation; returns it. */
export function showProgress(node) {
  const progress = make("progress", {max: 1})
  progress.setAttribute("aria-label", texts.file_keep_open)
  node.querySelector(".reason").prepend(progress)
  return progress
}

/** Changes the state of one of the visitor's messages, and removes an earlier explanation. */
export function setState(message, state) {
  message.state = message.node.dataset.state = state
  const tick = message.node.querySelector(".tick")
  tick.title = tick.firstElementChild.textContent = texts[`state_${state}`] ?? ""
  message.node.querySelector(".reason").replaceChildren()
}

/** Shows a message as the vote "1" or "0", or with null as an ordinary message. */
export function showVote(node, vote) {
  node.classList.toggle("voted", vote !== null)
  const body = node.querySelector(".body")
  if (vote === null || vote !== body.textContent.trim() || node.querySelector(".cast")) return
  body.after(make("div", {className: `cast v${vote}`, textContent: texts[`vote_${vote}`]}))
}

/** "Today", "Yesterday", or the date. */
export function dayName(date) {
  const today = new Date()
  const days = Math.round((new Date(date).setHours(0, 0, 0, 0) - today.setHours(0, 0, 0, 0)) / 86_400_000)
  const year = date.getFullYear() === today.getFullYear() ? undefined : "numeric"
  const name =
    days === 0 || days === -1
      ? relativeDay.format(days, "day")
      : date.toLocaleDateString(locale, {weekday: "long", day: "numeric", month: "long", year})
  return name.charAt(0).toLocaleUpperCase(locale) + name.slice(1)
}

/** Formats each kind of time once: a browser's first use of a format takes long. */
export function warmUp() {
  clock.format()
  moment.format()
  dayName(new Date())
}

export function make(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties)
}

function localiseTimes(node) {
  const time = node.querySelector(".meta time")
  const at = new Date(time.dateTime)
  time.textContent = clock.format(at)
  time.title = moment.format(at)
  for (const written of node.querySelectorAll(".body time")) {
    written.textContent = moment.format(new Date(written.dateTime))
  }
}

/** A number of bytes as people read it: "12 KB". */
export function sizeName(bytes) {
  let unit = 0
  for (; bytes >= 1000; unit++) bytes = Math.round(bytes / 1024)
  return `${bytes} ${["B", "KB", "MB", "GB"][unit]}`
}

/** A picture of the page itself may have failed before this script ran. */
function offerIfFailed(picture) {
  if (picture.complete && !picture.naturalWidth) picture.decode().catch(() => offer(picture))
}

/** Puts the link of a file in the place of a picture that this browser cannot show, or of a player that fails. */
function offer(media) {
  if (media.matches("audio, video")) return offerLater(media)
  if (!media.matches(".bb-image, .bb-icon") || media.src.startsWith("blob:")) return
  const isNamed = media.alt && media.nextSibling?.textContent.trim().startsWith(media.alt)
  media.replaceWith(media.matches(".bb-icon") ? (isNamed ? "" : media.alt) : make("span", {className: "bb-file", textContent: media.alt}))
}

/** A player whose link stands below it goes, unless it is the network that fails: then it may play later. */
function offerLater(player) {
  if (navigator.onLine && player.error?.code !== 2 /* MEDIA_ERR_NETWORK */) return player.remove()
  addEventListener("online", () => player.load(), {once: true})
}

/** What a bubble shows of a file that is not sent yet. */
function describeFile(file) {
  const label = make("span", {className: "bb-file", textContent: `${file.name} (${sizeName(file.size)})`})
  if (!SHOWN_PICTURES.test(file.type)) return [label]
  const picture = make("img", {className: "bb-image", alt: "", src: URL.createObjectURL(file)})
  picture.onerror = () => picture.remove()
  return [picture, label]
}

/** Leaves the visitor's own picture in its bubble until the server's has loaded, so that nothing jumps. */
function keepOwnPicture(shown, wanted) {
  const own = shown.querySelector('img[src^="blob:"]')
  const stored = wanted.querySelector("img")
  if (!own || !stored) return
  stored.replaceWith(own)
  own.alt = stored.alt
  document.adoptNode(stored).loading = "eager"
  stored.onload = () => {
    stored.loading = "lazy"
    own.replaceWith(stored)
    URL.revokeObjectURL(own.src)
  }
  stored.src = stored.getAttribute("src") // setting the same value makes the browser load it
}

/** Why something that is not tried again by itself did not work. */
export function failureText({reason}) {
  return texts[`error_menu_${reason}`] ?? texts.error_menu
}
