// Draws the launcher on a site's page. What happens after the visitor's first touch is in panel.js.
(() => {
  const OUR_FILE = /(https?:\/\/[^\s"'<>]*?\/)static\/([0-9a-f]{12}\/)?loader\.js/ // where our server has this file
  const RETRY_MS = 5_000
  const CALM_MS = 10_000 // until no framework is expected to take over all of the page any more
  const LOOK_AFTER_MS = 2_000 // until we look for unread answers, because the page itself must load first
  const RECENT_MS = 86_400_000 // only a conversation younger than a day is looked at for unread answers
  const SCROLLBAR_PIXELS = 20 // the most that the window is higher than what is seen of the page
  const REMOVAL_MS = 60_000 // for so long each removal of the launcher doubles the pause before it comes back

  const complain = (...what) => console.error("SiteChat:", ...what)
  const queue = window.SiteChat
  if (queue?.open && queue.push) return // the page includes the loader twice
  const {base, data} = findOurselves()
  if (!base) return complain("name the chat's address: <script data-base=https://…>")

  const panelAddress = new URL("static/DIGEST/panel.js", base) // the server replaces DIGEST
  const place = "sitechat " + base // the key of our entry in the site's localStorage
  const state = {open: false} // what the site asks for; the frame is told, too
  const say = (english, russian) => (/^ru/.test(state.lang || navigator.language) ? russian : english)
  const name = () => say("Chat", "Чат")

  /** Our address and our script's attributes. A bundle does not bear our name, so a script names the address. */
  function findOurselves() {
    const own = document.currentScript // modules have none
    const file = OUR_FILE.exec(new Error().stack)
    const named = document.querySelector(file ? `script[src^="${file[0]}"]` : "script[data-base^=http]")
    const data = {...(own || named)?.dataset}
    try {
      return {base: new URL((data.base || file[1]).replace(/\/?$/, "/")), data}
    } catch {
      return {}
    }
  }

  const make = (tag) => document.createElement(tag)
  const fire = (event, detail) => dispatchEvent(new CustomEvent("sitechat:" + event, {detail}))
  const root = make("site-chat") // a name that no morphing takes for an element of the page
  const box = make("aside")
  const section = make("section")
  const button = make("button")
  const badge = make("b")
  const view = {alive: false, unread: 0, label: ""} // what the frame told last
  const small = matchMedia("(max-width: 480px), (max-height: 480px), (max-device-width: 480px)") // as in launcher.css
  const css = `LAUNCHER_CSS` // the server puts launcher.css in here: no further request, and no policy forbids it

  function draw() {
    const {bottom, color, launcher, open, side, theme} = state
    box.className = [side, open && "open", view.alive && "live", launcher && "bare"].join(" ")
    box.setAttribute("aria-label", name())
    button.setAttribute("aria-label", view.label || name())
    button.setAttribute("aria-expanded", open)
    badge.textContent = view.unread || ""
    const scheme = !theme || theme === "auto" ? "light dark" : theme
    const values = {color: color || "#0d4a57", bottom: bottom || "20px", scheme}
    for (const key of Object.keys(values)) root.style.setProperty("--" + key, values[key])
  }

  // How the chat looks is the site's wish. What cannot be is refused on the console, and what was before stands.

  const isPlain = (property, value) => CSS.supports(property, value) && !NOT_PLAIN.test(value)
  const NOT_PLAIN = /^(-|auto|inherit|initial|unset|revert|transp)|(var|attr|anchor)\(|env\((?!safe-)/i
  const CHECKS = {
    bottom: (value) => isPlain("bottom", value),
    color: (value) => isPlain("color", value),
    lang: (value) => /^\w+/.test(value),
    launcher: (value) => !document.createDocumentFragment().querySelector(value), // throws if it is no selector
    side: (value) => /^(left|right)$/.test(value),
    theme: (value) => /^(auto|light|dark)$/.test(value),
  }

  function take(look) {
    for (const key of Object.keys(look)) {
      if (!CHECKS[key]) continue
      const isNumber = key === "bottom" && /^[\d.]+$/.test(look[key])
      const value = isNumber ? look[key] + "px" : look[key] ?? ""
      try {
        if (value !== "" && !CHECKS[key](value)) throw value
        state[key] = value
      } catch {
        complain(`${key} cannot be "${value}"`)
      }
    }
  }

  // What the site's page keeps of the visitor: their token, the last message they saw, whether an answer rings.

  /** Old libraries, such as Prototype, put quotation marks into the texts of JSON; ours have none. */
  const parse = (json) =>
    JSON.parse(json, (key, value) => (typeof value === "string" ? value.replace(/["\\]/g, "") : value))

  const memory = {
    kept: {},
    read() {
      try {
        memory.kept = parse(localStorage[place] || null) || memory.kept
      } catch {
        memory.blocked = true
      }
      return memory.kept
    },
    keep(changes) {
      const kept = Object.assign(memory.read(), changes)
      try {
        if (kept.token || kept.reset) localStorage[place] = JSON.stringify(kept)
        else delete localStorage[place]
      } catch {} // storage is blocked, so `kept` lasts only until the page closes
    },
  }

  // The panel is imported when the visitor reaches for the chat, or when there may be unread answers.

  let panel, importing
  let tries = 0

  /** Loads the panel and its frame. Each try has another address, because browsers remember a failed import. */
  function load() {
    if (panel) return panel.load()
    if (document.readyState === "complete") settle()
    importing ??= import(panelAddress + (tries ? "?" + tries : "")).then(
      ({Panel}) => {
        panel = new Panel({api, base, button, draw, fire, memory, name: name(), place, root, section, small, state, view})
        panel.load()
        if (state.open) panel.opened()
      },
      () => {
        if (!tries++) complain(`${panelAddress} does not load: is ${base.origin} in script-src?`)
        importing = null
        setTimeout(() => state.open && load(), RETRY_MS * (1 + Math.random()))
      },
    )
  }

  function show(open) {
    if (open === state.open) return
    state.open = open
    draw()
    if (panel) panel.opened()
    else load()
    fire(open ? "open" : "close")
  }

  const calls = {
    __proto__: null,
    open: () => show(true),
    close: () => show(false),
    toggle: () => show(!state.open),
    identify(who) {
      state.who = Object.assign(who) // which throws if there is nobody
      panel?.tell()
    },
    set(changes) {
      const {sound, notifications} = {...memory.kept, ...changes}
      if (notifications && !memory.kept.notifications) window.Notification?.requestPermission()
      take(changes)
      memory.keep({sound: !!sound, notifications: !!notifications})
      draw()
      panel?.tell()
    },
    on: (event, listener) => addEventListener("sitechat:" + event, listener),
    off: (event, listener) => removeEventListener("sitechat:" + event, listener),
    reset() {
      state.who = 0
      let {token, reset} = memory.read()
      reset = token || reset || 1 // the server ends the log-in of this token as soon as it can be told
      if (token || memory.blocked) {
        memory.keep({token: 0, at: 0, reset})
        load()
      } else memory.kept = {reset}
      panel?.tell()
    },
  }

  /** Does what the site asks for, such as ["open"]. A bad call is reported and harms no other. */
  function call(wish) {
    try {
      const [name, ...values] = wish
      calls[name](...values)
    } catch (error) {
      complain(wish, error)
    }
  }

  const api = {push: (...wishes) => wishes.forEach(call)}
  for (const name of Object.keys(calls)) api[name] = (...values) => call([name, ...values])

  // Where the launcher stands: first at the end of the body, where React's hydration of a whole document takes no
  // offence; later, or if something has removed it, beside the body, where it stays when a framework replaces the body.

  let isSettled = false
  let removals = 0
  let returning

  function mount() {
    const isFocused = document.activeElement === root
    const parent = isSettled ? document.documentElement : document.body
    parent.append(root)
    root.dir = getComputedStyle(document.body).direction
    if (isFocused) button.focus()
    // A body with a transform, say, holds what is fixed to the window; one that is not shown yet hides it.
    if (Math.abs(box.offsetHeight - innerHeight) > SCROLLBAR_PIXELS) settle()
  }

  /** Moves the launcher beside the body. A frame would load again, so it stays where it is. */
  function settle() {
    if (isSettled || importing) return
    isSettled = true
    mount()
  }

  const watcher = new MutationObserver(watch)

  /** Watches the three places from which a framework can remove the launcher, which then comes back. */
  function watch() {
    for (const parent of [document, document.documentElement, document.body]) {
      if (parent) watcher.observe(parent, {childList: true})
    }
    for (const copy of document.querySelectorAll("site-chat")) {
      if (copy !== root) copy.remove() // a framework has kept the page with the launcher in it
    }
    if (root.isConnected || returning) return
    returning = setTimeout(() => {
      returning = 0
      isSettled = true
      if (document.body && !root.isConnected) mount()
    }, 2 ** removals++)
    setTimeout(() => removals--, REMOVAL_MS)
  }

  /** Styles that no Content-Security-Policy forbids, except in browsers that do not know them yet. */
  function dress(shadow) {
    try {
      const style = new CSSStyleSheet()
      style.replaceSync(css)
      shadow.adoptedStyleSheets = [style]
    } catch {
      shadow.append(make("style"))
      shadow.lastChild.textContent = css
    }
  }

  /** Draws the launcher. The page's body is there. */
  function begin() {
    const shadow = root.attachShadow({mode: "open"})
    dress(shadow)
    shadow.append(box)
    draw()
    mount()
    watch()
    setTimeout(settle, CALM_MS)
    if (memory.kept.reset || memory.kept.at > Date.now() - RECENT_MS) setTimeout(load, LOOK_AFTER_MS)
  }

  const callAll = (wishes) => Array.isArray(wishes) && wishes.forEach(call)

  badge.setAttribute("role", "status")
  button.append(make("i"))
  button.onclick = () => show(!state.open)
  button.onpointerenter = load
  box.append(button, badge, section)
  root.addEventListener("keydown", ({key}) => key === "Escape" && show(false))
  addEventListener("storage", ({key, newValue}) => {
    if (key !== place) return
    memory.kept = parse(newValue) || {} // another tab of the site has changed it
    panel?.tell()
  })
  addEventListener("click", (event) => {
    const {launcher} = state
    const path = event.composedPath()
    if (!launcher || !path.some((node) => node.matches?.(launcher))) return
    event.preventDefault() // it may be a link, which is then no matter of the site's router
    if (path.some((node) => node.href)) event.stopPropagation()
    show(!state.open)
  }, true)
  window.SiteChat = Object.freeze(api)
  try {
    Object.defineProperty(window, "SiteChat", {get: () => api, set: callAll}) // the site may set a second queue
  } catch {} // not if it has declared its queue by `var`
  take(data)
  memory.read()
  callAll(queue)
  section.textContent = say("Connecting…", "Соединяемся…")
  if (document.body) begin()
  else addEventListener("DOMContentLoaded", begin)
})()
