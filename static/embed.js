/**
 * Starts the chat in the loader's frame on another site's page. That page knows the visitor by a token that it keeps,
 * because browsers may block cookies and storage in frames; the token goes with every request.
 *
 * Only a page of an allowed site is heard and answered, over the channel that it opened to our origin. Whenever
 * something changes the page sends all that it knows (`panel.js`); the frame sends what happened.
 */

import {Api, Later} from "./api.js"
import {bubblesIn} from "./bubbles.js"
import {startChat} from "./chat.js"
import {ajax, lang, sites, texts} from "./config.js"
import {Backoff} from "./retry.js"
import {isListed} from "./sites.js"
import {lastId, play, Unread} from "./unread.js"
import {Visitor} from "./visitor.js"

const knowsPopovers = "popover" in HTMLElement.prototype

const chat = document.querySelector("live-chat")
const list = chat.querySelector(".list")

/** The visitor of another site's page. */
class EmbeddedVisitor extends Visitor {
  page; // what the site's page sent last, with what it was asked to keep since: its own state, and what it keeps
  seen; // the id of the last message that was seen on any page of the site; undefined until the history has come
  #port;
  #onMessage;
  #early = []; // what the page sent before the chat has started
  #told = 0; // how often the page was told of a token or of a log-out
  #forgotten; // the log-out of which the server was told
  #api;
  #signature; // the customer's, after the server has accepted it

  constructor(site, port, page) {
    super(ajax)
    this.site = site
    this.headers = {"X-Chat-Site": site, "X-Chat-Language": lang}
    this.page = page
    this.#api = new Api(ajax, {
      headers: () => this.headers,
      fields: () => this.fields,
      onResponse: (headers) => this.heardHeaders(headers),
      signal: new AbortController().signal,
    })
    this.connect(port)
  }

  get mark() {
    return this.customer ? "" : visitorIn(this.token) // customers share no name
  }

  /** From now on this is the way to the page and back. */
  connect(port) {
    this.#port = port
    this.#told = 0
    if (this.#onMessage) this.listen(this.#onMessage)
    this.tell({}) // any message tells the page that the frame is alive
  }

  tell(message) {
    const {keep = {}} = message
    if ("token" in keep || "reset" in keep) this.#told++
    this.#port.postMessage(message.keep ? {...message, was: this.page.token} : message)
    this.page = {...this.page, ...keep}
  }

  /** Until this is called, or `arrive`, the page's messages wait. */
  listen(onMessage) {
    this.#onMessage = onMessage
    this.#port.onmessage = ({data}) => onMessage(data)
    queueMicrotask(() => this.#early.splice(0).forEach(onMessage))
  }

  /** Finds out who the visitor is and shows their history, which on our own page the server has done. */
  async arrive() {
    const {reset, seen, token, who} = this.page
    this.#listenForReset()
    if (reset) await this.#forget(reset)
    else if (token) this.token = token
    if (who?.signature && (await this.#identify(who))) this.tell({event: "identify", detail: {email: who.email}})
    this.#introduce()
    list.append(...bubblesIn(await untilReached(() => this.#api.history())))
    this.seen = seen ?? lastId(list)
  }

  /** Whether the page has sent this before it heard what we told it last of the visitor. */
  #isOld(page) {
    return page.heard < this.#told // a former panel.js does not say it
  }

  /** What the page sends waits until the chat starts, but for a log-out: nothing is shown after it. */
  #listenForReset() {
    const {reset, token} = this.page
    this.listen((page) => {
      const isRemoved = token && !page.token && !this.#isOld(page) // another tab was faster
      if (page.reset ? page.reset !== reset : isRemoved) this.pageSaid(page)
      else this.#early.push(page)
    })
  }

  /** Takes what the site's page sends. If it means another visitor than before, the frame loads again. */
  pageSaid(said) {
    const before = this.page
    const page = this.#isOld(said) ? {...said, token: before.token} : said
    if (page !== said && page.reset === this.#forgotten) page.reset = 0
    this.page = page
    const signature = page.who?.signature
    const isAnother = !this.#signature && visitorIn(page.token) !== visitorIn(this.token)
    if (page.reset && page.reset !== before.reset) {
      if (page.reset === 1 && this.token) this.tell({keep: {reset: this.token}}) // the page knows no token to end
      this.#clearDrawers()
      this.#leave() // `arrive` tells the server of the log-out when the frame has loaded again
    } else if (page.token ? isAnother : before.token) {
      if (page.token) return void this.#leave() // another tab has another visitor now
      this.#clearDrawers()
      this.#leave(() => this.#forgetCookie()) // or nobody, since a log-out or a deletion
    } else if (signature && signature !== before.who?.signature) {
      this.#identify(page.who).then((proven) => proven && this.#leave())
    } else this.#introduce()
    this.seen = Math.max(this.seen, page.seen ?? 0)
  }

  /** A token is kept by the site's page once the visitor has written, or if the page keeps one already. */
  heardHeaders(headers) {
    const token = headers.get("X-Chat-Token")
    const hasArrived = this.seen !== undefined // until then the visitor has only read
    if (!token || !(hasArrived || this.page.token)) return
    this.token = token
    this.tell({keep: {token, ...(hasArrived && {seen: this.seen, at: Date.now()})}})
  }

  conversationDeleted() {
    if (this.#signature) this.#introduce() // the customer keeps their token
    else this.dropToken()
    this.tell({keep: {token: 0, seen: 0, at: 0}})
  }

  /** Applies the page's name, colour and sound, and puts what it says of the visitor into each message's fields. */
  #introduce() {
    const {color, page = "", sound = false, who} = this.page
    const isClaimed = who?.signature && who.signature !== this.#signature
    const {name, email, phone} = (!isClaimed && who) || {}
    const field = chat.querySelector("#name")
    if (typeof name === "string" && name && !field.value && !this.drawers()[0].get("name")) {
      field.value = name
      field.dispatchEvent(new Event("change"))
    }
    this.fields = {
      ...(page.startsWith(`${this.site}/`) && {page}),
      ...(email && {email}), // the server leaves out what Bitrix24 would refuse
      ...(phone && {phone}),
    }
    chat.querySelector("[name=alerts]").setAttribute("aria-pressed", sound)
    chat.classList.toggle("branded", CSS.supports("color", color))
    chat.style.setProperty("--brand", color)
  }

  /** Makes the visitor the customer for whom the site signs. Returns false, and changes nothing, if that fails. */
  async #identify({email, signature, until}) {
    try {
      const fields = {type: "identify", email, signature, ...(until != null && {until})}
      const {token, goes_on: goesOn, customer} = await untilReached(() => this.#api.ask(fields))
      const anonymous = this.customer ? [] : this.drawers()
      this.customer = customer
      anonymous.forEach((drawer, index) => moveUnsent(drawer, goesOn && this.drawers()[index]))
      if (this.page.token) this.tell({keep: {token}}) // replaces the token of the visitor before
      this.token = token
      this.#signature = signature
      return true
    } catch ({message}) {
      this.tell({event: "error", detail: {code: "identify", message}})
      return false
    }
  }

  /**
   * After a log-out: removes the cookie, and all that this browser keeps of the visitor. `reset` is the token whose
   * log-in the server ends, or 1 if there is none.
   */
  async #forget(reset) {
    this.#clearDrawers()
    if (reset !== 1) this.token = reset
    await untilReached(() => this.#api.ask({type: "forget"}))
    this.dropToken()
    this.#forgotten = reset
    this.tell({keep: {reset: 0}})
  }

  #clearDrawers() {
    for (const drawer of this.drawers(this.siteName)) drawer.clear()
  }

  /** What this frame did after a log-out that it missed may have brought the cookie back. */
  #forgetCookie() {
    this.dropToken()
    return this.#api.ask({type: "forget"}).catch(() => {})
  }

  /** Loads the frame again for another visitor, after `prepare`; until then the chat does nothing. */
  async #leave(prepare) {
    if (!chat.isConnected) return
    this.tell({gone: true}) // what the frame shows next may be the browser's own error page
    this.#port.close()
    chat.remove()
    await prepare?.()
    location.reload()
  }
}

/** Moves name, draft and unsent items to the drawer of the customer who logged in; without `to` they are removed. */
function moveUnsent(from, to) {
  for (const name of ["name", "draft", "outbox"]) {
    const value = from.get(name)
    from.set(name, "")
    if (!to || !value) continue
    to.set(name, Array.isArray(value) ? [...to.get(name, []), ...value] : to.get(name, value))
  }
}

/** A token's last two parts are its time and signature; those before them name the visitor. */
function visitorIn(token = "") {
  return String(token).split(".").slice(0, -2).join()
}

/** Asks until the server can be reached. */
async function untilReached(ask) {
  for (const backoff = new Backoff(); ; ) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof Later)) throw error
      showConnection("reconnecting")
      await backoff.pause(error.seconds)
    }
  }
}

function showConnection(connection) {
  const status = chat.querySelector(".status")
  status.dataset.connection = connection
  status.textContent = texts[`status_${connection}`]
}

/** The chat cannot start here, and waiting does not help: says why in place of all that would be of no use. */
function refuse(why) {
  showConnection("refused")
  chat.querySelector(".welcome h2").textContent = why
  for (const useless of chat.querySelectorAll(".welcome p, .composer, .tool")) useless.remove()
}

/** After the chat has started: listens to the page, and shows the buttons that only an embedded chat has. */
function attend(visitor) {
  const unread = new Unread(visitor, list, () => chat.holdsStream)
  const look = () => unread.look()
  const close = () => visitor.tell({close: true})
  let back // loaded when the chat fills the screen of a phone for the first time
  const letBackClose = async (isWanted) => {
    if (!back && !isWanted) return
    back ??= import("./back.js").then(({Back}) => new Back(() => visitor.tell({close: true, back: true})))
    const loaded = await back.catch(() => (back = null)) // the server is away: Back leaves the page
    loaded?.want(isWanted)
  }
  visitor.listen((page) => {
    const before = visitor.page
    visitor.pageSaid(page)
    letBackClose(Boolean(page.full))
    if (page.focus ?? (page.open && !before.open)) takeFocus() // an older panel.js says nothing of the focus
    if (page.sound && !before.sound) play()
    look()
  })
  document.addEventListener("visibilitychange", look)
  document.addEventListener("keydown", (event) => {
    // Escape closes these first. Browsers without popovers throw at their selector, and menu.js closes the menu there.
    const inner = chat.querySelector(`${knowsPopovers ? ":popover-open, " : ""}.question[open]`)
    if (event.key !== "Escape" || inner || event.defaultPrevented || event.isComposing) return
    event.preventDefault() // else back.js would hear of the key, too, and close what a script may have opened again
    close()
  })
  for (const button of chat.querySelectorAll(".tool")) button.hidden = false
  chat.querySelector("[name=close]").addEventListener("click", close)
  chat.querySelector("[name=alerts]").addEventListener("click", () => {
    const {sound} = visitor.page
    visitor.tell({set: {sound: !sound, notifications: !sound}})
  })
  new MutationObserver(look).observe(list, {childList: true})
  visitor.tell({event: "ready"})
  letBackClose(Boolean(visitor.page.full))
  if (visitor.page.focus ?? visitor.page.open) takeFocus()
  look()
}

/**
 * On touch screens the field would bring up the keyboard, so the conversation takes the focus there. The page has given
 * the frame the focus, but the frame may not have it yet; if both ask Firefox at once, neither gets it.
 */
function takeFocus() {
  if (!document.hasFocus()) return window.addEventListener("focus", takeFocus, {once: true})
  const isTouch = matchMedia("(pointer: coarse)").matches
  const target = chat.querySelector(isTouch ? ".log" : "#message")
  target.focus({focusVisible: false})
  // WebKit lets a frame's scripts move the focus only after the visitor has touched it; its own way to a fragment may.
  if (document.activeElement !== target && !isTouch) {
    location.replace("#message")
    target.setSelectionRange(target.value.length, target.value.length)
  }
}

let visitor

/**
 * The site's page opens a channel whenever it hears that the frame has loaded. Chromium tells it so, too, when the
 * browser has gone back within our history, and WebKit when the frame's fragment has changed.
 */
async function greeted({data, origin, source, ports: [port]}) {
  if (source !== window.parent || !port) return
  if (!isListed(origin, sites)) {
    port.postMessage({}) // nothing is told, but the page shows the frame, which says why
    return refuse(texts.site_unknown)
  }
  if (visitor) return chat.isConnected && visitor.connect(port)
  visitor = new EmbeddedVisitor(origin, port, data)
  try {
    // On a phone Back closes the chat as soon as it is there.
    await Promise.all([visitor.arrive(), data.full && import("./back.js").catch(() => null)])
    if (!chat.isConnected) return // the visitor has logged out meanwhile
  } catch ({message}) {
    return refuse(message)
  }
  showConnection("ready")
  document.body.inert = false
  startChat(visitor)
  attend(visitor)
}

if (window.parent === window) {
  startChat(new Visitor(ajax)) // the frame's address was opened as a page of its own
} else {
  document.body.inert = true
  showConnection("connecting")
  window.addEventListener("message", greeted) // the page greets after the frame has loaded, so this is early enough
}
