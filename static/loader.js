// Draws the launcher on a site's page. What happens after the visitor's first touch is in panel.js.
(() => {
  const {src, dataset} = document.currentScript
  const base = new URL("..", src)
  const panelAddress = new URL("static/DIGEST/panel.js", base) // the server replaces DIGEST
  const place = "sitechat " + base // the key of our entry in the site's localStorage
  const state = {open: false, ...dataset} // what the site asks for; the frame is told, too
  const isRussian = /^ru/.test(state.lang || navigator.language)
  const [name, connecting] = isRussian ? ["Чат", "Соединяемся…"] : ["Chat", "Connecting…"]
  const RETRY_MS = 5_000
  const LOOK_AFTER_MS = 2_000 // until we look for unread answers, because the page itself must load first
  const RECENT_MS = 86_400_000 // only a conversation younger than a day is looked at for unread answers

  const make = (tag, properties) => Object.assign(document.createElement(tag), properties)
  const fire = (event, detail) => dispatchEvent(new CustomEvent("sitechat:" + event, {detail}))
  const root = make("div")
  const box = make("aside", {ariaLabel: name})
  const section = make("section", {textContent: connecting})
  const button = make("button", {onclick: () => show(!state.open), onpointerenter: load})
  const badge = make("b", {role: "status"})
  const view = {alive: false, unread: 0, label: ""} // what the frame told last
  const small = matchMedia("(max-width:480px),(max-height:480px)")
  const style = new CSSStyleSheet()
  style.replaceSync(`
    :host{all:initial!important;color-scheme:light dark!important;color:#fff!important}
    aside>*{position:fixed;z-index:2147483000;inset-inline-end:20px;bottom:20px;box-sizing:border-box;text-align:center}
    .left>*{left:20px;right:auto}
    .right>*{right:20px;left:auto}
    button,section{background:var(--color);color:lab(from var(--color) calc((49.5 - l)*99) 0 0)}
    button{width:60px;height:60px;border:1px solid #fff6;border-radius:50%;cursor:pointer;box-shadow:0 4px 16px #0005}
    button:focus-visible{outline:3px solid #fff;box-shadow:0 0 0 6px var(--color)}
    i{display:block;width:28px;height:28px;margin:auto;background:currentColor;
      clip-path:path(evenodd,"M6 3h16q5 0 5 5v8q0 5-5 5h-7l-6 5v-5h-3q-5 0-5-5v-8q0-5 5-5zM7 10v4h3v-4zm5.5 0v4h3v-4zm5.5 0v4h3v-4z")}
    .open i{clip-path:path("M5 9l2-2 7 7 7-7 2 2-9 9z")}
    b{bottom:62px;min-width:24px;border-radius:12px;background:#c4221b;font:600 14px/24px system-ui}
    section{z-index:2147482999;bottom:92px;width:400px;height:min(680px,100dvh - 112px);border-radius:20px;overflow:hidden;
      font:16px/60px system-ui;box-shadow:0 4px 48px #0005,0 0 0 1px #8884;transition:opacity .2s,translate .2s}
    :not(.open)>section{visibility:hidden;opacity:0;translate:0 1pc}
    iframe{display:block;width:100%;height:100%;margin-top:-60px;border:0;opacity:0}
    .live iframe{opacity:1}
    @media ${small.media}{
      .live.open button{visibility:hidden}
      section{inset:0!important;width:100%;height:100dvh;border-radius:0;padding:env(safe-area-inset-top) env(safe-area-inset-right) env(safe-area-inset-bottom) env(safe-area-inset-left)}
    }
    @media (prefers-reduced-motion){*{transition:none!important}}
    @media (forced-colors:active){i{background:ButtonText}section{border:1px solid}}
    @media print{*{display:none!important}}`)

  function draw() {
    box.className = [state.side, state.open && "open", view.alive && "live"].join(" ")
    button.ariaLabel = view.label || name
    button.ariaExpanded = state.open
    badge.textContent = view.unread || ""
    root.style.setProperty("--color", state.color || "#0d4a57")
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
    importing ??= import(panelAddress + (tries ? "?" + tries : "")).then(
      ({Panel}) => {
        panel = new Panel({api, base, button, draw, fire, memory, name, place, root, section, small, state, view})
        panel.load()
        if (state.open) panel.opened()
      },
      () => {
        tries++
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

  const api = {
    open: () => show(true),
    close: () => show(false),
    toggle: () => show(!state.open),
    identify(who) {
      state.who = who
      panel?.tell()
    },
    set({sound, notifications, ...look}) {
      const {kept} = memory
      if (notifications && !kept.notifications) window.Notification?.requestPermission()
      Object.assign(state, look)
      memory.keep({sound: sound ?? kept.sound, notifications: notifications ?? kept.notifications})
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

  const call = ([method, ...values]) => api[method](...values)

  function begin() {
    const queue = window.SiteChat || []
    if (queue.open) return // the page includes the loader twice
    window.SiteChat = Object.freeze(Object.assign(Object.create({push: call}), api))
    button.append(make("i"))
    box.append(button, badge, section)
    const shadow = root.attachShadow({mode: "open"})
    shadow.adoptedStyleSheets = [style]
    shadow.append(box)
    document.documentElement.append(root)
    root.addEventListener("keydown", ({key}) => key === "Escape" && show(false))
    addEventListener("storage", ({key, newValue}) => {
      if (key !== place) return
      memory.kept = JSON.parse(newValue) || {} // another tab of the site has changed it
      panel?.tell()
    })
    draw()
    memory.read()
    queue.forEach(call)
    if (memory.kept.reset || memory.kept.at > Date.now() - RECENT_MS) setTimeout(load, LOOK_AFTER_MS)
  }

  if (document.body) begin()
  else addEventListener("DOMContentLoaded", begin)
})()
