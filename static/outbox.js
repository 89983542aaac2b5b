/** Keeps what is unsent and sends it. Knows neither the page nor how a message is sent. */

import {Later, Refused} from "./api.js"
import {Backoff, inTurn} from "./retry.js"

const AT_ONCE_SECONDS = 10 // an item that was asked to pause for longer is not tried before its time
const MET_ALONE = ["between", "large", "network"] // reasons of failures that one item may meet while others do not

/**
 * Sends items in order, one at a time, because the answer to the first brings the session's cookie. An item leaves
 * the outbox once the server has it or the visitor takes it back. Tabs share what is kept in the drawer and take
 * turns. An item with a file is kept in this page only.
 *
 * A failure that all items would meet, such as a lost connection, is waited for. One that an item meets alone, such as
 * the limit of a proxy or a firewall that dislikes a word, holds up that item only: it rests while the others go. As
 * long as none of them gets through, it is tried again before each later one, so that the order is kept.
 */
export class Outbox {
  #drawer;
  #lockName;
  #send;
  #reaches;
  #signal;
  #listener;
  #items;
  #running = false;
  #backoff = new Backoff();
  #alone = new Map(); // a Backoff for each item that meets a failure alone, by its client_id
  #resting = new Map(); // of those of them that pause now: the seconds asked for; Infinity once another has passed it

  /**
   * `lockName` names the lock that all tabs of this chat share. `send(item)` resolves to what the server stored.
   * `reaches(error)`: after this error, whether others may go first, because a small request reaches the server now.
   * `listener` has a method for each outcome: `sent(item, result)`, `settledElsewhere(item)` when another tab sent
   * the item or took it back, `postponed(item, error)` before a pause (a `Later`), and `refused(item)`.
   */
  constructor({drawer, lockName, send, reaches = async () => false, signal, listener}) {
    this.#drawer = drawer
    this.#lockName = lockName
    this.#send = send
    this.#reaches = reaches
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
    this.#go()
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
    this.#alone.delete(clientId)
    this.#resting.delete(clientId)
    this.#items = this.#items.filter(isAnother)
    this.#keep(this.#keptItems().filter(isAnother))
  }

  /** Sends all that waits. If the outbox, or an item, is pausing after a failure, the pause ends. */
  run() {
    return this.#go(Infinity)
  }

  async #go(longest) {
    this.#recall(longest)
    this.#backoff.wake()
    if (this.#running) return
    this.#running = true
    for (let item; (item = this.#firstWaiting()) && !this.#signal.aborted; ) await this.#try(item)
    this.#running = false
  }

  async #try(item) {
    let error = await this.#attempt(item)
    let isAlone = error?.reason === "large"
    if (error && !isAlone && this.#othersWait(item) && MET_ALONE.includes(error.reason)) {
      if (await this.#reaches(error)) {
        error = await this.#attempt(item) // what all have met may just have ended, and the order is to be kept
        isAlone = MET_ALONE.includes(error?.reason)
      }
    }
    if (!error) return
    this.#listener.postponed(item, error)
    if (isAlone) this.#rest(item, error.seconds)
    else {
      await this.#backoff.pause(error.seconds)
      this.#recall()
    }
  }

  /** Ends the rest of all items that may still go in order. */
  #recall(longest = AT_ONCE_SECONDS) {
    for (const [id, seconds] of this.#resting) {
      if (seconds <= longest && this.#resting.delete(id)) this.#alone.get(id).wake()
    }
  }

  /** Sends one item. Returns a `Later` if it has to be sent again, else null. */
  async #attempt(item) {
    try {
      const send = () => this.#isUnsettled(item) && this.#send(item)
      const result = await inTurn(this.#lockName, {signal: this.#signal}, send)
      this.#backoff.reset()
      this.remove(item.client_id)
      for (const id of this.#resting.keys()) this.#resting.set(id, Infinity)
      if (result) this.#listener.sent(item, result)
      else this.#listener.settledElsewhere(item)
      return null
    } catch (error) {
      if (this.#signal.aborted || !this.#items.includes(item)) return null
      if (!(error instanceof Refused)) return error instanceof Later ? error : new Later("server")
      this.#refuse(item, error.message)
      return null
    }
  }

  #othersWait(item) {
    return this.#items.some((other) => other !== item && this.#waits(other))
  }

  /** Lets others go until the item's own pause ends. */
  async #rest({client_id: id}, seconds) {
    if (!this.#alone.has(id)) this.#alone.set(id, new Backoff())
    this.#resting.set(id, seconds)
    await this.#alone.get(id).pause(seconds)
    if (this.#resting.delete(id)) this.#go()
  }

  /** A refused item stays, so that the visitor can send it again or take it back. */
  #refuse(item, reason) {
    item.refused = reason
    this.#keep(this.#keptItems().map((kept) => (kept.client_id === item.client_id ? item : kept)))
    this.#listener.refused(item)
  }

  #firstWaiting() {
    return this.#items.find((item) => this.#waits(item))
  }

  #waits(item) {
    return !("refused" in item || this.#resting.has(item.client_id))
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
