/** Repeats what failed, never without a pause. Knows neither the page nor the server. */

const LONGEST_PAUSE_SECONDS = 30
const LOCK_TRIES = 3 // after that the work is done without a lock

/** The pauses between the tries of one thing: up to 1 s, then up to 2 s, 4 s and so on. */
export class Backoff {
  #failures = 0;

  /** Waits for the next pause, or for `seconds` if they are longer. Calling `wake` ends the pause. */
  pause(seconds = 0) {
    const longest = Math.min(2 ** this.#failures++, LONGEST_PAUSE_SECONDS)
    const random = longest * (0.5 + Math.random() / 2) // so that not all pages come back at once
    return new Promise((resolve) => {
      this.wake = resolve
      setTimeout(resolve, Math.max(seconds, random) * 1000)
    })
  }

  wake() {}

  /** Called after a success: the next pause is a short one again. */
  reset() {
    this.#failures = 0
  }
}

/**
 * Does `work` while no other tab does work under the same lock `name`, and resolves to its result. Rejects if `work`
 * rejects, if another tab steals the lock, or if `options.signal` is aborted. A browser that gives no lock is asked
 * a few times, then `work` is done without one. The pauses between these tries matter: WebKit refuses locks while it
 * suspends a page, and tries without a pause would hang that page for ever.
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
      if (tries === LOCK_TRIES || error.name === "SecurityError") break // SecurityError: storage is blocked
      await backoff.pause()
    }
  }
  return work()
}
