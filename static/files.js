/** The visitor's files: taken and checked. Sends nothing. */

const SHRINKABLE = /^image\/(jpeg|png|webp)$/ // a GIF may be animated

/** Takes files that are chosen, dropped or pasted; `onFile` is given each. */
export function takeFiles({root, input, onFile, signal}) {
  import("./upload.js").catch(() => {}) // now, because a file may be chosen while the browser is offline
  const takeAll = (files) => [...files].forEach(onFile)
  input.addEventListener("change", () => {
    takeAll(input.files)
    input.value = ""
  }, {signal})
  document.addEventListener("paste", (event) => {
    const {files, types} = event.clipboardData
    if (!files.length || types.includes("text/plain")) return // office programs add a picture of the text
    event.preventDefault()
    takeAll(files)
  }, {signal})
  takeDropped(root, takeAll, signal)
}

/** Takes files dropped anywhere on the page, because beside the chat a browser would open the file instead. */
function takeDropped(root, takeAll, signal) {
  const highlight = (isOn) => root.classList.toggle("drop", isOn)
  const listen = (type, listener) => document.addEventListener(type, (event) => {
    if (event.dataTransfer.types.includes("Files")) listener(event)
  }, {signal})
  listen("dragover", (event) => {
    event.preventDefault()
    highlight(true)
  })
  listen("drop", (event) => {
    event.preventDefault()
    highlight(false)
    takeAll(event.dataTransfer.files)
  })
  document.addEventListener("dragleave", ({relatedTarget}) => relatedTarget || highlight(false), {signal})
}

/** What is wrong with a file: "type" or "large"; "" if it can be sent. */
export function faultOf({name, size, type}, {accept, bytes}) {
  const ending = name.slice(name.lastIndexOf(".")).toLowerCase()
  if (!accept.split(",").includes(ending)) return "type"
  return size > bytes && !SHRINKABLE.test(type) ? "large" : ""
}

/** The picture made smaller by upload.js; any other file as it is. */
export async function shrink(file) {
  if (!SHRINKABLE.test(file.type)) return file
  try {
    const {shrinkPicture} = await import("./upload.js")
    return await shrinkPicture(file)
  } catch {
    return file // it is no picture, or too large for this browser
  }
}
