import assert from "node:assert/strict"
import {test} from "node:test"

import {arrange, merge, votes} from "../../static/conversation.js"

const message = (id, more = {}) => ({id, position: id, revision: "1", clientId: "", author: "operator", name: "Olga", ...more})
const ids = ({messages}) => messages.map(({id, clientId}) => id ?? clientId)

test("messages stand in the order of their positions, whatever order they come in", () => {
  let shown = []
  for (const id of [2, 4, 1, 3]) shown = merge(shown, [message(id)]).messages

  assert.deepEqual(shown.map(({id}) => id), [1, 2, 3, 4])
})

test("each change says where it stands: after a message, before all, or instead of one", () => {
  const [first, third] = [message(1), message(3)]
  const [second, zeroth, edited] = [message(2), message(0), message(3, {revision: "2"})]

  const {changes} = merge([first, third], [second, zeroth, edited])

  assert.deepEqual(changes, [
    {message: second, after: first},
    {message: zeroth, after: undefined},
    {message: edited, insteadOf: third},
  ])
})

test("what is as old as what is shown, or older, changes nothing", () => {
  const shown = [message(1, {revision: "10"})]

  for (const revision of ["9", "10"]) {
    const merged = merge(shown, [message(1, {revision})])
    assert.deepEqual(merged, {messages: shown, changes: []})
  }
  assert.equal(merge(shown, [message(1, {revision: "11"})]).changes.length, 1)
})

test("the server's copy of an unsent message takes its place, by the id that this browser gave", () => {
  const unsent = message(null, {position: null, revision: "", clientId: "a"})
  const stored = message(7, {clientId: "a"})

  const {messages, changes} = merge([message(1), unsent], [stored])

  assert.deepEqual(messages, [message(1), stored])
  assert.deepEqual(changes, [{message: stored, insteadOf: unsent}])
})

test("an answer stands before what is unsent, and two messages without an id of ours are two", () => {
  const unsent = message(null, {position: null, clientId: "a"})

  assert.deepEqual(ids(merge([message(1), unsent], [message(2), message(3)])), [1, 2, 3, "a"])
})

test("merging leaves the list that was shown as it is", () => {
  const shown = [message(1)]
  merge(shown, [message(2), message(1, {revision: "2"})])

  assert.deepEqual(shown, [message(1)])
})

const at = (text) => ({at: new Date(text)})

test("messages of one writer within five minutes stand together, and a day begins anew", () => {
  const arranged = arrange([
    message(1, at("2026-11-23T23:50")),
    message(2, at("2026-11-23T23:54:59")),
    message(3, at("2026-11-23T23:59:59")),
    message(4, {...at("2026-11-23T23:59:59"), name: "Boris"}),
    message(5, {...at("2026-11-23T23:59:59"), author: "visitor"}),
    message(6, {...at("2026-11-24T00:00:01"), author: "visitor"}),
  ])

  assert.deepEqual(arranged.map(({follows}) => follows), [false, true, false, false, false, false])
  assert.deepEqual(arranged.map(({newDay}) => newDay), [true, false, false, false, false, true])
})

const words = (text, author = "visitor") => ({author, words: text, asksForVote: false})
const question = {author: "system", words: "Rate us", asksForVote: true}

test("a visitor's first 1 or 0 after a question is the vote", () => {
  const told = [words("1"), question, words("1", "operator"), words("10"), words(" 0 thanks"), words("1")]

  assert.deepEqual(votes(told), [null, null, null, null, "0", null])
  assert.deepEqual(votes([question, question, words("1"), words("0"), question, words("0\n")]), [null, null, "1", null, null, "0"])
})
