/** Older messages, a page at a time, as the visitor scrolls up or presses the link. Knows no message. */

const AHEAD = "600px 0px 0px" // a page is asked for before its place is seen
const SETTLE_MS = 300

/** `more` shows the next page, and hides the link if it was the last. */
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
