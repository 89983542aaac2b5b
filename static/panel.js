/**
 * The chat's panel on a site's page: the frame, what page and frame tell each other, and the full screen of phones.
 * loader.js imports it when the visitor reaches for the chat. The frame's side of it is embed.js.
 *
 * The page tells the frame all it knows whenever something changes. The frame tells what happened, one thing at a
 * time; the first word of the frame says that it is alive. A page that was opened before an update imports this file
 * by its older loader.js, so new code must do with what older loaders share.
 */

const REVIVE_MS = 5_000 // up to twice as long is waited before a frame that says nothing is loaded anew

export class Panel {
  #launcher;
  #screen;
  #frame = null;
  #port = null;
  #waitedOnce = false; // a frame that is on its way is given one pause more
  #titlePrefix = ""; // the count of unread answers that we put before the page's title

  /** `launcher` is what loader.js shares: its elements, its state, what it keeps, and how it is drawn. */
  constructor(launcher) {
    this.#launcher = launcher
    const {small, state} = launcher
    this.#screen = new FullScreen(() => state.open && small.matches, launcher.api.close)
    small.addEventListener("change", () => this.#screen.update())
    setInterval(() => this.#revive(), REVIVE_MS * (1 + Math.random()))
  }

  /** The frame; it is made if it is not here yet. */
  load() {
    const {base, name, section, state} = this.#launcher
    if (!this.#frame) {
      this.#frame = Object.assign(document.createElement("iframe"), {
        title: name,
        allow: "clipboard-write; autoplay",
        onload: ({target}) => this.#greet(target.contentWindow),
        src: `${base}?embed=1&lang=${state.lang || ""}`,
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
    return {...state, ...memory.read(), page: location.origin + location.pathname}
  }

  /** The frame has loaded a `page`, which gets a channel to us if that page is ours. */
  #greet(page) {
    const {port1, port2} = new MessageChannel()
    this.#port = port1
    this.#launcher.view.alive = false
    port1.onmessage = ({data}) => this.#hear(data)
    page.postMessage(this.#knowledge(), this.#launcher.base.origin, [port2])
  }

  #hear(message) {
    const {api, draw, fire, memory, view} = this.#launcher
    view.alive = !message.gone
    if (message.keep) memory.keep(message.keep)
    if (message.set) api.set(message.set)
    if (message.close) api.close()
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

  /** Loads the frame anew if it says nothing: the server may have been away. */
  #revive() {
    const {state, view} = this.#launcher
    if (view.alive) return
    if (!this.#port) {
      this.#waitedOnce = !this.#waitedOnce
      if (this.#waitedOnce) return
    }
    this.#port = this.#frame = null
    if (state.open) this.load()
  }
}

/**
 * On phones the open chat fills the screen: the page behind it keeps still, and the browser's way back closes it. For
 * that the chat has an entry of the page's history while it is open.
 */
class FullScreen {
  #wanted;
  #isFull = false;
  #overflow = ""; // of the page, as the site wants it
  #hasEntry = false;
  #isGoingBack = false; // the browser takes our entry away, and tells when that is done

  /** `wanted()` says whether the chat should fill the screen. `close` closes the chat. */
  constructor(wanted, close) {
    this.#wanted = wanted
    addEventListener("popstate", () => {
      this.#hasEntry = false
      if (this.#isGoingBack) {
        this.#isGoingBack = false
        this.update()
      } else if (this.#isFull) close()
    })
  }

  /** Makes the screen what is wanted. While the browser is going back, it waits for the end of that. */
  update() {
    const full = Boolean(this.#wanted())
    if (this.#isGoingBack || full === this.#isFull) return
    this.#isFull = full
    document.body.inert = full
    const {style} = document.documentElement
    if (full) {
      this.#overflow = style.overflow
      history.pushState(history.state, "")
      this.#hasEntry = true
    } else if (this.#hasEntry) {
      this.#isGoingBack = true
      history.back()
    }
    style.overflow = full ? "hidden" : this.#overflow
  }
}
