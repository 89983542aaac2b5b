/** Keeps what is unsent and sends it. Knows neither the page nor how a message is sent. */

import {Refused} from "./api.js"
import {Backoff, inTurn} from "./retry.js"

/**
 * Sends items in order, one at a time, because the answer to the first brings the session's cookie. An item leaves
 * the outbox once the server has it or the visitor takes it back. Tabs share what is kept in the drawer and take
 * turns. An item with a file is kept in this page only.
 */
export class Outbox {
  #drawer;
  #lockName;
  #send;
  #signal;
  #listener;
  #items;
  #running = false;
  #backoff = new Backoff();

  /**
   * `lockName` names the lock that all tabs of this chat share. `send(item)` resolves to what the server stored.
   * `listener` has a method for each outcome: `sent(item, result)`, `settledElsewhere(item)` when another tab sent
   * the item or took it back, `postponed(item, reason)` before a pause, and `refused(item)`.
   */
  constructor({drawer, lockName, send, signal, listener}) {
    this.#drawer = drawer
    this.#lockName = lockName
    this.#send = send
    this.#signal = signal
    this.#listener = listener
    this.#items = this.#keptItems()
    signal.addEventListener("abort", () => this.#backoff.wake())
  }

  /** All unsent items, oldest first. */
  get items() {
    return [...this.#items]
  }

  add(item) {
    this.#items.push(item)
    if (!item.file) this.#keep([...this.#keptItems(), item])
    this.run()
  }

  /** Sends a refused item once more, after all others; sends a waiting one at once. */
  retry(clientId) {
    const item = this.#items.find(({client_id}) => client_id === clientId)
    if (item && "refused" in item) {
      this.remove(clientId)
      delete item.refused
      this.add(item)
    }
    this.run()
  }

  /** Removes an item, if it is still here: the server has it, or the visitor took it back. */
  remove(clientId) {
    if (!this.#items.some(({client_id}) => client_id === clientId)) return
    const isAnother = ({client_id}) => client_id !== clientId
    this.#items = this.#items.filter(isAnother)
    this.#keep(this.#keptItems().filter(isAnother))
  }

  /** Sends all that waits. If the outbox is pausing after a failure, the pause ends. */
  async run() {
    this.#backoff.wake()
    if (this.#running) return
    this.#running = true
    for (let item; (item = this.#firstWaiting()) && !this.#signal.aborted; ) await this.#try(item)
    this.#running = false
  }

  async #try(item) {
    try {
      const send = () => this.#isUnsettled(item) && this.#send(item)
      const result = await inTurn(this.#lockName, {signal: this.#signal}, send)
      this.#backoff.reset()
      this.remove(item.client_id)
      if (result) this.#listener.sent(item, result)
      else this.#listener.settledElsewhere(item)
    } catch (error) {
      if (this.#signal.aborted || !this.#items.includes(item)) return
      if (error instanceof Refused) this.#refuse(item, error.message)
      else {
        this.#listener.postponed(item, error.reason ?? "server")
        await this.#backoff.pause(error.seconds)
      }
    }
  }

  /** A refused item stays, so that the visitor can send it again or take it back. */
  #refuse(item, reason) {
    item.refused = reason
    this.#keep(this.#keptItems().map((kept) => (kept.client_id === item.client_id ? item : kept)))
    this.#listener.refused(item)
  }

  #firstWaiting() {
    return this.#items.find((item) => !("refused" in item))
  }

  /** Whether no other tab has sent the item, or taken it back, while this tab waited for its turn. */
  #isUnsettled(item) {
    return item.file || this.#keptItems().some(({client_id}) => client_id === item.client_id)
  }

  #keptItems() {
    return this.#drawer.get("outbox", [])
  }

  #keep(items) {
    this.#drawer.set("outbox", items)
  }
}
