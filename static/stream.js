/**
 * Brings what changes in the chat. Of all tabs that show the chat one holds the stream and tells the others. If a proxy
 * lets no stream through, or the server has too many, it asks every POLL_SECONDS. Knows nothing of the page's elements.
 */

import {Backoff, inTurn} from "./retry.js"
import {readEvents} from "./sse.js"

const SILENCE_SECONDS = 45 // a stream that brings nothing for so long is ended; the server sends a heartbeat every 20 s
const FIRST_WORD_SECONDS = 5 // the server sends at once; if nothing has come by then, a proxy holds the stream back
const POLL_SECONDS = 5 // between two requests while a proxy holds the stream back
const CROWDED_SECONDS = 30 // it asks again and again for so long, then it tries to get a stream once more
const NO_CHAT_SECONDS = 30 // between two requests while there is no chat yet
const LEADER_ANSWER_SECONDS = 2 // the tab that holds the stream has so long to say that it is awake
const JOIN_SECONDS = 0.3 // a new page that does not hold the stream by then asks once for what it missed

/** The outcomes of one try to read. */
const HEARD = "heard"
const SILENT = "silent"
const NO_CHAT = "no chat"
const CROWDED = "crowded" // the server has too many streams

export class Stream {
  #name;
  #visitor;
  #open;
  #listener;
  #signal;
  #channel;
  #turn = null; // a new object each time this tab begins to hold the stream; null while it does not
  #heardAt = 0; // milliseconds
  #attempt = new AbortController(); // ends the answer that is being read
  #nextAtOnce = false; // whether the next stream follows without a pause
  #streamPauses = new Backoff();
  #turnPauses = new Backoff();
  #leaderTimer;

  /**
   * `name` is shared by all tabs of this chat, and with whoever wrote here before a log-out: `visitor()` tells them
   * apart. `open(once, signal)` asks for what is new since what is shown; it resolves to null if there is no chat yet.
   * `listener` has three methods: `inChat(id)` is given the chat's id, `changed(html)` changed messages, and
   * `reached(isReached)` whether the server can be reached.
   */
  constructor({name, visitor, open, listener, signal}) {
    this.#name = name
    this.#visitor = visitor
    this.#open = open
    this.#listener = listener
    this.#signal = signal
    this.#channel = openChannel(name)
    this.#channel.onmessage = ({data}) => this.#heardFromTab(data)
    const look = () => this.look()
    document.addEventListener("visibilitychange", look, {signal})
    window.addEventListener("online", look, {signal})
    window.addEventListener("pageshow", ({persisted}) => persisted && this.#restored(), {signal})
    signal.addEventListener("abort", () => this.#end())
    this.#waitForTurn({signal})
    setTimeout(() => this.#turn || this.#read(true, signal), JOIN_SECONDS * 1000)
  }

  /** Whether this tab holds the stream for all tabs of the chat. */
  get isHeld() {
    return this.#turn !== null
  }

  /** Looks at once for what is new. If the tab that holds the stream does not answer, this tab takes it over. */
  look() {
    if (this.#signal.aborted) return
    if (this.#turn) {
      this.#nextAtOnce = Date.now() - this.#heardAt > SILENCE_SECONDS * 1000 // this tab has slept
      if (this.#nextAtOnce) this.#attempt.abort()
      this.#streamPauses.wake()
    } else if (!document.hidden) {
      this.#read(true, this.#signal)
      this.#tell("look")
      clearTimeout(this.#leaderTimer)
      // A tab that sleeps keeps its lock, so the lock is stolen.
      this.#leaderTimer = setTimeout(() => this.#waitForTurn({steal: true}), LEADER_ANSWER_SECONDS * 1000)
    }
  }

  /** The browser shows this page again from its cache: the stream that the page held has ended. */
  #restored() {
    if (this.#turn) this.#read(true, this.#signal)
    this.look()
  }

  #end() {
    this.#channel.close()
    clearTimeout(this.#leaderTimer)
    this.#streamPauses.wake()
  }

  // The tabs

  async #waitForTurn(options) {
    try {
      await inTurn(`${this.#name} stream`, options, () => this.#lead())
    } catch {
      if (this.#signal.aborted) return
      this.#turn = null // another tab took over while this one slept
      this.#attempt.abort()
      await this.#turnPauses.pause()
      this.#waitForTurn({signal: this.#signal})
    }
  }

  /** This tab's turn: it reads stream after stream, until another tab takes over. */
  async #lead() {
    const turn = (this.#turn = {})
    const isOver = () => this.#turn !== turn || this.#signal.aborted
    while (!isOver()) {
      this.#nextAtOnce = false
      const outcome = await this.#readStream()
      if (isOver()) return
      if (outcome === SILENT) this.#reached(false)
      if (outcome === HEARD || outcome === CROWDED) {
        this.#streamPauses.reset()
        this.#turnPauses.reset()
      }
      if (!this.#nextAtOnce) await this.#streamPauses.pause(outcome === NO_CHAT ? NO_CHAT_SECONDS : 0)
    }
  }

  /** Never rename these kinds: tabs that were opened before an update use the same channel. */
  #heardFromTab({kind, value, of}) {
    if (of !== undefined && of !== this.#visitor()) return // a former release does not say whose it is
    if (kind === "changed") this.#listener.changed(value)
    else if (kind === "chat") this.#listener.inChat(value)
    else if (kind === "works") this.#listener.reached(value)
    else if (kind === "here") clearTimeout(this.#leaderTimer)
    else if (kind === "look" && this.#turn) {
      this.#tell("here")
      this.look()
    }
  }

  #tell(kind, value) {
    if (!this.#signal.aborted) this.#channel.postMessage({kind, value, of: this.#visitor()})
  }

  #reached(isReached) {
    this.#listener.reached(isReached)
    this.#tell("works", isReached)
  }

  // The server

  /** Reads one stream to its end. If nothing comes in time, `#poll` asks for the same in answers that end. */
  async #readStream() {
    this.#attempt = new AbortController()
    const {signal} = this.#attempt
    const end = () => this.#attempt.abort()
    this.#signal.addEventListener("abort", end, {signal})
    this.#heardAt = Date.now()
    let hasSpoken = false
    let silence = setTimeout(end, SILENCE_SECONDS * 1000)
    const polling = setTimeout(() => this.#poll(() => hasSpoken || signal.aborted), FIRST_WORD_SECONDS * 1000)
    const outcome = await this.#read(false, signal, () => {
      this.#heardAt = Date.now()
      clearTimeout(silence)
      clearTimeout(polling)
      silence = setTimeout(end, SILENCE_SECONDS * 1000)
      if (!hasSpoken) this.#reached(true)
      hasSpoken = true
    })
    clearTimeout(silence)
    clearTimeout(polling)
    if (outcome === CROWDED) await this.#pollForAWhile()
    end()
    return outcome
  }

  async #pollForAWhile() {
    const {signal} = this.#attempt
    const until = Date.now() + CROWDED_SECONDS * 1000
    await this.#poll(() => {
      this.#heardAt = Date.now() // this tab is awake
      return signal.aborted || Date.now() > until
    })
  }

  async #poll(isOver) {
    const {signal} = this.#attempt
    while (!isOver()) {
      if ((await this.#read(true, signal)) === HEARD) this.#reached(true)
      await new Promise((resolve) => setTimeout(resolve, POLL_SECONDS * 1000))
    }
  }

  /** Reads one answer to its end; with `once` it ends with what is there. `onWord` is called for each piece. */
  async #read(once, signal, onWord = () => {}) {
    let outcome = once ? HEARD : SILENT
    try {
      const response = await this.#open(once, signal)
      if (!response) return NO_CHAT
      const chat = response.headers.get("X-Chat-Id")
      this.#tell("chat", chat)
      this.#listener.inChat(chat)
      for await (const fragments of readEvents(response.body)) {
        outcome = HEARD
        onWord()
        if (fragments.length) this.#pass(fragments.join("\n"), chat)
      }
      return outcome
    } catch (error) {
      if (error.reason === "busy" && !once) return CROWDED
      return once ? SILENT : outcome
    }
  }

  #pass(html, chat) {
    this.#listener.changed(html)
    if (!this.#turn) return
    this.#tell("chat", chat) // a tab that was opened before the first message does not know the chat yet
    this.#tell("changed", html)
  }
}

function openChannel(name) {
  try {
    return new BroadcastChannel(name)
  } catch {
    return {postMessage() {}, close() {}} // the browser blocks storage, and with it channels
  }
}
