// Draws the launcher on a site's page. What happens after the visitor's first touch is in panel.js.
(() => {
  const OUR_FILE = /(https?:\/\/[^\s"'<>]*?\/)static\/([0-9a-f]{12}\/)?loader\.js/ // where our server has this file
  const RETRY_MS = 5_000
  const PATIENCE_MS = 10_000 // a page that is still loading after so long is taken for loaded
  const CALM_MS = 5_000 // after it has loaded, until no framework is expected to take over the whole page
  const LOOK_AFTER_MS = 2_000 // until we look for unread answers, because the page itself must load first
  const RECENT_MS = 86_400_000 // only a conversation younger than a day is looked at for unread answers
  const REMOVAL_MS = 60_000 // for so long each removal of the launcher doubles the pause before it comes back

  const complain = (...what) => console.error("SiteChat:", ...what)
  const queue = window.SiteChat
  if (queue?.open && queue.push) return // the page includes the loader twice
  const {base, data} = findOurselves()
  if (!base) return complain("name the chat's address: <script data-base=https://chat.example …>")

  const panelAddress = new URL("static/DIGEST/panel.js", base) // the server replaces DIGEST
  const place = "sitechat " + base // the key of our entry in the site's localStorage
  const state = {open: false} // what the site asks for; the frame is told, too
  const isRussian = /^ru/.test(data.lang || navigator.language)
  const [name, connecting] = isRussian ? ["Чат", "Соединяемся…"] : ["Chat", "Connecting…"]

  /** Our address and our script's attributes. Modules and bundles have no script that names this file. */
  function findOurselves() {
    const addressOf = ({dataset, src}) => /^https?:.*/.exec(dataset.base)?.[0] || OUR_FILE.exec(src)?.[1]
    const script = [document.currentScript, ...document.scripts].find((one) => one && addressOf(one))
    const address = script ? addressOf(script) : OUR_FILE.exec(new Error().stack)?.[1]
    try {
      return {base: new URL(address.replace(/\/?$/, "/")), data: {...script?.dataset}}
    } catch {
      return {}
    }
  }

  const make = (tag) => document.createElement(tag)
  const fire = (event, detail) => dispatchEvent(new CustomEvent("sitechat:" + event, {detail}))
  const root = make("div")
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
    button.setAttribute("aria-label", view.label || name)
    button.setAttribute("aria-expanded", state.open)
    badge.textContent = view.unread || ""
    const scheme = !theme || theme === "auto" ? "light dark" : theme
    const values = {color: color || "#0d4a57", bottom: bottom || "20px", scheme}
    for (const key of Object.keys(values)) root.style.setProperty("--" + key, values[key])
  }

  // How the chat looks is the site's wish. What cannot be is refused on the console, and what was before stands.

  const CHECKS = {
    bottom: (value) => CSS.supports("bottom", value),
    color: (value) => CSS.supports("color", value) && !/^(inherit|initial|unset|revert)|var\(/i.test(value),
    lang: (value) => /^[a-z-]+$/i.test(value),
    launcher: (value) => !document.createDocumentFragment().querySelector(value), // throws if it is no selector
    side: (value) => /^(left|right)$/.test(value),
    theme: (value) => /^(auto|light|dark)$/.test(value),
  }

  function take(look) {
    for (const key of Object.keys(CHECKS).filter((key) => key in look)) {
      const isNumber = key === "bottom" && look[key] >= 0 && look[key] !== ""
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

  const memory = {
    kept: {},
    read() {
      try {
        memory.kept = JSON.parse(localStorage[place] || null) || memory.kept
      } catch {
        memory.blocked = true
      }
      return memory.kept
    },
    keep(changes) {
      const kept = Object.assign(memory.read(), changes)
      try {
        if (kept.token || kept.reset) localStorage[place] = asJson(kept)
        else delete localStorage[place]
      } catch {} // storage is blocked, so `kept` lasts only until the page closes
    },
  }

  /** Texts without quotation marks, numbers and truth values as JSON; old libraries break the browser's own. */
  function asJson(kept) {
    const pairs = Object.keys(kept).map((key) => {
      const value = kept[key]
      return `"${key}":${typeof value === "string" ? `"${value}"` : value}`
    })
    return `{${pairs}}`
  }

  // The panel is imported when the visitor reaches for the chat, or when there may be unread answers.

  let panel, importing
  let tries = 0

  /** Loads the panel and its frame. Each try has another address, because browsers remember a failed import. */
  function load() {
    if (panel) return panel.load()
    importing ??= loaded.then(settle).then(() => import(panelAddress + (tries ? "?" + tries : ""))).then(
      ({Panel}) => {
        panel = new Panel({api, base, button, draw, fire, memory, name, place, root, section, small, state, view})
        panel.load()
        if (state.open) panel.opened()
      },
      () => {
        if (!tries++) complain(`${panelAddress} does not load. If the page has a policy, its script-src needs ${base.origin}`)
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
    open: () => show(true),
    close: () => show(false),
    toggle: () => show(!state.open),
    identify(who) {
      const isSaid = (key) => /string|number/.test(typeof who[key]) // a frame cannot be told anything
      state.who = {}
      for (const key of ["name", "email", "phone", "signature", "until"].filter(isSaid)) state.who[key] = who[key]
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
      let {token, reset} = memory.kept
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

  const api = {}
  for (const name of Object.keys(calls)) api[name] = (...values) => call([name, ...values])

  // Where the launcher stands. Until the page has loaded it is the last child of the body, where React's hydration of a
  // whole document takes no offence; then beside the body, where it and the frame stay if a framework replaces the body.

  let isSettled = false
  let removals = 0
  let returning

  const loaded = new Promise((done) => {
    if (document.readyState === "complete") done()
    addEventListener("load", done)
    setTimeout(done, PATIENCE_MS)
  })

  function mount() {
    const isFocused = document.activeElement === root
    if (isSettled) document.documentElement.append(root)
    else document.body.append(root)
    if (isFocused) button.focus()
  }

  function settle() {
    if (isSettled) return
    isSettled = true
    mount()
  }

  const watcher = new MutationObserver(watch)

  /** Watches the three places from which a framework can remove the launcher, which then comes back. */
  function watch() {
    for (const parent of [document, document.documentElement, document.body]) {
      if (parent) watcher.observe(parent, {childList: true})
    }
    if (root.isConnected || returning) return
    returning = setTimeout(() => {
      returning = 0
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
    mount()
    watch()
    draw()
    loaded.then(() => setTimeout(settle, CALM_MS))
    if (memory.kept.reset || memory.kept.at > Date.now() - RECENT_MS) setTimeout(load, LOOK_AFTER_MS)
  }

  root.dataset.sitechat = "" // for the site's developers, to tell it from what is theirs
  box.setAttribute("aria-label", name)
  badge.setAttribute("role", "status")
  section.textContent = connecting
  button.append(make("i"))
  button.onclick = () => show(!state.open)
  button.onpointerenter = load
  box.append(button, badge, section)
  root.addEventListener("keydown", ({key}) => key === "Escape" && show(false))
  addEventListener("storage", ({key, newValue}) => {
    if (key !== place) return
    memory.kept = JSON.parse(newValue) || {} // another tab of the site has changed it
    panel?.tell()
  })
  addEventListener("click", (event) => {
    const isOn = (node) => node.matches?.(state.launcher)
    if (!state.launcher || !event.composedPath().some(isOn)) return
    event.preventDefault() // it may be a link
    show(!state.open)
  })
  window.SiteChat = Object.freeze(Object.assign(Object.create({push: call}), api))
  take(data)
  memory.read()
  for (const wish of Array.isArray(queue) ? queue : []) call(wish)
  if (document.body) begin()
  else addEventListener("DOMContentLoaded", begin)
})()
