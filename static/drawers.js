/** What the browser keeps for the chat, by name. Knows nothing of the page. */

/**
 * Opens the part of `window[kind]` ("localStorage" or "sessionStorage") whose names begin with `prefix`. Where the
 * browser blocks storage, or it is full, values are kept in memory until the page closes.
 */
export function openDrawer(kind, prefix) {
  const memory = new Map()
  return {
    get(name, otherwise) {
      if (memory.has(name)) return memory.get(name)
      try {
        return JSON.parse(globalThis[kind].getItem(prefix + name)) ?? otherwise
      } catch {
        return otherwise
      }
    },

    /** An empty text or list leaves nothing behind. */
    set(name, value) {
      try {
        if (value.length === 0) globalThis[kind].removeItem(prefix + name)
        else globalThis[kind].setItem(prefix + name, JSON.stringify(value))
        memory.delete(name)
      } catch {
        memory.set(name, value)
      }
    },

    clear() {
      memory.clear()
      try {
        for (const name of Object.keys(globalThis[kind])) {
          if (name.startsWith(prefix)) globalThis[kind].removeItem(name)
        }
      } catch {
        // Storage is blocked, so nothing was ever kept there.
      }
    },
  }
}
