/**
 * The chat's panel on a site's page: the frame, the messages between page and frame, and the full screen on phones.
 * loader.js imports it when the visitor reaches for the chat. embed.js is the other side, in the frame.
 *
 * Whenever something changes the page sends the frame all that it knows. The frame sends what happened, one thing at a
 * time; its first message means that it is alive. A page that was opened before an update has an older loader.js and
 * imports this file, so new code may use only what older loaders share.
 */

// What letters are typed into; a chat that a script opens does not take them away.
const TYPED_IN = "input:not([type=button], [type=checkbox], [type=radio], [type=submit]), textarea, [contenteditable]"
// Safari knows one policy for pages that are isolated, `require-corp`; this property is Chromium's alone.
const KNOWS_CREDENTIALLESS = "credentialless" in HTMLIFrameElement.prototype
const REVIVE_MS = 5_000 // a frame that sends nothing for this time, or up to twice this time, is loaded again
const ANSWER_MS = 2_000 // a frame that has loaded and sends nothing for this time may be one that is forbidden

export class Panel {
  #launcher;
  #screen;
  #frame = null;
  #port = null;
  #connecting; // the text under the frame while there is nothing to explain
  #needsPolicy = self.crossOriginIsolated && !KNOWS_CREDENTIALLESS; // the page shows no frame without such a policy
  #isReady = false; // the chat in the frame has started
  #opener = null; // what had the page's focus when the chat was opened
  #waitedOnce = false; // a frame that is still loading gets one more pause
  #wasStored; // what the page keeps was in its storage when we looked last
  #reset; // the log-out that we saw last and that no frame has told the server yet
  #titlePrefix = ""; // the count of unread answers that we put before the page's title

  /** `launcher` has what loader.js shares: its elements, its state, what it keeps, and its `draw`. */
  constructor(launcher) {
    const {memory} = launcher
    const {read} = memory
    this.#launcher = launcher
    this.#wasStored = Boolean(memory.kept.token) // it has come from there
    this.#reset = memory.kept.reset
    memory.read = () => this.#read(read) // for loader.js, too
    this.#screen = new FullScreen(launcher.root, () => this.#isFull)
    launcher.small.addEventListener("change", () => {
      this.#screen.update()
      this.tell()
    })
    // A page that comes back as it was left has not heard what other tabs did, such as a log-out.
    addEventListener("pageshow", ({persisted}) => persisted && this.#cameBack())
    document.addEventListener("securitypolicyviolation", (event) => this.#forbidden(event))
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
        src: `${base}?embed=1&lang=${state.lang || ""}${this.#needsPolicy ? "&isolated=1" : ""}`,
      })
      section.querySelector("iframe")?.remove()
      section.append(this.#frame)
    }
    return this.#frame
  }

  /** The visitor or the site has opened or closed the chat. */
  opened() {
    const {state} = this.#launcher
    this.#screen.update()
    if (state.open) {
      this.#opener = focused()
      this.load()
    }
    this.tell()
    if (state.open) this.#giveFocus()
    else this.#takeFocusBack()
  }

  /**
   * Gives the frame the focus as soon as the chat in it can take it. The visitor keeps it who types on the page, or who
   * has gone on to another part of the page meanwhile.
   */
  #giveFocus(mayWait = true) {
    const {root, state} = this.#launcher
    const now = focused()
    const isElsewhere = now && now !== this.#opener && !root.shadowRoot.contains(now)
    if (!this.#isReady || !state.open || isElsewhere || now?.matches(TYPED_IN)) return
    this.#frame.focus()
    // Firefox refuses this until it has noticed that the frame is visible again.
    if (mayWait && focused() !== this.#frame) setTimeout(() => this.#giveFocus(false))
    else this.tell({focus: true})
  }

  /** A focus that is in the closed chat goes back to where it came from, else to the launcher. */
  #takeFocusBack() {
    const {button, root, state} = this.#launcher
    const isIn = () => root.shadowRoot.activeElement === this.#frame
    if (!this.#frame || !isIn()) return
    this.#frame.blur() // Safari leaves the keys to a frame that is hidden
    this.#opener?.focus({preventScroll: true})
    if (!focused()) (state.launcher ? document.querySelector(state.launcher) : button)?.focus()
  }

  /** Tells the frame all that the page knows. */
  tell(more) {
    this.#port?.postMessage({...this.#knowledge(), ...more, heard: this.#port.heard})
  }

  #knowledge() {
    const {memory, state} = this.#launcher
    const kept = memory.read() // first: it may change what is known of the visitor
    const page = location.origin + location.pathname
    return {...state, ...kept, who: sayable(state.who), full: this.#isFull, focus: false, page}
  }

  // What the page keeps. All tabs share it, and what a tab or a frame says of it may come late: after a log-out.

  /** What is kept now. Another tab may have removed it, or have asked for a log-out, and this one has not heard yet. */
  #read(read) {
    const {memory, place, state} = this.#launcher
    const {reset, token} = memory.kept
    if (this.#wasStored && (token || reset) && isStored(place) === false) memory.kept = {}
    const kept = read()
    const isNew = kept.reset && !this.#reset
    this.#reset = kept.reset
    if (isNew) {
      state.who = 0 // who had logged in has logged out, maybe in another tab
      memory.keep({reset: kept.reset}) // stored until a frame has done what it asks for
    }
    this.#wasStored = isStored(place)
    return kept
  }

  /** The page comes back as it was left. It has not heard what other tabs did meanwhile. */
  #cameBack() {
    const {memory, state} = this.#launcher
    const {token} = memory.kept
    if (token && !memory.read().token) state.who = 0
    this.tell()
  }

  /**
   * Keeps what the frame asks for. A token that was on its way when its visitor logged out, here or in another tab, is
   * not kept; `was` is the one that the frame took for ours. Tells the frame what is kept of the visitor then.
   */
  #keep({keep, was}, port) {
    const {memory, place} = this.#launcher
    const {reset, token} = memory.read()
    const isOver = reset || (was && visitorIn(was) !== visitorIn(token))
    const isOfVisitor = "token" in keep || "reset" in keep
    if (!(isOver && "token" in keep)) memory.keep(keep)
    this.#wasStored = isStored(place)
    if (isOfVisitor) port.heard++
    if (isOfVisitor || isOver) this.tell()
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
    port1.onmessage = ({data}) => this.#hear(data, port1)
    port1.heard = 0 // how often we have heard of a token or of a log-out
    page.postMessage(this.#knowledge(), this.#launcher.base.origin, [port2])
    setTimeout(() => this.#launcher.view.alive || this.#askWhetherListed(), ANSWER_MS)
  }

  /** A browser does not say why it shows no frame. Our server says whether the site may: as a module, for any policy. */
  async #askWhetherListed() {
    const {base, section} = this.#launcher
    if (section.className) return // it has been said why
    const asked = import(`${base}ajax?type=site&at=${Date.now()}`)
    const isListed = await asked.then((answer) => answer.default, () => null) // null: the server is away
    if (isListed === false) {
      this.#explain(
        ["This site is not set up for the chat yet.", "Этот сайт ещё не подключён к чату."],
        `${base} does not know this site. Its settings need chat.sites = ["${location.origin}"]`,
      )
    } else if (isListed && !KNOWS_CREDENTIALLESS && !this.#needsPolicy) {
      this.#needsPolicy = true
      this.#loadAnew()
    }
  }

  /** The page's own policy forbids something of ours. */
  #forbidden({blockedURI, disposition, effectiveDirective}) {
    const {base: {origin}, section, view} = this.#launcher
    if (disposition !== "enforce" || !blockedURI.startsWith(origin) || view.alive || section.className) return
    this.#explain(
      ["This page's settings do not allow the chat.", "Настройки этой страницы не разрешают чат."],
      `the page's Content-Security-Policy needs ${origin} in ${effectiveDirective}`,
    )
  }

  /** Tells the visitor, in English or Russian, and the site's developer why the chat does not come. */
  #explain([english, russian], reason) {
    const {section, state} = this.#launcher
    const text = /^ru/.test(state.lang || navigator.language) ? russian : english
    this.#connecting = section.firstChild.data
    section.firstChild.data = text
    section.className = "told"
    console.error("SiteChat:", reason)
  }

  /** What was explained is so no longer. */
  #takeBack() {
    const {section} = this.#launcher
    section.firstChild.data = this.#connecting
    section.className = ""
  }

  #hear(message, port) {
    const {api, draw, fire, memory, section, view} = this.#launcher
    view.alive = !message.gone
    if (section.className) this.#takeBack()
    if (message.gone) this.#isReady = false
    if (message.keep) this.#keep(message, port)
    if (message.set) api.set(message.set)
    if (message.close) api.close()
    // Automated browsers wait after Back until the page itself has moved. A router would hear of this, so only for them.
    if (message.back && navigator.webdriver) History.prototype.replaceState.call(history, history.state, "")
    if ("unread" in message && message.unread !== view.unread) this.#showUnread(message)
    draw()
    if (message.event === "ready") {
      this.#isReady = true
      this.#giveFocus()
    }
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
    // After a log-out the frame tells the server.
    if (state.open || memory.read().reset) this.#loadAnew()
  }

  #loadAnew() {
    this.#port = this.#frame = null
    this.#isReady = false
    this.load()
  }
}

/** On phones the open chat fills the screen: the page behind it is inert and does not scroll. */
class FullScreen {
  #root;
  #wanted;
  #isFull = false;
  #overflow = ""; // of the page, as the site wants it
  #scrolled = null; // where the page was, if it jumps when it may not scroll
  #inert = []; // what we have made inert

  /** `root` is what holds the chat. `wanted()` says whether it should fill the screen. */
  constructor(root, wanted) {
    this.#root = root
    this.#wanted = wanted
    const watcher = new MutationObserver(() => this.#isFull && this.#cover())
    for (const parent of [document.documentElement, document.body]) watcher.observe(parent, {childList: true})
  }

  /** Fills the screen or leaves it, as `wanted()` says. */
  update() {
    const full = this.#wanted()
    if (full === this.#isFull) return
    this.#isFull = full
    if (full) {
      this.#lock()
      this.#cover()
    } else {
      for (const element of this.#inert) element.inert = false
      this.#inert = []
      this.#unlock()
    }
  }

  #lock() {
    const {scrollX, scrollY} = window
    const {style} = document.documentElement
    this.#overflow = style.overflow
    style.overflow = "hidden"
    this.#scrolled = window.scrollY === scrollY ? null : [scrollX, scrollY]
  }

  /** The site may have set its own overflow meanwhile. */
  #unlock() {
    const {style} = document.documentElement
    if (style.overflow === "hidden") style.overflow = this.#overflow
    if (this.#scrolled) scrollTo({left: this.#scrolled[0], top: this.#scrolled[1], behavior: "instant"})
  }

  /** Makes inert what is not ours: the body, or all else in it. A framework may have replaced it meanwhile. */
  #cover() {
    const {body} = document
    const others = this.#root.parentNode === body ? [...body.children].filter((one) => one !== this.#root) : [body]
    for (const element of others) {
      if (!element || element.inert) continue
      element.inert = true
      this.#inert.push(element)
    }
  }
}

/** The element that has the page's focus, also in open shadow trees; undefined if none has it. */
function focused() {
  let element = document.activeElement
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
  return element === document.body || element === document.documentElement ? undefined : element
}

/** Whether the site's storage has an entry; undefined if it is blocked. */
function isStored(name) {
  try {
    return localStorage[name] !== undefined
  } catch {
    return undefined
  }
}

/** Whom a token names: its last two parts are its time and signature. */
function visitorIn(token) {
  return String(token || "").split(".").slice(0, -2).join()
}

/** What the site says of its visitor, as far as a frame can be told: texts and numbers. */
function sayable(who) {
  const isSayable = ([, value]) => /string|number/.test(typeof value)
  return who && Object.fromEntries(Object.entries(who).filter(isSayable))
}
