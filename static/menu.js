/** The chat's menu saves or deletes the whole conversation. */

import {failureText, make} from "./bubbles.js"
import {texts} from "./config.js"

const KEEP_ADDRESS_MS = 60_000 // the browser may not read a download at once

/** `root` is the chat's element. `onFailure` is given a text for the visitor; `onDeleted` follows a deletion. */
export async function prepareMenu({root, api, onFailure, onDeleted, signal}) {
  const more = root.querySelector(".more")
  const menu = root.querySelector(".menu")
  const dialog = root.querySelector(".question")
  const alert = dialog.querySelector(".alert")
  const {closeMenu, question} = await waysToOpen(menu, dialog, more, signal)

  async function save() {
    try {
      offerDownload(await api.save())
    } catch (error) {
      onFailure(failureText(error))
    }
  }

  async function remove() {
    try {
      await api.deleteConversation()
      question.close()
      onDeleted()
    } catch (error) {
      alert.textContent = failureText(error)
    }
  }

  more.addEventListener("keydown", (event) => {
    const isOpen = menu.getClientRects().length > 0
    if (event.key !== "Tab" || event.shiftKey || !isOpen) return
    event.preventDefault() // WebKit would pass by the open menu
    menu.querySelector("button").focus()
  }, {signal})
  // By their clicks, because Safari 15 does not say which button submits a form.
  menu.addEventListener("click", (event) => {
    const button = event.target.closest("button")
    if (!button) return
    event.preventDefault()
    closeMenu() // before the dialog opens, so that the focus goes back to the button after it
    if (button.value === "save_conversation") return save()
    alert.textContent = ""
    question.show()
  }, {signal})
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("button")
    if (!button) return
    event.preventDefault()
    if (button.matches(".danger")) remove()
    else question.close()
  }, {signal})
}

/** How the menu is closed and the question shown and closed: by the browser, or by us where it does not know how. */
async function waysToOpen(menu, dialog, button, signal) {
  if ("popover" in HTMLElement.prototype && dialog.showModal) {
    const question = {show: () => dialog.showModal(), close: () => dialog.close()}
    return {closeMenu: () => menu.hidePopover(), question}
  }
  const {makeMenu, makeModal} = await import("./overlays.js")
  return {closeMenu: makeMenu(menu, button, signal), question: makeModal(dialog, signal)}
}

function offerDownload(html) {
  const url = URL.createObjectURL(new Blob([html], {type: "text/html"}))
  const day = new Date().toLocaleDateString("sv") // as 2026-11-23, in the visitor's zone
  make("a", {href: url, download: `conversation-${day}.html`}).click()
  setTimeout(() => URL.revokeObjectURL(url), KEEP_ADDRESS_MS)
}
