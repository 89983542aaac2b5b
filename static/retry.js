/** Repeats what failed, never without a pause. Knows neither the page nor the server. */

const LONGEST_PAUSE_SECONDS = 30
const LOCK_TRIES = 3

/** Pauses between the tries of one thing: up to 1 s, 2 s, 4 s and so on. */
export class Backoff {
  #failures = 0

  /** Waits `seconds` at least, unless `wake` ends it. */
  pause(seconds = 0) {
    const grown = Math.min(2 ** this.#failures++, LONGEST_PAUSE_SECONDS)
    const jittered = Math.max(seconds, grown * (0.5 + Math.random() / 2))
    return new Promise((resolve) => {
      this.wake = resolve
      setTimeout(resolve, jittered * 1000)
    })
  }

  wake() {}

  /** It worked: the next pause is a short one again. */
  reset() {
    this.#failures = 0
  }
}

/**
 * Does `work` while no other tab does work of this `name`. Rejects if `work` does, if another tab steals the lock, or
 * if `options.signal` ends it. After a few tries `work` is done without a lock. WebKit refuses locks while it suspends
 * a page: tries without a pause would keep it there for ever.
 */
export async function inTurn(name, options, work) {
  let begun = false
  const begin = () => {
    begun = true
    return work()
  }
  const backoff = new Backoff()
  for (let tries = 1; navigator.locks; tries++) {
    try {
      return await navigator.locks.request(name, options, begin)
    } catch (error) {
      if (begun || options.signal?.aborted) throw error
      if (tries === LOCK_TRIES || error.name === "SecurityError") break // it says that storage is blocked
      await backoff.pause()
    }
  }
  return work()
}
