/** Reads Server-Sent Events. Knows neither the page nor what the events mean. */

/**
 * Reads a response's body to its end. For each piece that arrives it yields the data of the events that the piece
 * completes: an empty list for a heartbeat, or for a piece of a longer event.
 */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let unfinished = ""
  for (let piece; !(piece = await reader.read()).done; ) {
    const events = (unfinished + piece.value).split("\n\n")
    unfinished = events.pop()
    yield events.map(dataOf).filter((data) => data.trim())
  }
}

/** An event's lines of data, without its other lines (its id, a comment). */
function dataOf(event) {
  const lines = event.split("\n").filter((line) => line.startsWith("data: "))
  return lines.map((line) => line.slice("data: ".length)).join("\n")
}
