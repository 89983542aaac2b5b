/**
 * The chat's panel on a site's page: the frame, the messages between page and frame, and the full screen on phones.
 * loader.js imports it when the visitor reaches for the chat. embed.js is the other side, in the frame.
 *
 * Whenever something changes the page sends the frame all that it knows. The frame sends what happened, one thing at a
 * time; its first message means that it is alive. A page that was opened before an update has an older loader.js and
 * imports this file, so new code may use only what older loaders share.
 */

const REVIVE_MS = 5_000 // a frame that sends nothing for this time, or up to twice this time, is loaded again

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
    const {small, state} = launcher
    this.#screen = new FullScreen(() => state.open && small.matches, launcher.api.close)
    small.addEventListener("change", () => this.#screen.update())
    // A page that comes back as it was left has not heard what other tabs did, such as a log-out.
    addEventListener("pageshow", ({persisted}) => persisted && this.tell())
    setInterval(() => this.#revive(), REVIVE_MS * (1 + Math.random()))
  }

  /** The frame, made by the first call. */
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

  /** The frame has loaded. Its window `page` gets a channel to us, but only if its page is of our origin. */
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

/**
 * On phones the open chat fills the screen. The page behind it does not scroll, and the browser's Back closes the chat,
 * which has an entry in the page's history for that while it is open.
 */
class FullScreen {
  #wanted;
  #isFull = false;
  #overflow = ""; // of the page, as the site wants it
  #hasEntry = false;
  #isGoingBack = false; // the browser is removing our entry; `popstate` tells when that is done

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

  /** Fills the screen or leaves it, as `wanted()` says. While the browser goes back, `popstate` calls it later. */
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
