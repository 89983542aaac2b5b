/** Opens and closes what lies over the page, in browsers without popovers (Firefox 124) or dialogs (Safari 15.3), too. */

/** Lets `button` open and close `menu`; returns what closes it. The browser itself does that where it can. */
export function makeMenu(menu, button, signal) {
  if ("popover" in HTMLElement.prototype) return () => menu.hidePopover()
  const show = (open) => {
    menu.hidden = !open
    button.setAttribute("aria-expanded", open)
  }
  const close = () => {
    show(false)
    button.focus()
  }
  show(false)
  button.addEventListener("click", () => show(menu.hidden), {signal})
  document.addEventListener("click", ({target}) => {
    if (!menu.contains(target) && !button.contains(target)) show(false)
  }, {signal})
  onEscape(() => !menu.hidden, close, signal)
  return close
}

/** Returns what shows `dialog` above all, and what closes it. */
export function makeModal(dialog, signal) {
  if (dialog.showModal) return {show: () => dialog.showModal(), close: () => dialog.close()}
  let focused
  const show = () => {
    focused = document.activeElement
    dialog.setAttribute("role", "dialog")
    dialog.setAttribute("aria-modal", "true")
    dialog.setAttribute("open", "")
    dialog.querySelector("button").focus()
  }
  const close = () => {
    dialog.removeAttribute("open")
    focused?.focus()
  }
  onEscape(() => dialog.hasAttribute("open"), close, signal)
  return {show, close}
}

/** Before anybody else hears of the key: a site's page closes the whole chat by it. */
function onEscape(isOpen, close, signal) {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || !isOpen()) return
    event.preventDefault()
    close()
  }, {signal, capture: true})
}
