/** The chat's menu saves or deletes the whole conversation. The browser itself opens and closes menu and dialog. */

import {make} from "./bubbles.js"
import {texts} from "./config.js"

const KEEP_ADDRESS_MS = 60_000 // the browser may not read a download at once

/** `root` is the chat's element. `onFailure` is given a text for the visitor; `onDeleted` follows a deletion. */
export function prepareMenu({root, api, onFailure, onDeleted, signal}) {
  const button = root.querySelector(".more")
  const menu = root.querySelector(".menu")
  const dialog = root.querySelector("dialog")
  const alert = dialog.querySelector(".alert")

  async function save() {
    try {
      offerDownload(await api.save())
    } catch {
      onFailure(texts.error_menu)
    }
  }

  async function remove() {
    try {
      await api.deleteConversation()
      dialog.close()
      onDeleted()
    } catch {
      alert.textContent = texts.error_menu
    }
  }

  button.addEventListener("keydown", (event) => {
    if (event.key !== "Tab" || event.shiftKey || !menu.matches(":popover-open")) return
    event.preventDefault() // WebKit would pass by the open menu
    menu.querySelector("button").focus()
  }, {signal})
  menu.addEventListener("submit", (event) => {
    event.preventDefault()
    menu.hidePopover() // before the dialog opens, so that the focus goes back to the button after it
    if (event.submitter.value === "save_conversation") return save()
    alert.textContent = ""
    dialog.showModal()
  }, {signal})
  dialog.addEventListener("submit", (event) => {
    if (event.submitter.formMethod === "dialog") return // "Cancel"
    event.preventDefault()
    remove()
  }, {signal})
}

function offerDownload(html) {
  const url = URL.createObjectURL(new Blob([html], {type: "text/html"}))
  const day = new Date().toISOString().slice(0, 10)
  make("a", {href: url, download: `conversation-${day}.html`}).click()
  setTimeout(() => URL.revokeObjectURL(url), KEEP_ADDRESS_MS)
}
