/**
 * Lets the browser's Back, and Android's, close the chat where it fills the screen.
 *
 * The entry for it is in the history of our frame. Browsers go back through the entries of a page and of its frames
 * together, but only the frame hears of its own: the site's router, which might draw the page anew, does not.
 */

const MOST_ENTRIES = 50 // browsers keep no more, so from then on the number of entries says nothing
const MARK = "chat is open" // the state of our entry

export class Back {
  #close;
  #isWanted = false;
  #isGoingBack = false; // our entry is being removed; `popstate` tells when that is done
  #entries = 0; // of the page and its frames together, with ours as the last one
  #watcher; // hears Android's gesture in browsers that have one

  /** `close` closes the chat. */
  constructor(close) {
    this.#close = close
    window.addEventListener("popstate", () => this.#went())
  }

  /** Whether Back should close the chat from now on. */
  want(isWanted) {
    if (isWanted === this.#isWanted) return
    this.#isWanted = isWanted
    this.#update()
  }

  #update() {
    if (this.#isGoingBack) return
    if (this.#isWanted) this.#addEntry()
    else if (isAtOurEntry() && this.#isLastEntry()) this.#removeEntry()
    this.#watch()
  }

  #addEntry() {
    try {
      if (!isAtOurEntry()) history.pushState(MARK, "")
    } catch {} // Safari refuses more than a hundred entries in half a minute
    this.#entries = history.length
  }

  /** Going back removes our entry only while the site's page has not moved on to another one. */
  #isLastEntry() {
    return history.length === this.#entries && this.#entries < MOST_ENTRIES
  }

  #removeEntry() {
    this.#isGoingBack = true
    history.back() // never twice for one entry: the second would take the site's page away
  }

  #went() {
    if (this.#isGoingBack) {
      this.#isGoingBack = false
      this.#update()
    } else if (this.#isWanted && !isAtOurEntry()) {
      this.#isWanted = false
      this.#watch()
      this.#close()
    }
  }

  #watch() {
    if (!this.#isWanted || !window.CloseWatcher) {
      this.#watcher?.destroy()
      this.#watcher = null
    } else if (!this.#watcher) {
      this.#watcher = new CloseWatcher()
      this.#watcher.onclose = () => {
        this.#watcher = null
        this.#close()
      }
    }
  }
}

function isAtOurEntry() {
  return history.state === MARK
}
