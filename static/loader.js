// The launcher; its other side is embed.js
(() => {
  const {src, dataset} = document.currentScript
  const base = new URL("..", src)
  const place = "sitechat " + base
  const state = {open: false, ...dataset}
  const [name, wait] = /^ru/.test(state.lang || navigator.language) ? ["Чат", "Соединяемся…"] : ["Chat", "Connecting…"]
  let [kept, unread, prefix] = [{}, 0, ""]
  let covered, label, blocked, alive, frame, port, was, pushed, going, late

  function read() {
    try {
      kept = JSON.parse(localStorage[place] || null) || kept
    } catch {
      blocked = true
    }
  }

  function keep(more) {
    read()
    Object.assign(kept, more)
    try {
      if (kept.token || kept.reset) localStorage[place] = JSON.stringify(kept)
      else delete localStorage[place]
    } catch {}
  }

  const fire = (event, detail) => dispatchEvent(new CustomEvent("sitechat:" + event, {detail}))
  const make = (tag, more) => Object.assign(document.createElement(tag), more)
  const root = make("div")
  const box = make("aside", {ariaLabel: name})
  const panel = make("section")
  const button = make("button", {onclick: () => show(!state.open), onpointerenter: load})
  const badge = make("b", {role: "status"})
  const small = matchMedia("(max-width:480px),(max-height:480px)")
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(`
    :host{all:initial!important;color-scheme:light dark!important;color:#fff!important}
    aside>*{position:fixed;z-index:2147483000;inset-inline-end:20px;bottom:20px;box-sizing:border-box;text-align:center}
    .left>*{left:20px;right:auto}.right>*{right:20px;left:auto}
    button,section{background:var(--c);color:lab(from var(--c) calc((49.5 - l)*99) 0 0)}
    button{width:60px;height:60px;border:1px solid #fff6;border-radius:50%;cursor:pointer;box-shadow:0 4px 16px #0005}
    button:focus-visible{outline:3px solid #fff;box-shadow:0 0 0 6px var(--c)}
    i{display:block;width:28px;height:28px;margin:auto;background:currentColor;
      clip-path:path(evenodd,"M6 3h16q5 0 5 5v8q0 5-5 5h-7l-6 5v-5h-3q-5 0-5-5v-8q0-5 5-5zM7 10v4h3v-4zm5.5 0v4h3v-4zm5.5 0v4h3v-4z")}
    .open i{clip-path:path("M5 9l2-2 7 7 7-7 2 2-9 9z")}
    b{bottom:62px;min-width:24px;border-radius:12px;background:#c4221b;font:600 14px/24px system-ui}
    section{z-index:2147482999;bottom:92px;width:400px;height:min(680px,100dvh - 112px);border-radius:20px;overflow:hidden;
      font:16px/60px system-ui;box-shadow:0 4px 48px #0005,0 0 0 1px #8884;transition:.2s}
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
    box.className = [state.side, state.open && "open", alive && "live"].join(" ")
    button.ariaLabel = label || name
    button.ariaExpanded = state.open
    badge.textContent = unread || ""
    root.style.setProperty("--c", state.color || "#0d4a57")
  }

  function load() {
    if (!frame)
      panel.replaceChildren(wait, (frame = make("iframe", {
        title: name, allow: "clipboard-write; autoplay", onload: greet, src: base + "?embed=1&lang=" + (state.lang || ""),
      })))
    return frame
  }

  function greet({target}) {
    const {port1, port2} = new MessageChannel()
    port = port1
    alive = 0
    port.onmessage = ({data}) => {
      alive = !data.gone
      if (data.keep) keep(data.keep)
      if (data.set) api.set(data.set)
      if (data.close) show(false)
      if ("unread" in data && data.unread != unread) {
        ;({unread, label} = data)
        const title = document.title.replace(prefix, "")
        document.title = (prefix = unread ? `(${unread}) ` : "") + title
        fire("unread", unread)
      }
      draw()
      if (data.event) fire(data.event, data.detail)
      if (data.note && document.hidden && kept.notifications)
        try {
          new Notification(data.note, {body: label, tag: place}).onclick = () => focus(show(true))
        } catch {}
    }
    target.contentWindow.postMessage(told(), base.origin, [port2])
  }

  const tell = () => port?.postMessage(told())
  function told() {
    read()
    return {...state, ...kept, page: location.origin + location.pathname}
  }

  function show(open) {
    if (open === state.open) return
    state.open = open
    draw()
    fill()
    if (open) load().focus()
    else if (document.activeElement === root) button.focus()
    tell()
    fire(open ? "open" : "close")
  }

  function fill() {
    const full = state.open && small.matches
    if (going || full === covered) return
    covered = full
    const {style} = document.documentElement
    document.body.inert = full
    if (full) {
      was = style.overflow
      history.pushState(history.state, "")
      pushed = true
    } else if (pushed) history.back((going = true))
    style.overflow = full ? "hidden" : was
  }

  small.onchange = fill
  root.addEventListener("keydown", ({key}) => key === "Escape" && show(false))
  addEventListener("storage", ({key, newValue}) => {
    if (key === place) tell((kept = JSON.parse(newValue) || {}))
  })
  addEventListener("popstate", () => {
    pushed = false
    if (going) fill((going = false))
    else if (covered) show(false)
  })

  const api = {
    open: () => show(true),
    close: () => show(false),
    toggle: () => show(!state.open),
    identify(who) {
      state.who = who
      tell()
    },
    set({sound = kept.sound, notifications = kept.notifications, ...look}) {
      if (notifications && !kept.notifications) window.Notification?.requestPermission()
      Object.assign(state, look)
      keep({sound, notifications})
      draw()
      tell()
    },
    on: (event, listener) => addEventListener("sitechat:" + event, listener),
    off: (event, listener) => removeEventListener("sitechat:" + event, listener),
    reset() {
      state.who = 0
      if (kept.token || blocked) {
        keep({token: 0, at: 0, reset: 1})
        load()
      } else kept = {reset: 1}
      tell()
    },
  }
  const push = ([method, ...values]) => api[method](...values)
  function begin() {
    const queue = window.SiteChat || []
    if (queue.open) return
    window.SiteChat = Object.freeze(Object.assign(Object.create({push}), api))
    button.append(make("i"))
    box.append(button, badge, panel)
    const shadow = root.attachShadow({mode: "open"})
    shadow.adoptedStyleSheets = [sheet]
    shadow.append(box)
    document.documentElement.append(root)
    draw()
    read()
    queue.forEach(push)
    setInterval(() => {
      if (alive || (!port && (late = !late))) return
      port = frame = 0
      if (state.open) load()
    }, 5e3 * (1 + Math.random()))
    if (kept.at > Date.now() - 864e5) setTimeout(load, 2e3)
  }
  if (document.body) begin()
  else addEventListener("DOMContentLoaded", begin)
})()
