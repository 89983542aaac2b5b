/** Counts the answers that a visitor of another site's page has not seen yet, tells that page, and rings. */

import {texts} from "./config.js"

const HEARSAY_MS = 300 // before it rings, this tab waits to hear whether another tab shows the answer

export class Unread {
  #visitor;
  #list;
  #newest;
  #rungFor = 0; // the id of the answer for which this tab rang last
  #rings;

  /** `list` holds the bubbles; those that it holds now are not new. `rings()` says whether this tab is to ring. */
  constructor(visitor, list, rings) {
    this.#visitor = visitor
    this.#list = list
    this.#rings = rings
    this.#newest = lastId(list)
  }

  /** Tells the site's page of new answers and of how many are unread, and rings if the visitor does not see them. */
  look() {
    const visitor = this.#visitor
    const {open, sound} = visitor.page
    const isWatched = open && !document.hidden
    const answers = [...this.#list.querySelectorAll(".message.operator")]
    for (const answer of answers.filter(({dataset}) => dataset.id > this.#newest)) {
      const name = answer.querySelector(".from").textContent
      visitor.tell({event: "message", detail: {id: Number(answer.dataset.id), name}, note: !isWatched && name})
      if (!isWatched && sound && this.#rings()) setTimeout(() => this.#ring(), HEARSAY_MS)
    }
    this.#newest = lastId(this.#list)
    if (isWatched && visitor.seen !== this.#newest) {
      visitor.seen = this.#newest
      visitor.tell({keep: {seen: visitor.seen, at: Date.now()}})
    }
    const unread = answers.filter(({dataset}) => dataset.id > visitor.seen).length
    const label = unread ? `${document.title}. ${texts.new_messages}: ${unread}` : ""
    visitor.tell({unread, label})
  }

  /** Rings once for all new answers, unless another tab shows them: the site's pages hear of that from each other. */
  #ring() {
    if (Math.max(this.#visitor.seen, this.#rungFor) >= this.#newest) return
    this.#rungFor = this.#newest
    play()
  }
}

/** The highest id of the list's messages; 0 if there is none. */
export function lastId(list) {
  return Math.max(0, ...Array.from(list.querySelectorAll("[data-id]"), ({dataset: {id}}) => Number(id)))
}

let audio

/** Plays two soft notes. Browsers play nothing before the visitor has touched the page. */
export async function play() {
  audio ??= new AudioContext()
  await audio.resume()
  for (const [pitch, delay] of [[660, 0], [880, 0.13]]) {
    const at = audio.currentTime + delay
    const [tone, volume] = [audio.createOscillator(), audio.createGain()]
    tone.frequency.value = pitch
    volume.gain.setValueAtTime(0.1, at)
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.4)
    tone.connect(volume).connect(audio.destination)
    tone.start(at)
    tone.stop(at + 0.4)
  }
}
