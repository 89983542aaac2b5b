import assert from "node:assert/strict"
import {test} from "node:test"

import {readEvents} from "../../static/sse.js"

/** A body that arrives in these pieces, of text or bytes. */
function bodyOf(pieces) {
  const encoder = new TextEncoder()
  const bytes = pieces.map((piece) => (typeof piece === "string" ? encoder.encode(piece) : piece))
  return new ReadableStream({
    pull(controller) {
      if (bytes.length) controller.enqueue(bytes.shift())
      else controller.close()
    },
  })
}

async function read(...pieces) {
  const found = []
  for await (const events of readEvents(bodyOf(pieces))) found.push(events)
  return found
}

test("each event is its lines of data; ids and comments are passed over", async () => {
  assert.deepEqual(await read("id: 7\ndata: <p>\ndata: one</p>\n\nid: 8\ndata: two\n\n"), [["<p>\none</p>", "two"]])
})

test("a heartbeat is a piece without events", async () => {
  assert.deepEqual(await read(":\n\n", "id: 1\ndata: x\n\n", ":\n\n"), [[], ["x"], []])
})

test("wherever an event is cut, it comes whole and once", async () => {
  const text = "id: 1\ndata: Да 😀\ndata:  end\n\n:\n\nid: 2\ndata: more\n\n"
  const bytes = new TextEncoder().encode(text)
  for (let cut = 1; cut < bytes.length; cut++) {
    const events = (await read(bytes.slice(0, cut), bytes.slice(cut))).flat()
    assert.deepEqual(events, ["Да 😀\n end", "more"], `cut at ${cut}`)
  }
})

test("an event that is not complete when the answer ends is dropped", async () => {
  assert.deepEqual((await read("id: 1\ndata: x\n\nid: 2\ndata: lost")).flat(), ["x"])
})

test("a body that breaks off rejects after what it brought", async () => {
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode("data: x\n\n"))
      setTimeout(() => controller.error(new TypeError("gone")))
    },
  })
  const found = []

  await assert.rejects(async () => {
    for await (const events of readEvents(body)) found.push(...events)
  }, /gone/)
  assert.deepEqual(found, ["x"])
})
