import assert from "node:assert/strict"
import {mock, test} from "node:test"

import {Later, Refused} from "../../static/api.js"
import {openDrawer} from "../../static/drawers.js"
import {Outbox} from "../../static/outbox.js"

// A browser without locks: what several tabs do is tried in real browsers.
Object.defineProperty(globalThis, "navigator", {value: {}, configurable: true})

/** An outbox whose server answers as `answer(item)` says, and what it told its listener. */
function outboxWith(answer, {drawer = openDrawer("noStorage", ""), life = new AbortController(), reaches} = {}) {
  const told = []
  const listener = Object.fromEntries(
    ["sent", "settledElsewhere", "postponed", "refused"].map((kind) => [
      kind,
      ({client_id}, more) => told.push([kind, client_id, more?.reason ?? more].filter((part) => part !== undefined)),
    ]),
  )
  const send = async (item) => answer(item)
  const outbox = new Outbox({drawer, lockName: "chat", send, reaches, signal: life.signal, listener})
  return {outbox, told, drawer, life}
}

const item = (client_id, more = {}) => ({client_id, message: client_id, ...more})
const settle = () => new Promise(setImmediate)

test("items are sent in order, one at a time, and leave once the server has them", async () => {
  const open = []
  const {outbox, told, drawer} = outboxWith((sent) => new Promise((done) => open.push([sent.client_id, done])))
  for (const id of ["a", "b"]) outbox.add(item(id))
  await settle()
  assert.deepEqual(open.map(([id]) => id), ["a"])
  assert.deepEqual(drawer.get("outbox").map(({client_id}) => client_id), ["a", "b"])

  open[0][1]({id: 1})
  await settle()
  open[1][1]({id: 2})
  await settle()

  assert.deepEqual(told, [["sent", "a", {id: 1}], ["sent", "b", {id: 2}]])
  assert.deepEqual(outbox.items, [])
  assert.deepEqual(drawer.get("outbox"), [])
})

test("a failure that may pass is told, waited for and tried again; order is kept", async () => {
  mock.timers.enable({apis: ["setTimeout"]})
  let failures = 2
  const {outbox, told} = outboxWith(({client_id}) => {
    if (failures-- > 0) throw new Later("busy", 20)
    return {id: client_id}
  })
  for (const id of ["a", "b"]) outbox.add(item(id))
  for (let pause = 0; pause < 2; pause++) {
    await settle()
    assert.deepEqual(told.at(-1), ["postponed", "a", "busy"])
    mock.timers.tick(19_999)
    await settle()
    assert.equal(told.length, pause + 1)
    mock.timers.tick(1)
  }
  await settle()

  assert.deepEqual(told.slice(2), [["sent", "a", {id: "a"}], ["sent", "b", {id: "b"}]])
  mock.timers.reset()
})

test("to run ends the pause", async () => {
  mock.timers.enable({apis: ["setTimeout"]})
  let away = true
  const {outbox, told} = outboxWith(() => {
    if (away) throw new Later("network")
    return {id: 1}
  })
  outbox.add(item("a"))
  await settle()
  away = false
  outbox.run()
  await settle()

  assert.deepEqual(told, [["postponed", "a", "network"], ["sent", "a", {id: 1}]])
  mock.timers.reset()
})

test("a refused item stays, holds up no other, and goes again when asked to, after the others", async () => {
  let refusing = true
  const {outbox, told, drawer} = outboxWith(({client_id}) => {
    if (client_id === "a" && refusing) throw new Refused("Not so.")
    return {id: client_id}
  })
  for (const id of ["a", "b"]) outbox.add(item(id))
  await settle()
  assert.deepEqual(told, [["refused", "a"], ["sent", "b", {id: "b"}]])
  assert.equal(drawer.get("outbox")[0].refused, "Not so.")

  refusing = false
  outbox.retry("a")
  await settle()

  assert.deepEqual(told.at(-1), ["sent", "a", {id: "a"}])
  assert.deepEqual(outbox.items, [])
})

test("an unknown error is a failure that may pass", async () => {
  const {outbox, told, life} = outboxWith(() => {
    throw new TypeError("what?")
  })
  outbox.add(item("a"))
  await settle()
  life.abort()

  assert.deepEqual(told, [["postponed", "a", "server"]])
})

test("what another tab sent, or took back, is not sent again", async () => {
  const sent = []
  let answer
  const {outbox, told, drawer} = outboxWith(({client_id}) => {
    sent.push(client_id)
    return new Promise((done) => (answer = done))
  })
  for (const id of ["a", "b"]) outbox.add(item(id))
  await settle()
  drawer.set("outbox", [item("a")])
  answer({id: 1})
  await settle()

  assert.deepEqual(sent, ["a"])
  assert.deepEqual(told, [["sent", "a", {id: 1}], ["settledElsewhere", "b"]])
})

test("what was unsent when the page closed is there when it opens; a file is not", async () => {
  const drawer = openDrawer("noStorage", "")
  const never = () => new Promise(() => {})
  const before = outboxWith(never, {drawer})
  before.outbox.add(item("a"))
  before.outbox.add(item("b", {file: {}}))
  before.life.abort()

  const {outbox} = outboxWith(never, {drawer})

  assert.deepEqual(outbox.items.map(({client_id}) => client_id), ["a"])
})

test("what is removed while it is under way is told of no more", async () => {
  let fail
  const {outbox, told} = outboxWith(() => new Promise((_, reject) => (fail = reject)))
  outbox.add(item("a"))
  await settle()
  outbox.remove("a")
  fail(new Later("network"))
  await settle()

  assert.deepEqual(told, [])
})

test("an item that is too large for what stands between lets the others go, and goes when it can", async () => {
  mock.timers.enable({apis: ["setTimeout"]})
  let wall = true
  const {outbox, told} = outboxWith(({client_id}) => {
    if (client_id === "a" && wall) throw new Later("large", 40)
    return {id: client_id}
  })
  for (const id of ["a", "b"]) outbox.add(item(id))
  await settle()
  outbox.add(item("c"))
  await settle()
  assert.deepEqual(told, [["postponed", "a", "large"], ["sent", "b", {id: "b"}], ["sent", "c", {id: "c"}]])

  mock.timers.tick(39_999) // to send it again and again may cost the visitor much
  await settle()
  assert.equal(told.length, 3)
  wall = false
  mock.timers.tick(1)
  await settle()
  assert.deepEqual(told.at(-1), ["sent", "a", {id: "a"}])
  assert.deepEqual(outbox.items, [])
  mock.timers.reset()
})

test("an item that a firewall dislikes lets the others go, if the server is reached otherwise", async () => {
  mock.timers.enable({apis: ["setTimeout"]})
  let reached = false
  const tried = []
  const {outbox, told} = outboxWith(
    ({client_id}) => {
      tried.push(client_id)
      if (client_id === "a") throw new Later("between", 1)
      return {id: client_id}
    },
    {reaches: async () => reached},
  )
  for (const id of ["a", "b"]) outbox.add(item(id))
  await settle()
  assert.deepEqual(tried, ["a"]) // a wall for all: the order is kept

  reached = true
  outbox.run()
  await settle()
  assert.deepEqual(tried, ["a", "a", "a", "b"])
  assert.deepEqual(told.at(-1), ["sent", "b", {id: "b"}])

  outbox.retry("a")
  await settle()
  assert.deepEqual(told.at(-1), ["postponed", "a", "between"])
  outbox.remove("a")
  mock.timers.tick(60_000)
  await settle()
  assert.deepEqual(tried.slice(4), ["a"])
  mock.timers.reset()
})

test("where all of a wall has gone meanwhile, the order is kept", async () => {
  let wall = true
  const reaches = async () => !(wall = false)
  const {outbox, told} = outboxWith(
    ({client_id}) => {
      if (wall) throw new Later("between")
      return {id: client_id}
    },
    {reaches},
  )
  for (const id of ["a", "b"]) outbox.add(item(id))
  await settle()

  assert.deepEqual(told, [["sent", "a", {id: "a"}], ["sent", "b", {id: "b"}]])
})

test("several items that rest alone go in the order in which they were written", async () => {
  mock.timers.enable({apis: ["setTimeout"]})
  const tick = async (seconds) => {
    for (let at = 0; at < seconds * 10; at++) {
      mock.timers.tick(100)
      await settle()
    }
  }
  for (const reason of ["between", "large", "network"]) {
    for (let round = 0; round < 8; round++) { // the pauses are random
      let wall = true
      const sent = []
      const {outbox} = outboxWith(
        ({client_id}) => {
          if (wall) throw new Later(reason, client_id === "file" ? 2 : 0)
          sent.push(client_id)
          return {id: client_id}
        },
        {reaches: async () => true},
      )
      const ids = ["m", "file", "n", "o"]
      for (const id of ids) outbox.add(item(id, id === "file" && {file: {}}))
      await tick(3 * round + 0.1)
      wall = false
      if (round % 2) outbox.add(item("p")) // as the wall goes
      await tick(60)
      assert.deepEqual(sent, round % 2 ? [...ids, "p"] : ids, reason)
    }
  }
  mock.timers.reset()
})

test("what a firewall alone dislikes is not tried anew with each later item, nor before its time", async () => {
  mock.timers.enable({apis: ["setTimeout"]})
  const tried = []
  const {outbox} = outboxWith(
    ({client_id}) => {
      tried.push(client_id)
      if (client_id === "a") throw new Later("between", 5)
      if (client_id === "b") throw new Later("large", 100)
      return {id: client_id}
    },
    {reaches: async () => true},
  )
  for (const id of ["a", "b", "c"]) outbox.add(item(id))
  await settle()
  assert.deepEqual(tried, ["a", "a", "b", "c"])

  outbox.add(item("d"))
  await settle()
  assert.deepEqual(tried.slice(4), ["d"])
  mock.timers.tick(5_000)
  await settle()
  assert.deepEqual(tried.slice(5), ["a"])
  mock.timers.reset()
})
