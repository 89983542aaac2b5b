import assert from "node:assert/strict"
import {test} from "node:test"

import {openDrawer} from "../../static/drawers.js"

/** What a browser keeps; its names are its own keys, as there. */
class Storage {
  getItem(name) {
    return this[name] ?? null
  }

  setItem(name, value) {
    if (this.isFull) throw new DOMException("full", "QuotaExceededError")
    this[name] = value
  }

  removeItem(name) {
    delete this[name]
  }
}

test("each drawer has its own values, and nothing is left behind by what is empty", () => {
  globalThis.shelf = new Storage()
  const [mine, yours] = ["mine ", "yours "].map((prefix) => openDrawer("shelf", prefix))
  mine.set("draft", "hello")
  mine.set("begun", true)
  yours.set("outbox", [1])
  assert.deepEqual([mine.get("draft"), mine.get("begun"), mine.get("outbox", [])], ["hello", true, []])

  mine.set("draft", "")
  yours.set("outbox", [])
  assert.deepEqual(Object.keys(shelf), ["mine begun"])

  yours.clear()
  assert.deepEqual(Object.keys(shelf), ["mine begun"])
  mine.clear()
  assert.deepEqual(Object.keys(shelf), [])
})

test("what does not fit, or may not be stored, is kept until the page closes", () => {
  globalThis.shelf = new Storage()
  for (const drawer of [openDrawer("blocked", ""), openDrawer("shelf", "")]) {
    shelf.isFull = true
    drawer.set("draft", "hello")
    assert.equal(drawer.get("draft"), "hello")
  }
  assert.equal(shelf.draft, undefined)
})

test("what somebody else has put there in another form does no harm", () => {
  globalThis.shelf = new Storage()
  shelf.draft = "{"

  assert.equal(openDrawer("shelf", "").get("draft", "nothing"), "nothing")
})
