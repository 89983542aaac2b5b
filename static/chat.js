/** The chat page: owns the DOM and joins the parts. Text enters by textContent, the server's HTML in `parse`. */

import {connect, escort, Refused} from "./api.js"
import {arrange, merge} from "./conversation.js"
import {apart, begin, drawerName, site} from "./embed.js"
import {describe, faultOf, keepPicture, shrink, takeFiles} from "./files.js"
import {loadOlder, prepareMenu} from "./history.js"
import {openDrawer, Outbox} from "./kept.js"
import {listen} from "./stream.js"

const COUNT_LAST = 500 // characters left when the counter appears
const NEAR_BOTTOM_PX = 48
const MOST_ROWS = 6
const PAGE = 50 // messages of one answer
const OWN_FILE = '[href*="?type=file&"]'
const PARTS = [".from", ".body", ".meta", ".reason"]

const {ajax, files, lang, limit, texts} = JSON.parse(document.getElementById("config").textContent)
const locale = navigator.languages.find((language) => language.split("-")[0] === lang) ?? lang
const clock = new Intl.DateTimeFormat(locale, {hour: "numeric", minute: "2-digit"})
const moment = new Intl.DateTimeFormat(locale, {dateStyle: "long", timeStyle: "short"})
const relative = new Intl.RelativeTimeFormat(locale, {numeric: "auto"})

class LiveChat extends HTMLElement {
  #life
  #api
  #outbox
  #look
  #kept
  #drafts
  #messages = []
  #chat
  #end = 0 // the place that last was the log's end; Infinity when scrolled away from it

  connectedCallback() {
    this.#life = new AbortController()
    const {signal} = this.#life
    const part = (selector) => this.querySelector(selector)
    this.log = part(".log")
    this.list = part(".list")
    this.welcome = part(".welcome")
    this.jump = part(".jump")
    this.status = part(".status")
    this.form = part(".composer")
    this.who = part(".who")
    this.nameField = part("#name")
    this.field = part("#message")
    this.count = part(".count")
    this.bubble = part("template").content.firstElementChild
    this.older = part(".older")
    this.menuButton = part(".more")
    this.consent = part(".consent")

    this.#kept ??= openDrawer("localStorage", drawerName())
    this.#drafts ??= openDrawer("sessionStorage", drawerName())
    this.#api = connect(ajax, signal)
    this.#outbox = new Outbox({
      drawer: this.#kept,
      turn: drawerName() + apart,
      send: (item) => (item.file ? this.#upload(item) : this.#api.send(item)),
      signal,
      on: {sent: this.#sent, gone: this.#gone, later: this.#later, refused: this.#refused},
    })

    this.#messages = [...this.list.querySelectorAll(".message")].map(read)
    if (site) this.older.hidden = this.#messages.length < PAGE
    for (const {clientId} of this.#messages) this.#outbox.take(clientId) // its answer was lost
    for (const item of this.#outbox.items) this.#showUnsent(item)
    this.#arrange()
    this.#prepareForm(signal)
    this.#prepareLog(signal)
    this.#prepareMenu(signal)
    const on = {open: this.#stream, of: this.#named, show: this.#changed, say: this.#reached}
    this.#look = listen({name: drawerName() + apart, ...on, signal})
    window.addEventListener("beforeunload", this.#unloading, {signal})
    for (const event of ["online", "offline"]) window.addEventListener(event, this.#connectionChanged, {signal})
    if (!navigator.onLine) this.#say("offline")
    this.#outbox.run()
    setTimeout(() => [clock.format(), moment.format(), dayName(new Date())]) // the first use is slow
    this.dataset.ready = ""
  }

  disconnectedCallback() {
    this.#life.abort()
  }

  // The form

  #prepareForm(signal) {
    this.form.noValidate = true
    this.field.removeAttribute("maxlength") // it would cut a pasted text without a word
    this.field.value ||= this.#drafts.get("draft", "")
    this.nameField.value ||= this.#kept.get("name", "")
    this.#fieldChanged()
    this.#showName()
    this.form.addEventListener("submit", this.#submit, {signal})
    this.field.addEventListener("input", this.#fieldChanged, {signal})
    this.field.addEventListener("keydown", this.#keyInField, {signal})
    this.nameField.addEventListener("keydown", this.#keyInName, {signal})
    this.nameField.addEventListener("change", this.#nameChanged, {signal})
    this.who.addEventListener("toggle", this.#whoToggled, {signal})
    const onFile = (file) => {
      if (this.#agreed()) this.#post("", file)
      else this.#consentBox.addEventListener("change", () => onFile(file), {once: true, signal})
    }
    if (files) takeFiles({root: this, input: this.querySelector(".clip input"), onFile, signal})
  }

  #submit = (event) => {
    event.preventDefault()
    const message = this.field.value
    if (message.trim() && message.length <= limit && this.#agreed()) {
      this.field.value = ""
      this.#fieldChanged()
      this.#post(message)
      this.#nameChanged()
    }
    this.field.focus()
  }

  /** Whether all is agreed to that has to be; else says so. */
  #agreed() {
    const missing = this.#consentBox?.checked === false
    this.#warn(missing ? texts.consent_first : "")
    if (missing) setTimeout(() => this.#consentBox.focus())
    return !missing
  }

  get #consentBox() {
    return this.consent?.hidden === false ? this.consent.querySelector("input") : null
  }

  /** Says what went wrong, above the field; with "" takes it back. */
  #warn(text) {
    let alert = this.form.querySelector(".alert")
    if (!alert && text) this.form.prepend((alert = make("p", {className: "alert", role: "alert"})))
    if (alert) alert.textContent = text
  }

  #post(message, file, client_id = uuid()) {
    const item = {client_id, name: this.nameField.value.trim(), message, at: Date.now()}
    if (file) Object.assign(item, {file, cancel: new AbortController()})
    const fault = file && faultOf(file, files)
    if (fault) item.refused = files[fault]
    if (this.#consentBox?.checked) item.consent = "yes"
    this.#showUnsent(item)
    this.#arrange()
    this.#toBottom()
    if (!fault) this.#outbox.add(item)
  }

  async #upload(item) {
    const {node} = this.#unsent(item)
    explain(node, texts.file_keep_open, "cancel")
    const progress = make("progress", {max: 1, ariaLabel: texts.file_keep_open})
    node.querySelector(".reason").prepend(progress)
    item.file = await shrink(item.file)
    item.cancel.signal.throwIfAborted()
    if (item.file.size > files.bytes) throw new Refused(files.large)
    return this.#api.upload(item, (part) => (progress.value = part), item.cancel.signal)
  }

  /** Texts are kept and sent later; a file is not. */
  #unloading = (event) => {
    if (this.#messages.some(({cancel, state}) => cancel && state === "waiting")) event.preventDefault()
  }

  #keyInField = (event) => {
    const composing = event.isComposing || event.keyCode === 229
    if (event.key !== "Enter" || event.shiftKey || composing || matchMedia("(pointer: coarse)").matches) return
    event.preventDefault()
    this.form.requestSubmit()
  }

  #keyInName = (event) => {
    if (event.key !== "Enter" || event.isComposing) return
    event.preventDefault()
    this.#nameChanged()
    this.field.focus()
  }

  #fieldChanged = () => {
    const {value} = this.field
    this.#drafts.set("draft", value)
    const left = limit - value.length
    this.count.hidden = left > COUNT_LAST
    this.count.textContent = left < 0 ? `${texts.characters_over} ${-left}` : `${texts.characters_left} ${left}`
    this.field.setAttribute("aria-invalid", left < 0)
    this.form.classList.toggle("over", left < 0)
    this.form.classList.toggle("empty", !value.trim())
    if (!CSS.supports("field-sizing", "content")) this.#fitField()
  }

  #fitField() {
    this.field.rows = 1
    while (this.field.rows < MOST_ROWS && this.field.scrollHeight > this.field.clientHeight) this.field.rows++
  }

  #nameChanged = () => {
    const name = this.nameField.value.trim()
    if (name !== this.#kept.get("name", "")) this.#kept.set("name", name)
    this.#showName()
  }

  /** Asked openly until the first message, then a line that opens. */
  #showName() {
    const name = this.nameField.value.trim()
    const line = this.who.querySelector(".as")
    line.textContent = name ? `${texts.writing_as} ` : texts.add_name
    if (name) line.append(make("b", {dir: "auto", textContent: name}))
    this.who.open = !this.#messages.length && !(name && document.activeElement !== this.nameField)
  }

  #whoToggled = () => {
    if (this.who.open && this.#messages.length) this.nameField.focus()
  }

  // The conversation

  #prepareLog(signal) {
    this.#toBottom()
    const pin = () => this.#follows && this.#toBottom()
    const sizes = new ResizeObserver(pin)
    sizes.observe(this.log)
    signal.addEventListener("abort", () => sizes.disconnect())
    this.log.addEventListener("load", pin, {signal, capture: true}) // pictures arrive late
    this.log.addEventListener("scroll", this.#scrolled, {signal, passive: true})
    this.log.addEventListener("click", this.#clicked, {signal})
    this.log.addEventListener("submit", this.#voted, {signal})
    loadOlder({link: this.older, log: this.log, texts, signal, more: this.#more})
    this.jump.addEventListener("click", this.#jumped, {signal})
  }

  /** Whether to scroll to what is new. A scroll is told of a frame late, so its place counts, not the event. */
  get #follows() {
    const {scrollHeight, scrollTop, clientHeight} = this.log
    return scrollTop >= this.#end || scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX
  }

  #scrolled = () => {
    const follows = this.#follows
    this.#end = follows ? this.log.scrollTop : Infinity
    if (follows) this.jump.hidden = true
  }

  #toBottom() {
    if (this.#messages.length) this.log.scrollTop = this.log.scrollHeight // the welcome is read from its start
    this.#end = this.log.scrollTop
    this.jump.hidden = true
  }

  #jumped = () => {
    this.#toBottom()
    this.log.focus({preventScroll: true})
  }

  #clicked = ({target}) => {
    const button = target.closest("button")
    const node = target.closest(".message")
    if (!button || !node || button.type === "submit") return
    const message = this.#messages.find((known) => known.node === node)
    const text = message.text ?? node.querySelector(".body").innerText
    if (button.name === "take_back") {
      this.#forget(message)
      this.field.value = [this.field.value, text].filter((some) => some.trim()).join("\n")
      this.#fieldChanged()
      this.field.focus()
    } else if (button.name === "cancel" || button.name === "remove") {
      this.#forget(message)
      this.field.focus()
    } else if (message.id === null) {
      if (node.dataset.state === "refused") this.#moveToEnd(message)
      this.#mark(message, "waiting")
      this.#outbox.retry(message.clientId)
      this.field.focus()
    } else {
      this.#sendAgain(message, text, button)
    }
  }

  /** The portal refused it for good: it goes again, as a new message, with the file that the server has. */
  async #sendAgain({node, clientId}, text, button) {
    const link = node.querySelector(OWN_FILE)
    button.remove()
    try {
      const file = link && (await (await import("./upload.js")).fetchFile(link))
      this.#post(link ? text.replace(link.innerText, "").trim() : text, file, next(clientId))
    } catch {
      explain(node, texts.error_menu, "retry")
    }
    this.field.focus()
  }

  #voted = (event) => {
    event.preventDefault()
    this.#post(event.submitter.value)
    this.log.focus({preventScroll: true})
  }

  /** Shows the messages before the oldest shown, without a jump. */
  #more = async () => {
    const html = await this.#api.history({before: this.#messages.find(({id}) => id !== null).id})
    const {messages, changes} = merge(this.#messages, parse(html))
    const {scrollHeight, scrollTop} = this.log
    this.log.style.overflowAnchor = "none" // we keep the place ourselves: not all browsers do
    for (const {message, after} of changes) (after?.node ?? this.welcome).after(message.node)
    this.#messages = messages
    this.#arrange()
    this.older.hidden = changes.length < PAGE
    this.log.scrollTop = scrollTop + this.log.scrollHeight - scrollHeight
    requestAnimationFrame(() => (this.log.style.overflowAnchor = ""))
  }

  #prepareMenu(signal) {
    prepareMenu({root: this, api: this.#api, texts, signal, failed: (text) => this.#warn(text), deleted: this.#deleted})
    window.addEventListener("storage", this.#keptElsewhere, {signal})
  }

  #keptElsewhere = ({key, newValue}) => {
    if (key !== `${drawerName()}begun`) return
    if (newValue === null) this.#deleted()
    else this.#look()
  }

  /** The visitor deleted the conversation: all is as on the first day. */
  #deleted = () => {
    this.#kept.clear()
    this.#drafts.clear()
    this.field.value = this.nameField.value = ""
    escort.gone()
    this.#chat = null
    this.#empty()
    this.field.focus()
  }

  /** Another chat than before: that one was deleted on another device. What is unsent here goes into this one. */
  #named = (chat) => {
    const other = this.#chat && this.#chat !== chat
    this.#chat = chat
    if (other) this.#empty()
  }

  #empty() {
    this.disconnectedCallback() // whatever is under way is of the deleted conversation
    for (const {node} of this.#messages) node.remove()
    this.older.hidden = true
    if (this.consent) this.#askConsent(true)
    this.#warn("")
    this.connectedCallback()
    this.#say("ready")
    this.status.textContent = texts.chat_deleted
  }

  #askConsent(ask) {
    const box = this.consent.querySelector("input")
    this.consent.hidden = !ask
    box.required = ask
    box.checked = false
  }

  /** Until somebody wrote there is no chat, and nothing to ask for; another tab or device may have begun it. */
  #begun() {
    const known = this.#chat || "X-Chat-Token" in escort.headers
    return known || this.#messages.some(({id}) => id !== null) || this.#kept.get("begun", false)
  }

  #stream = async (once, signal) => {
    if (!this.#begun()) return null
    const revision = () => Math.max(0, ...this.#messages.map((message) => Number(message.revision)))
    if (!revision()) this.#show(parse(await this.#api.history()))
    return this.#api.stream(revision(), once, signal)
  }

  #changed = (html) => {
    const oldest = this.#messages.find(({position}) => position !== null)?.position ?? -Infinity
    const known = ({id}) => this.#messages.some((message) => message.id === id)
    this.#show(parse(html).filter((message) => message.position >= oldest || known(message)))
  }

  #reached = (works) => {
    this.#say(works ? "ready" : navigator.onLine ? "reconnecting" : "offline")
  }

  #show(incoming) {
    for (const {clientId} of incoming) this.#outbox.take(clientId) // it arrived, whatever we were told
    const {messages, changes} = merge(this.#messages, incoming)
    if (!this.#messages.length) this.older.hidden = incoming.length < PAGE
    const stay = this.#follows
    let news = false
    for (const {message, instead, after} of changes) {
      if (instead) {
        message.node = patch(instead.node, message.node)
      } else {
        message.node.classList.add("arrives")
        if (after) after.node.after(message.node)
        else this.welcome.after(message.node)
        news = true
      }
    }
    this.#messages = messages
    if (changes.length) this.#arrange()
    if (stay) this.#toBottom()
    else if (news) this.jump.hidden = false
  }

  #showUnsent(item) {
    const node = this.bubble.cloneNode(true)
    const at = new Date(item.at)
    node.dataset.clientId = item.client_id
    node.querySelector(".body").append(...(item.file ? describe(item.file) : [item.message]))
    node.querySelector(".meta").prepend(make("time", {dateTime: at.toISOString()}), " ")
    localise(node)
    const message = {...read(node), text: item.message, cancel: item.cancel}
    this.#messages.push(message)
    this.list.append(node)
    if ("refused" in item) this.#explainRefusal(message, item.refused)
  }

  #moveToEnd(message) {
    this.#messages = [...this.#messages.filter((other) => other !== message), message]
    this.list.append(message.node)
    this.#arrange()
    this.#toBottom()
  }

  #forget(message) {
    this.#outbox.take(message.clientId)
    message.cancel?.abort()
    this.#messages = this.#messages.filter((other) => other !== message)
    message.node.remove()
    this.#arrange()
  }

  /** Day lines, grouping, what was sent again, and the welcome when there is nothing else. */
  #arrange() {
    this.welcome.hidden = this.#messages.length > 0
    this.menuButton.hidden = !this.#messages.length
    this.#markVotes()
    const days = new Map([...this.list.querySelectorAll(".day")].map((day) => [day.nextElementSibling, day]))
    arrange(this.#messages).forEach(({newDay, follows}, index) => {
      const {node, at, state, clientId} = this.#messages[index]
      node.classList.toggle("follows", follows)
      if (state === "refused" && this.#unsent({client_id: next(clientId)})) {
        node.querySelector("[name=retry]")?.remove()
      }
      if (!newDay) return
      const label = dayName(at)
      const day = days.get(node) ?? make("h2", {className: "day"})
      if (day.textContent !== label) day.textContent = label
      if (day.nextElementSibling !== node) node.before(day)
      days.delete(node)
    })
    for (const leftOver of days.values()) leftOver.remove()
  }

  /** The first `1` or `0` after the portal asked for a vote is the vote, and shown as one. */
  #markVotes() {
    let asked = false
    for (const {node, author} of this.#messages) {
      if (node.querySelector(".vote")) asked = true
      const body = node.querySelector(".body")
      const vote = asked && author === "visitor" && /^\s*([01])(\s|$)/.exec(body.textContent)
      node.classList.toggle("voted", !!vote)
      if (!vote) continue
      asked = false
      if (vote[1] === body.textContent.trim() && !node.querySelector(".cast")) {
        body.after(make("div", {className: `cast v${vote[1]}`, textContent: texts[`vote_${vote[1]}`]}))
      }
    }
  }

  // What became of a message

  #unsent({client_id}) {
    return this.#messages.find(({clientId}) => clientId === client_id)
  }

  #sent = (item, result) => {
    const message = this.#unsent(item)
    if (message?.id === null) {
      message.id = result.id
      message.node.dataset.id = result.id
      this.#mark(message, result.state)
    }
    this.#kept.set("begun", true)
    if (this.consent) this.#askConsent(false)
    this.#say("ready")
    this.#look()
  }

  #gone = (item) => {
    const message = this.#unsent(item)
    if (message?.id === null) this.#forget(message)
    this.#look()
  }

  #later = (item, reason) => {
    const message = this.#unsent(item)
    const {cancel} = message
    const keep = cancel ? ` ${texts.file_keep_open}` : ""
    explain(message.node, texts[`error_${reason}`] + keep, "retry", cancel ? "cancel" : "take_back")
    if (reason === "network") this.#say(navigator.onLine ? "reconnecting" : "offline")
    if (this.#follows) this.#toBottom()
  }

  #refused = (item) => {
    this.#explainRefusal(this.#unsent(item), item.refused)
    if (this.#follows) this.#toBottom()
  }

  #explainRefusal(message, reason) {
    this.#mark(message, "refused")
    explain(message.node, reason || texts.error_refused, ...(message.cancel ? ["remove"] : ["retry", "take_back"]))
  }

  #mark(message, state) {
    message.state = message.node.dataset.state = state
    const tick = message.node.querySelector(".tick")
    tick.title = tick.firstElementChild.textContent = texts[`state_${state}`]
    message.node.querySelector(".reason").replaceChildren()
  }

  // The connection

  #connectionChanged = () => {
    this.#say(navigator.onLine ? "ready" : "offline")
    if (navigator.onLine) this.#outbox.run()
  }

  #say(connection) {
    if (this.status.dataset.connection === connection) return
    this.status.dataset.connection = connection
    this.status.textContent = texts[`status_${connection}`]
  }
}

// Bubbles

/** Where the server's HTML enters the page, but for the first history of an embedded one (embed.js). */
function parse(html) {
  const template = document.createElement("template")
  template.innerHTML = html
  return [...template.content.querySelectorAll(".message")].map(read)
}

/** A bubble as data, its time made local and its button added. */
function read(node) {
  localise(node)
  const {id, position, revision = "", author, state = "", clientId = ""} = node.dataset
  const reason = node.querySelector(".reason")
  if (id && state === "refused") explain(node, reason.textContent, "retry")
  return {
    id: id ? Number(id) : null,
    position: position ? Number(position) : null,
    revision,
    author,
    state,
    clientId,
    name: node.querySelector(".from").textContent,
    at: new Date(node.querySelector(".meta time").dateTime),
    node,
  }
}

function localise(node) {
  const time = node.querySelector(".meta time")
  const at = new Date(time.dateTime)
  time.textContent = clock.format(at)
  time.title = moment.format(at)
  for (const written of node.querySelectorAll(".body time")) {
    written.textContent = moment.format(new Date(written.dateTime))
  }
}

/** Makes `node` show what `fresh` shows and touches only what differs, so that a selection stays. */
function patch(node, fresh) {
  for (const {name, value} of fresh.attributes) node.setAttribute(name, value)
  for (const part of PARTS) {
    const [shown, wanted] = [node, fresh].map((bubble) => bubble.querySelector(part))
    if (part === ".body") keepPicture(shown, wanted)
    if (shown && shown.innerHTML !== wanted.innerHTML) shown.replaceChildren(...wanted.childNodes)
  }
  return node
}

function explain(node, text, ...buttons) {
  node.querySelector(".reason").replaceChildren(
    make("span", {textContent: text}),
    ...buttons.map((name) => make("button", {type: "button", name, textContent: texts[name]})),
  )
}

function make(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties)
}

function dayName(date) {
  const today = new Date()
  const days = Math.round((new Date(date).setHours(0, 0, 0, 0) - today.setHours(0, 0, 0, 0)) / 86_400_000)
  const year = date.getFullYear() === today.getFullYear() ? undefined : "numeric"
  const name =
    days === 0 || days === -1
      ? relative.format(days, "day")
      : date.toLocaleDateString(locale, {weekday: "long", day: "numeric", month: "long", year})
  return name.charAt(0).toLocaleUpperCase(locale) + name.slice(1)
}

/** crypto.randomUUID exists under HTTPS only. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")
}

/** By this id a refused message goes again: once, from whatever tab, before or after a reload. */
function next(clientId) {
  return clientId.replace(/(.)(.{11})$/, "$2$1") || uuid()
}

begin(() => customElements.define("live-chat", LiveChat))
