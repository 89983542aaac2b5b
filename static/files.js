/** The visitor's files: taken and checked. Sends nothing. */

import {files} from "./config.js"

const HEAD_BYTES = 64
const PICTURES = [ // by their first bytes, with the endings of their names
  ["image/png", /^\x89PNG\r\n\x1a\n/, [".png"]],
  ["image/jpeg", /^\xff\xd8\xff/, [".jpg", ".jpeg", ".jpe", ".jfif"]],
  ["image/gif", /^GIF8[79]a/, [".gif"]],
  ["image/webp", /^RIFF....WEBP/s, [".webp"]],
  ["image/avif", /^....ftyp(avi[fs]|m[is]f1(.{4})+?avif)/s, [".avif"]],
  ["image/heic", /^....ftyp(he[iv][cmsx]|m[is]f1)/s, [".heic", ".heif"]],
]
const SHRINKABLE = /^image\/(jpeg|png|webp)$/ // a GIF may be animated

/** Takes files that are chosen, dropped or pasted; `onFile` is given each. */
export function takeFiles({root, input, onFile, signal}) {
  import("./upload.js").catch(() => {}) // now, because a file may be chosen while the browser is offline
  let taken = Promise.resolve() // what is chosen later comes later, however long the reading of a file takes
  const takeAll = (files) => {
    const named = Promise.all([...files].map(rightlyNamed))
    taken = taken.finally(async () => (await named).forEach((file) => onFile(file)))
  }
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

/**
 * The file under the name that its content asks for. Phones and programs give pictures wrong endings or none; the
 * server judges as this does.
 */
async function rightlyNamed(file) {
  const head = await file.slice(0, HEAD_BYTES).arrayBuffer().then(latin, () => "") // "" of a file that is gone
  const [type, , endings] = PICTURES.find(([, start]) => start.test(head)) ?? []
  const ending = endingOf(file.name)
  if (!type || endings.includes(ending)) return file
  const isPicture = PICTURES.some(([, , others]) => others.includes(ending))
  if (!isPicture && files.accept.split(",").includes(ending)) return file
  const stem = isPicture ? file.name.slice(0, -ending.length) : file.name
  return new File([file], stem + endings[0], {type})
}

const latin = (buffer) => String.fromCharCode(...new Uint8Array(buffer))
const endingOf = (name) => /\.[^.]*$/.exec(name.toLowerCase())?.[0] ?? ""

/** What is wrong with a file: "type" or "large"; "" if it can be sent. */
export function faultOf({name, size, type}, {accept, bytes}) {
  if (!accept.split(",").includes(endingOf(name))) return "type"
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
