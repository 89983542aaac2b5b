/** Makes a visitor's picture smaller before it is sent. This module is imported after the chat is shown. */

const LONGEST_SIDE = 2560 // pixels; a picture with a longer side is shrunk
const HEAVY_BYTES = 4 << 20 // a picture of more bytes is compressed again
const QUALITY = 0.85

/** The picture as a JPEG, or `file` itself where that is no smaller. Rejects if the browser cannot read it. */
export async function shrinkPicture(file) {
  const picture = await createImageBitmap(file) // upright, however the camera was held
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height))
  if (scale === 1 && file.size <= HEAVY_BYTES) return file
  const canvas = document.createElement("canvas")
  canvas.width = Math.round(picture.width * scale)
  canvas.height = Math.round(picture.height * scale)
  const pen = canvas.getContext("2d")
  pen.fillStyle = "#fff" // a JPEG is not transparent
  pen.fillRect(0, 0, canvas.width, canvas.height)
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height)
  const smaller = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY))
  if (smaller.size >= file.size) return file
  return new File([smaller], file.name.replace(/\.\w+$/, ".jpg"), {type: smaller.type})
}
