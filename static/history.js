/** The history as a whole: its older pages, and the menu that saves or deletes it. Knows no message. */

const AHEAD = "600px 0px 0px" // a page is asked for before its place is seen
const SETTLE_MS = 300

/** `more` shows the next older page, and hides the link if it was the last. */
export function loadOlder({link, log, texts, signal, more}) {
  let busy = false
  const observer = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && load(), {
    root: log,
    rootMargin: AHEAD,
  })

  async function load() {
    if (busy || link.hidden) return
    const focused = document.activeElement === link
    busy = log.ariaBusy = true
    log.ariaLive = "off" // what comes is not new
    link.textContent = texts.older_loading
    observer.unobserve(link)
    try {
      await more()
      link.textContent = texts.older
      observer.observe(link) // tells again if it is still near
    } catch {
      link.textContent = texts.older_failed // and waits to be pressed
    }
    if (focused && link.hidden) log.focus({preventScroll: true})
    busy = false
    setTimeout(() => {
      log.ariaBusy = null
      log.ariaLive = "polite"
    }, SETTLE_MS)
  }

  function pressed(event) {
    event.preventDefault()
    load()
  }

  observer.observe(link)
  link.addEventListener("click", pressed, {signal})
  signal.addEventListener("abort", () => observer.disconnect())
}

/** The browser itself opens and closes the menu and its question. */
export function prepareMenu({root, api, texts, signal, failed, deleted}) {
  const menu = root.querySelector(".menu")
  const dialog = root.querySelector("dialog")
  const alert = dialog.querySelector(".alert")

  async function save() {
    try {
      offer(await api.save())
    } catch {
      failed(texts.error_menu)
    }
  }

  async function remove() {
    try {
      await api.forget()
      dialog.close()
      deleted()
    } catch {
      alert.textContent = texts.error_menu
    }
  }

  menu.addEventListener("submit", (event) => {
    event.preventDefault()
    menu.hidePopover() // gives the focus back to the button, to which the dialog then returns it
    if (event.submitter.value === "save_conversation") return save()
    alert.textContent = ""
    dialog.showModal()
  }, {signal})
  dialog.addEventListener("submit", (event) => {
    if (event.submitter.formMethod === "dialog") return
    event.preventDefault()
    remove()
  }, {signal})
}

function offer(html) {
  const url = URL.createObjectURL(new Blob([html], {type: "text/html"}))
  const day = new Date().toISOString().slice(0, 10)
  Object.assign(document.createElement("a"), {href: url, download: `conversation-${day}.html`}).click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
