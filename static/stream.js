/**
 * Brings what changes in the chat. One tab of all holds the stream and tells the others; where no stream
 * gets through, the same is asked for again and again. Knows nothing of the page.
 */

import {Backoff, inTurn} from "./retry.js"

const SILENCE_SECONDS = 45 // the server is heard every 20
const FIRST_WORD_SECONDS = 5 // it speaks at once, unless a proxy holds its words back
const POLL_SECONDS = 5
const NO_CHAT_SECONDS = 30 // then it is asked for again
const ANSWER_SECONDS = 2 // of the tab that holds the stream, when another asks for it
const JOIN_SECONDS = 0.3

/**
 * `name` is shared by the tabs of this chat; `open` asks for what is new since what is shown, null if there is no
 * chat yet; `of` is told the chat's id, `show` takes changed messages, `say` whether the server can be reached.
 * What is returned looks at once.
 */
export function listen({name, open, of, show, say, signal}) {
  const channel = openChannel(name)
  let turn = null // while this tab holds the stream
  let heardAt = 0
  let attempt = new AbortController()
  let soon = false // the next stream follows without a pause
  const backoff = new Backoff()
  const turns = new Backoff()
  let answered = () => {}

  const tell = (kind, value) => signal.aborted || channel.postMessage({kind, value})

  /** One tab's turn: stream after stream, until another takes over. */
  async function lead() {
    const mine = (turn = {})
    while (turn === mine && !signal.aborted) {
      soon = false
      const heard = await stream()
      if (turn !== mine || signal.aborted) return
      if (heard === false) works(false)
      if (heard) {
        backoff.reset()
        turns.reset()
      }
      if (!soon) await backoff.pause(heard === null ? NO_CHAT_SECONDS : 0)
    }
  }

  async function queue(options = {signal}) {
    try {
      await inTurn(`${name} stream`, options, lead)
    } catch {
      if (signal.aborted) return
      turn = null // another tab took over while this one slept
      attempt.abort()
      await turns.pause()
      queue()
    }
  }

  /** Holds one stream to its end. Resolves to whether the server was heard, or null. */
  async function stream() {
    attempt = new AbortController()
    const {signal: over} = attempt
    const end = () => attempt.abort()
    signal.addEventListener("abort", end, {signal: over})
    heardAt = Date.now()
    let silent = true
    let silence = setTimeout(end, SILENCE_SECONDS * 1000)
    const polling = setTimeout(poll, FIRST_WORD_SECONDS * 1000)
    const heard = await read(false, over, () => {
      heardAt = Date.now()
      clearTimeout(silence)
      clearTimeout(polling)
      silence = setTimeout(end, SILENCE_SECONDS * 1000)
      if (silent) works(true)
      silent = false
    })
    clearTimeout(silence)
    clearTimeout(polling)
    end()
    return heard

    /** The same in answers that end, until the stream's own first word. */
    async function poll() {
      while (silent && !over.aborted) {
        if (await read(true, over)) works(true)
        await new Promise((resolve) => setTimeout(resolve, POLL_SECONDS * 1000))
      }
    }
  }

  /** Reads one answer to its end; as `stream`. */
  async function read(once, over, onWord = () => {}) {
    let heard = once
    try {
      const response = await open(once, over)
      if (!response) return null
      const id = response.headers.get("X-Chat-Id")
      tell("chat", id)
      of(id)
      let text = ""
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
      for (let part; !(part = await reader.read()).done; ) {
        heard = true
        onWord()
        const events = (text + part.value).split("\n\n")
        text = events.pop()
        const html = events.map(dataOf).join("\n")
        if (!html.trim()) continue
        show(html)
        if (!turn) continue
        tell("chat", id) // some tabs do not know it yet
        tell("changed", html)
      }
      return heard
    } catch {
      return heard && !once
    }
  }

  function works(whether) {
    say(whether)
    tell("works", whether)
  }

  function look() {
    if (signal.aborted) return
    if (turn) {
      soon = Date.now() - heardAt > SILENCE_SECONDS * 1000
      if (soon) attempt.abort() // we slept
      backoff.wake()
    } else if (!document.hidden) {
      read(true, signal)
      tell("look")
      answered()
      const timer = setTimeout(() => queue({steal: true}), ANSWER_SECONDS * 1000) // sleepers keep their lock
      answered = () => clearTimeout(timer)
    }
  }

  function restored({persisted}) {
    if (!persisted) return
    if (turn) read(true, signal) // the stream of before is gone
    look()
  }

  channel.onmessage = ({data: {kind, value}}) => {
    if (kind === "changed") show(value)
    else if (kind === "chat") of(value)
    else if (kind === "works") say(value)
    else if (kind === "here") answered()
    else if (kind === "look" && turn) {
      tell("here")
      look()
    }
  }
  document.addEventListener("visibilitychange", look, {signal})
  window.addEventListener("pageshow", restored, {signal})
  window.addEventListener("online", look, {signal})
  signal.addEventListener("abort", () => {
    channel.close()
    answered()
    backoff.wake()
  })
  queue()
  setTimeout(() => turn || read(true, signal), JOIN_SECONDS * 1000) // what came while this page was on its way
  return look
}

function dataOf(event) {
  const lines = event.split("\n").filter((line) => line.startsWith("data: "))
  return lines.map((line) => line.slice(6)).join("\n")
}

function openChannel(name) {
  try {
    return new BroadcastChannel(name)
  } catch {
    return {postMessage() {}, close() {}} // storage is blocked
  }
}
