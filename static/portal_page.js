/** On the administrator's pages: times in the reader's zone, and buttons that copy. All else works without it. */

const zoned = new Intl.DateTimeFormat(document.documentElement.lang, {dateStyle: "medium", timeStyle: "short"})

for (const time of document.querySelectorAll("time")) {
  time.title = time.textContent // in UTC
  time.textContent = zoned.format(new Date(time.dateTime))
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false
  button.addEventListener("click", async () => {
    await copy(document.getElementById(button.dataset.copy))
    const before = button.textContent
    button.textContent = button.dataset.done
    setTimeout(() => (button.textContent = before), 2_000)
  })
}

/** What is selected can be copied also where the portal that frames the page has not allowed it the clipboard. */
async function copy(element) {
  getSelection().selectAllChildren(element)
  if (!document.execCommand("copy")) await navigator.clipboard.writeText(element.textContent)
}
