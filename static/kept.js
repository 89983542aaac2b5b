/** What this browser keeps for us, and the outbox that sends what is unsent. Knows nothing of the page. */

import {Refused} from "./api.js"
import {Backoff, inTurn} from "./retry.js"

/**
 * Sends in order, one at a time: the first answer brings the session's cookie. A message leaves once the server has
 * it or the visitor takes it back. Tabs share what is kept and take turns.
 */
export class Outbox {
  #drawer
  #turn
  #send
  #on
  #signal
  #items
  #running = false
  #backoff = new Backoff()

  /** `turn` names the lock that tabs of this chat share. A message with a file is kept in this page only. */
  constructor({drawer, turn, send, signal, on}) {
    this.#drawer = drawer
    this.#turn = turn
    this.#send = send
    this.#signal = signal
    this.#on = on
    this.#items = this.#kept()
    signal.addEventListener("abort", () => this.#backoff.wake())
  }

  /** All that is unsent, oldest first. */
  get items() {
    return [...this.#items]
  }

  add(item) {
    this.#items.push(item)
    if (!item.file) this.#keep([...this.#kept(), item])
    this.run()
  }

  /** Sends a refused message once more, after the others; a waiting one at once. */
  retry(clientId) {
    const item = this.#items.find(({client_id}) => client_id === clientId)
    if (item && "refused" in item) {
      this.take(clientId)
      delete item.refused
      this.add(item)
    }
    this.run()
  }

  take(clientId) {
    if (!this.#items.some(({client_id}) => client_id === clientId)) return
    const others = ({client_id}) => client_id !== clientId
    this.#items = this.#items.filter(others)
    this.#keep(this.#kept().filter(others))
  }

  /** Sends what waits. If it is pausing after a failure, the pause ends. */
  async run() {
    this.#backoff.wake()
    if (this.#running) return
    this.#running = true
    for (let item; (item = this.#next()) && !this.#signal.aborted; ) await this.#step(item)
    this.#running = false
  }

  async #step(item) {
    try {
      const send = () => this.#isKept(item) && this.#send(item)
      const result = await inTurn(this.#turn, {signal: this.#signal}, send)
      this.#backoff.reset()
      this.take(item.client_id)
      if (result) this.#on.sent(item, result)
      else this.#on.gone(item) // another tab sent it or took it back
    } catch (error) {
      if (this.#signal.aborted || !this.#items.includes(item)) return
      if (error instanceof Refused) {
        item.refused = error.message
        this.#keep(this.#kept().map((kept) => (kept.client_id === item.client_id ? item : kept)))
        this.#on.refused(item)
      } else {
        this.#on.later(item, error.reason ?? "server")
        await this.#backoff.pause(error.seconds)
      }
    }
  }

  #next() {
    return this.#items.find((item) => !("refused" in item))
  }

  #kept() {
    return this.#drawer.get("outbox", [])
  }

  #keep(items) {
    this.#drawer.set("outbox", items)
  }

  #isKept(item) {
    return item.file || this.#kept().some(({client_id}) => client_id === item.client_id)
  }
}

/** Storage may be blocked or full: then all is kept until the page closes. */
export function openDrawer(kind, prefix) {
  const memory = new Map()
  return {
    get(key, otherwise) {
      if (memory.has(key)) return memory.get(key)
      try {
        return JSON.parse(window[kind].getItem(prefix + key)) ?? otherwise
      } catch {
        return otherwise
      }
    },
    /** An empty text or list leaves nothing behind. */
    set(key, value) {
      try {
        if (value.length === 0) window[kind].removeItem(prefix + key)
        else window[kind].setItem(prefix + key, JSON.stringify(value))
        memory.delete(key)
      } catch {
        memory.set(key, value)
      }
    },
    clear() {
      memory.clear()
      try {
        for (const key of Object.keys(window[kind])) if (key.startsWith(prefix)) window[kind].removeItem(key)
      } catch {
        // Nothing was ever kept there.
      }
    },
  }
}
