/**
 * The chat's panel on a site's page: the frame, the messages between page and frame, and the full screen on phones.
 * loader.js imports it when the visitor reaches for the chat. embed.js is the other side, in the frame.
 *
 * Whenever something changes the page sends the frame all that it knows. The frame sends what happened, one thing at a
 * time; its first message means that it is alive. A page that was opened before an update has an older loader.js and
 * imports this file, so new code may use only what older loaders share.
 */

const REVIVE_MS = 5_000 // a frame that sends nothing for this time, or up to twice this time, is loaded again
const ANSWER_MS = 2_000 // a frame that has loaded and sends nothing for this time may be one that is forbidden

export class Panel {
  #launcher;
  #screen;
  #frame = null;
  #port = null;
  #waitedOnce = false; // a frame that is still loading gets one more pause
  #titlePrefix = ""; // the count of unread answers that we put before the page's title

  /** `launcher` has what loader.js shares: its elements, its state, what it keeps, and its `draw`. */
  constructor(launcher) {
    this.#launcher = launcher
    this.#screen = new FullScreen(() => this.#isFull)
    launcher.small.addEventListener("change", () => {
      this.#screen.update()
      this.tell()
    })
    // A page that comes back as it was left has not heard what other tabs did, such as a log-out.
    addEventListener("pageshow", ({persisted}) => persisted && this.tell())
    document.addEventListener("securitypolicyviolation", (event) => this.#forbidden(event))
    setInterval(() => this.#revive(), REVIVE_MS * (1 + Math.random()))
  }

  /** The frame, made by the first call. */
  load() {
    const {base, name, section, state} = this.#launcher
    if (!this.#frame) {
      // Chromium alone has this property, and loads frames without credentials on pages that are isolated.
      const isStrict = self.crossOriginIsolated && !("credentialless" in HTMLIFrameElement.prototype)
      this.#frame = Object.assign(document.createElement("iframe"), {
        title: name,
        allow: "clipboard-write; autoplay",
        onload: ({target}) => this.#greet(target.contentWindow),
        src: `${base}?embed=1&lang=${state.lang || ""}${isStrict ? "&isolated=1" : ""}`,
      })
      section.querySelector("iframe")?.remove()
      section.append(this.#frame)
    }
    return this.#frame
  }

  /** The visitor or the site has opened or closed the chat. */
  opened() {
    const {button, root, state} = this.#launcher
    this.#screen.update()
    if (state.open) this.load().focus()
    else if (document.activeElement === root) button.focus()
    this.tell()
  }

  /** Tells the frame all that the page knows. */
  tell() {
    this.#port?.postMessage(this.#knowledge())
  }

  #knowledge() {
    const {memory, state} = this.#launcher
    return {...state, ...memory.read(), full: this.#isFull, page: location.origin + location.pathname}
  }

  /** Whether the chat fills the screen. */
  get #isFull() {
    const {small, state} = this.#launcher
    return Boolean(state.open && small.matches)
  }

  /** The frame has loaded. Its window `page` gets a channel to us, but only if its page is of our origin. */
  #greet(page) {
    const {port1, port2} = new MessageChannel()
    this.#port = port1
    this.#launcher.view.alive = false
    port1.onmessage = ({data}) => this.#hear(data)
    page.postMessage(this.#knowledge(), this.#launcher.base.origin, [port2])
    setTimeout(() => this.#launcher.view.alive || this.#askWhetherListed(), ANSWER_MS)
  }

  /** A browser does not say why it shows no frame. Our server says whether the site may: as a module, for any policy. */
  async #askWhetherListed() {
    const {base, section} = this.#launcher
    if (section.className) return // it has been said why
    const asked = import(`${base}ajax?type=site&at=${Date.now()}`)
    const isListed = await asked.then((answer) => answer.default, () => true) // the server is away, or an older one
    if (isListed) return
    this.#explain(
      ["This site is not set up for the chat yet.", "Этот сайт ещё не подключён к чату."],
      `${base} does not know this site. Its settings need chat.sites = ["${location.origin}"]`,
    )
  }

  /** The page's own policy forbids something of ours. */
  #forbidden({blockedURI, effectiveDirective}) {
    const {origin} = this.#launcher.base
    if (!blockedURI.startsWith(origin) || this.#launcher.view.alive || this.#launcher.section.className) return
    this.#explain(
      ["This page's settings do not allow the chat.", "Настройки этой страницы не разрешают чат."],
      `the page's Content-Security-Policy needs ${origin} in ${effectiveDirective}`,
    )
  }

  /** Tells the visitor, in English or Russian, and the site's developer why the chat does not come. */
  #explain([english, russian], reason) {
    const {section, state} = this.#launcher
    const text = /^ru/.test(state.lang || navigator.language) ? russian : english
    section.firstChild.data = text
    section.className = "told"
    console.error("SiteChat:", reason)
  }

  #hear(message) {
    const {api, draw, fire, memory, view} = this.#launcher
    view.alive = !message.gone
    if (message.keep) memory.keep(message.keep)
    if (message.set) api.set(message.set)
    if (message.close) api.close()
    if (message.back) history.replaceState(history.state, "") // automated browsers wait until the page itself has moved
    if ("unread" in message && message.unread !== view.unread) this.#showUnread(message)
    draw()
    if (message.event) fire(message.event, message.detail)
    if (message.note && document.hidden && memory.kept.notifications) this.#notify(message.note)
  }

  #showUnread({unread, label}) {
    Object.assign(this.#launcher.view, {unread, label})
    const title = document.title.replace(this.#titlePrefix, "")
    this.#titlePrefix = unread ? `(${unread}) ` : ""
    document.title = this.#titlePrefix + title
    this.#launcher.fire("unread", unread)
  }

  /** Shows who answered, and how much is unread, outside the browser's window. */
  #notify(operator) {
    const {api, place, view} = this.#launcher
    try {
      new Notification(operator, {body: view.label, tag: place}).onclick = () => {
        focus()
        api.open()
      }
    } catch {
      // Android's browsers allow notifications from service workers only.
    }
  }

  /** Loads the frame again if it sends nothing: the server may have been down. */
  #revive() {
    const {memory, state, view} = this.#launcher
    if (view.alive) return
    if (!this.#port) {
      this.#waitedOnce = !this.#waitedOnce
      if (this.#waitedOnce) return
    }
    this.#port = this.#frame = null
    if (state.open || memory.read().reset) this.load() // after a log-out the frame tells the server
  }
}

/** On phones the open chat fills the screen: the page behind it is inert and does not scroll. */
class FullScreen {
  #wanted;
  #isFull = false;
  #overflow = ""; // of the page, as the site wants it

  /** `wanted()` says whether the chat should fill the screen. */
  constructor(wanted) {
    this.#wanted = wanted
    new MutationObserver(() => this.#cover()).observe(document.documentElement, {childList: true})
  }

  /** Fills the screen or leaves it, as `wanted()` says. */
  update() {
    const full = this.#wanted()
    if (full === this.#isFull) return
    this.#isFull = full
    const {style} = document.documentElement
    if (full) this.#overflow = style.overflow
    style.overflow = full ? "hidden" : this.#overflow
    this.#cover()
  }

  /** A framework may have put another body in the place of the one that was inert. */
  #cover() {
    if (document.body) document.body.inert = this.#isFull
  }
}
