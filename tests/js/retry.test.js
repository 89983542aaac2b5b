import assert from "node:assert/strict"
import {mock, test} from "node:test"

import {Backoff, inTurn} from "../../static/retry.js"

/** How long a pause took, by a clock that jumps. */
async function lengthOf(backoff, seconds) {
  let over = false
  backoff.pause(seconds).then(() => (over = true))
  for (let waited = 1; ; waited++) {
    mock.timers.tick(100)
    await Promise.resolve()
    if (over) return waited / 10
    assert.ok(waited < 10_000)
  }
}

test("pauses grow from half a second to thirty, each by chance up to twice its least", async (t) => {
  mock.timers.enable({apis: ["setTimeout"]})
  t.after(() => mock.timers.reset())
  for (const [chance, expected] of [
    [0, [0.5, 1, 2, 4, 8, 15, 15]],
    [0.9999, [1, 2, 4, 8, 16, 30, 30]],
  ]) {
    const random = mock.method(Math, "random", () => chance)
    const backoff = new Backoff()
    const pauses = []
    for (const _ of expected) pauses.push(await lengthOf(backoff))
    assert.deepEqual(pauses, expected)
    random.mock.restore()
  }
})

test("the server's longer pause is kept, and after a success pauses are short again", async (t) => {
  mock.timers.enable({apis: ["setTimeout"]})
  t.after(() => mock.timers.reset())
  t.after(() => mock.restoreAll())
  mock.method(Math, "random", () => 0)
  const backoff = new Backoff()

  assert.equal(await lengthOf(backoff, 20), 20)
  assert.equal(await lengthOf(backoff), 1)
  backoff.reset()
  assert.equal(await lengthOf(backoff), 0.5)
})

test("a pause can be ended", async (t) => {
  mock.timers.enable({apis: ["setTimeout"]})
  t.after(() => mock.timers.reset())
  const backoff = new Backoff()
  backoff.wake() // with no pause there is nothing to end
  const pause = backoff.pause(60)
  backoff.wake()

  await pause
})

/** Runs with `request` as the browser's way to lock. */
async function withLocks(request, run) {
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator")
  const value = request ? {locks: {request}} : {}
  Object.defineProperty(globalThis, "navigator", {value, configurable: true, writable: true})
  mock.timers.enable({apis: ["setTimeout"]})
  const jump = setInterval(() => mock.timers.tick(60_000), 1)
  try {
    return await run()
  } finally {
    clearInterval(jump)
    mock.timers.reset()
    if (before) Object.defineProperty(globalThis, "navigator", before)
    else delete globalThis.navigator
  }
}

const refusal = (name) => Object.assign(new Error("refused"), {name})

test("work is done under the lock, with its options, and its result comes back", async () => {
  const asked = []
  const request = (...values) => asked.push(values.slice(0, 2)) && values[2]()

  const result = await withLocks(request, () => inTurn("chat", {steal: true}, async () => "done"))

  assert.equal(result, "done")
  assert.deepEqual(asked, [["chat", {steal: true}]])
})

test("a browser that gives no lock is asked three times, then the work is done without", async () => {
  let asked = 0
  const request = async () => {
    asked++
    throw refusal("InvalidStateError")
  }

  assert.equal(await withLocks(request, () => inTurn("chat", {}, () => "done")), "done")
  assert.equal(asked, 3)
})

test("where storage is blocked, or there are no locks, the work is done at once", async () => {
  let asked = 0
  const request = async () => {
    asked++
    throw refusal("SecurityError")
  }

  assert.equal(await withLocks(request, () => inTurn("chat", {}, () => "done")), "done")
  assert.equal(asked, 1)
  assert.equal(await withLocks(null, () => inTurn("chat", {}, () => "done")), "done")
})

test("work that fails is not done twice, and neither is work whose lock was stolen", async () => {
  let begun = 0
  const work = () => {
    begun++
    throw new Error("no")
  }
  const request = async (name, options, run) => run()

  await assert.rejects(withLocks(request, () => inTurn("chat", {}, work)), /no/)
  const stolen = async (name, options, run) => {
    try {
      run()
    } catch {}
    throw refusal("AbortError")
  }
  await assert.rejects(withLocks(stolen, () => inTurn("chat", {}, work)), {name: "AbortError"})
  assert.equal(begun, 2)
})

test("an end that was asked for is no refusal", async () => {
  const life = new AbortController()
  life.abort()
  const request = async () => {
    throw refusal("AbortError")
  }
  const run = () => inTurn("chat", {signal: life.signal}, () => assert.fail("it has ended"))

  await assert.rejects(withLocks(request, run), {name: "AbortError"})
})
