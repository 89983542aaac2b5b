/** The menu: to save the conversation, and to delete it. The browser itself opens and closes both. */

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
