/**
 * The frame's side of an embedded chat: shakes hands with loader.js on the site's page, and knows the visitor by
 * the token that page keeps. Cookies may be blocked in frames, storage too: the token goes with every request.
 *
 * Only a page of an allowed site is heard and answered: over the channel it opened to our very origin. It says all
 * it knows whenever something changes; this side says what happened.
 */

import {connect, escort, Later} from "./api.js"
import {openDrawer} from "./kept.js"
import {Backoff} from "./retry.js"

const HEARSAY_MS = 300 // in which tabs hear from each other
const EMAIL = /^[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+$/
const PHONE = /^\+?[0-9 ()./-]{3,30}$/

const {ajax, lang, texts, sites} = JSON.parse(document.getElementById("config").textContent)
const chat = document.querySelector("live-chat")
const list = chat.querySelector(".list")
const api = connect(ajax, new AbortController().signal)

/** The site that embeds this page; "" where nobody does. */
export let site = ""

/** Not empty where each tab remembers a visitor of its own, and must not hear of the others'. */
export let apart = ""

let port
let told = {} // what the site's page said last
let seen // the last message that was seen, on whatever page of the site
let newest = 0
let proven // the signature found right
let customer = "" // for whom it was
let audio

/** Starts the chat; embedded, when its visitor is known and the history is here. */
export function begin(start) {
  if (window.parent === window) return start()
  if (!sites) {
    // Framed without the loader: cookies may be blocked, so this page remembers while it is open.
    apart = Math.random()
    escort.headers = {"X-Chat-Site": location.origin}
    escort.heard = (headers) => headers.has("X-Chat-Token") && know(headers.get("X-Chat-Token"))
    escort.gone = () => delete escort.headers["X-Chat-Token"]
    return start()
  }
  document.body.inert = true
  say("connecting")
  const greeted = async ({data, origin, source, ports: [channel]}) => {
    if (source !== window.parent || !sites.includes(origin) || !channel) return
    window.removeEventListener("message", greeted)
    site = origin
    port = channel
    port.postMessage({}) // we are here
    await meet(data)
    say("ready")
    document.body.inert = false
    start()
    attend()
  }
  window.addEventListener("message", greeted)
}

async function meet(first) {
  told = first
  escort.headers = {"X-Chat-Site": site, "X-Chat-Language": lang}
  escort.heard = (headers) => {
    const token = headers.get("X-Chat-Token")
    const wrote = seen !== undefined // or has only read
    if (!token || !(wrote || told.token)) return
    port.postMessage({keep: {token: know(token), ...(wrote && {seen, at: Date.now()})}})
  }
  escort.gone = () => {
    told = {...told, token: 0}
    if (proven) introduce() // a customer stays one
    else delete escort.headers["X-Chat-Token"]
    port.postMessage({keep: {token: 0, seen: 0, at: 0}})
  }
  if (first.reset) await forget()
  else if (first.token) know(first.token)
  if (first.who?.signature && (await identify(first.who))) {
    port.postMessage({event: "identify", detail: {email: first.who.email}})
  }
  introduce()
  list.insertAdjacentHTML("beforeend", await reach(() => api.history())) // as the server does on its own page
  newest = lastId()
  seen = first.seen ?? newest
}

function attend() {
  port.onmessage = ({data}) => {
    const before = told
    told = data
    const {signature} = data.who || {}
    const elsewhere = !proven && visitorOf(data.token) !== visitorOf(escort.headers["X-Chat-Token"])
    if (data.reset && !before.reset) {
      clearDrawers()
      leave() // at once: the server learns of it at the next meeting
    } else if (signature && signature !== before.who?.signature) {
      identify(data.who).then((really) => really && leave())
    } else if (data.token ? elsewhere : before.token) leave() // so in another tab
    else introduce()
    seen = Math.max(seen, data.seen ?? 0)
    if (data.open && !before.open) takeFocus()
    if (data.sound && !before.sound) play()
    look()
  }
  const close = () => port.postMessage({close: true})
  document.addEventListener("visibilitychange", look)
  document.addEventListener("keydown", (event) => {
    const inner = chat.querySelector(":popover-open, dialog[open]") // which Escape closes first
    if (event.key === "Escape" && !inner && !event.defaultPrevented && !event.isComposing) close()
  })
  for (const button of chat.querySelectorAll(".tool")) button.hidden = false
  chat.querySelector("[name=close]").addEventListener("click", close)
  chat.querySelector("[name=alerts]").addEventListener("click", () => {
    port.postMessage({set: {sound: !told.sound, notifications: !told.sound}})
  })
  new MutationObserver(look).observe(list, {childList: true})
  port.postMessage({event: "ready"})
  if (told.open) takeFocus()
  look()
}

// The visitor

function know(token) {
  return (escort.headers["X-Chat-Token"] = token)
}

/** For the operator. */
function introduce() {
  const {color, page = "", sound = false, who} = told
  const {name, email, phone} = !who?.signature || who.signature === proven ? who || {} : {}
  const field = chat.querySelector("#name")
  if (name && !field.value && !drawers()[0].get("name")) {
    field.value = name
    field.dispatchEvent(new Event("change"))
  }
  escort.fields = {
    ...(page.startsWith(`${site}/`) && {page}),
    ...(EMAIL.test(email) && {email}),
    ...(PHONE.test(phone) && {phone}),
  }
  chat.querySelector("[name=alerts]").setAttribute("aria-pressed", sound)
  chat.classList.toggle("branded", CSS.supports("color", color))
  chat.style.setProperty("--brand", color)
}

/** Becomes the customer for whom the site signs; false, and all stays, if the signature proves nothing. */
async function identify({email, signature}) {
  try {
    const {token, goes_on, customer: named} = await reach(() => api.ask({type: "identify", email, signature}))
    const anonymous = customer ? [] : drawers()
    customer = named
    anonymous.forEach((drawer, kind) => empty(drawer, goes_on && drawers()[kind]))
    if (told.token) port.postMessage({keep: {token}}) // in place of whoever wrote here before
    know(token)
    proven = signature
    return true
  } catch ({message}) {
    port.postMessage({event: "error", detail: {code: "identify", message}})
    return false
  }
}

/** Nobody's chat any more: no cookie, nothing of it in this browser. */
async function forget() {
  clearDrawers()
  await reach(() => api.ask({type: "forget"}))
  port.postMessage({keep: {reset: 0}})
}

/** Somebody else writes: all begins anew, and nothing goes on meanwhile. */
function leave() {
  port.postMessage({gone: true}) // what comes may be the browser's own error page
  port.close()
  chat.remove()
  location.reload()
}

function drawers(name = drawerName()) {
  return ["localStorage", "sessionStorage"].map((kind) => openDrawer(kind, name))
}

/** Who logs in takes along what they had begun; what another customer left is not for them. */
function empty(drawer, into) {
  for (const key of ["name", "draft", "outbox"]) {
    const value = drawer.get(key)
    drawer.set(key, "")
    if (into && value) into.set(key, value.push ? [...into.get(key, []), ...value] : into.get(key, value))
  }
}

function clearDrawers() {
  for (const drawer of drawers(siteName())) drawer.clear()
}

/** How the names begin of what the browser keeps: for each site and customer. */
export function drawerName() {
  return siteName() + (site && `${customer} `)
}

const siteName = () => `chat ${ajax.split("?")[0]} ${site && `${site} `}`

// A token's last parts are its time and signature.
function visitorOf(token = "") {
  return String(token).split(".").slice(0, -2).join()
}

/** Asks until the server can be reached. */
async function reach(ask) {
  for (const backoff = new Backoff(); ; ) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof Later)) throw error
      say("reconnecting")
      await backoff.pause(error.seconds)
    }
  }
}

function say(connection) {
  const status = chat.querySelector(".status")
  status.dataset.connection = connection
  status.textContent = texts[`status_${connection}`]
}

// What is new

/** Counts the answers nobody has seen yet and tells the site's page. */
function look() {
  const watched = told.open && !document.hidden
  const answers = [...list.querySelectorAll(".message.operator")]
  for (const answer of answers.filter(({dataset: {id}}) => id > newest)) {
    const name = answer.querySelector(".from").textContent
    port.postMessage({event: "message", detail: {id: Number(answer.dataset.id), name}, note: !watched && name})
    if (!watched && told.sound) setTimeout(ring, HEARSAY_MS * (1 + 2 * Math.random()))
  }
  newest = lastId()
  if (watched && seen !== newest) {
    seen = newest
    port.postMessage({keep: {seen, at: Date.now()}})
  }
  const unread = answers.filter(({dataset: {id}}) => id > seen).length
  port.postMessage({unread, label: unread ? `${document.title}. ${texts.new_messages}: ${unread}` : ""})
}

function lastId() {
  return Math.max(0, ...Array.from(list.querySelectorAll("[data-id]"), ({dataset: {id}}) => Number(id)))
}

function takeFocus() {
  const coarse = matchMedia("(pointer: coarse)").matches // there the field would bring up the keyboard
  chat.querySelector(coarse ? ".log" : "#message").focus({focusVisible: false})
}

/** Rings unless another tab has, or shows the answer: the site's pages hear of both from each other. */
function ring() {
  if (Math.max(seen, told.rang ?? 0) >= newest) return
  told.rang = newest
  port.postMessage({keep: {rang: newest}})
  play()
}

/** Two soft notes. Until the visitor has touched the page the browser keeps silent. */
async function play() {
  audio ??= new AudioContext()
  await audio.resume()
  for (const [pitch, delay] of [[660, 0], [880, 0.13]]) {
    const at = audio.currentTime + delay
    const [tone, volume] = [audio.createOscillator(), audio.createGain()]
    tone.frequency.value = pitch
    volume.gain.setValueAtTime(0.1, at)
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.4)
    tone.connect(volume).connect(audio.destination)
    tone.start(at)
    tone.stop(at + 0.4)
  }
}
