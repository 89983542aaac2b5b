/** What this browser keeps for us. Storage may be blocked or full: then it is kept until the page closes. */

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
