/** The visitor's files: taken, checked and shown. Sends nothing. */

const SHRINKABLE = /^image\/(jpeg|png|webp)$/ // a GIF may move

export function takeFiles({root, input, onFile, signal}) {
  const all = (files) => [...files].forEach(onFile)
  // Beside the chat, too: there a browser would leave the page for the dropped file.
  const on = (type, listener, target = document) => target.addEventListener(type, listener, {signal})
  const dragged = (listener) => (event) => event.dataTransfer.types.includes("Files") && listener(event)
  const drop = (over) => root.classList.toggle("drop", over)

  import("./upload.js").catch(() => {}) // it must be here when a file is chosen offline
  on("change", () => {
    all(input.files)
    input.value = ""
  }, input)
  on("dragover", dragged((event) => {
    event.preventDefault()
    drop(true)
  }))
  on("dragleave", ({relatedTarget}) => relatedTarget || drop(false))
  on("drop", dragged((event) => {
    event.preventDefault()
    drop(false)
    all(event.dataTransfer.files)
  }))
  on("paste", (event) => {
    const {files, types} = event.clipboardData
    if (!files.length || types.includes("text/plain")) return // office programs add a picture of the text
    event.preventDefault()
    all(files)
  })
}

/** What is wrong with a file: its "type", that it is "large", or nothing: "". */
export function faultOf({name, size, type}, {accept, bytes}) {
  if (!accept.split(",").includes(name.slice(name.lastIndexOf(".")).toLowerCase())) return "type"
  return size > bytes && !SHRINKABLE.test(type) ? "large" : ""
}

/** The picture small enough to travel; any other file as it is. */
export async function shrink(file) {
  if (!SHRINKABLE.test(file.type)) return file
  try {
    const {shrinkPicture} = await import("./upload.js")
    return await shrinkPicture(file)
  } catch {
    return file // no picture, or too large for this browser
  }
}

/** What a bubble shows of a file that is on its way. */
export function describe(file) {
  const shown = document.createElement("span")
  shown.className = "bb-file"
  let {name, size} = file
  let unit = 0
  for (; size >= 1000; unit++) size = Math.round(size / 1024)
  shown.textContent = `${name} (${size} ${["B", "KB", "MB", "GB"][unit]})`
  if (!/^image\/(png|jpeg|gif|webp)$/.test(file.type)) return [shown]
  const picture = new Image()
  picture.className = "bb-image"
  picture.alt = ""
  picture.src = URL.createObjectURL(file)
  picture.onerror = () => picture.remove()
  return [picture, shown]
}

/** Leaves the visitor's own picture in its bubble until the server's has come, so that nothing jumps. */
export function keepPicture(shown, wanted) {
  const own = shown.querySelector('img[src^="blob:"]')
  const stored = wanted.querySelector("img")
  if (!own || !stored) return
  stored.replaceWith(own)
  own.alt = stored.alt
  document.adoptNode(stored).loading = "eager"
  stored.onload = () => {
    stored.loading = "lazy"
    own.replaceWith(stored)
    URL.revokeObjectURL(own.src)
  }
  stored.src = stored.getAttribute("src") // begins to load
}
