/** Asks the server. Every failure is a `Later` or a `Refused`; knows nothing of the page. */

const TIMEOUT_MS = 30_000

/** Not now: repeated after `seconds`, the same may succeed. `reason` is "network", "server" or "busy". */
export class Later extends Error {
  constructor(reason, seconds = 0) {
    super(reason)
    this.reason = reason
    this.seconds = seconds
  }
}

/** Repeating will not help. The message is for the visitor, in their language; it may be empty. */
export class Refused extends Error {}

/** What goes with an embedded chat's requests, who hears the answers' headers and of its end: embed.js says. */
export const escort = {headers: {}, fields: {}, heard() {}, gone() {}}

/** `signal` ends all requests. */
export function connect(url, signal) {
  async function post(fields, accept) {
    const timeout = AbortSignal.timeout(TIMEOUT_MS)
    try {
      const response = await fetch(url, {
        method: "POST",
        body: new URLSearchParams(fields),
        headers: {Accept: accept, ...escort.headers},
        signal: AbortSignal.any?.([signal, timeout]) ?? signal,
      })
      escort.heard(response.headers)
      return {response, text: await response.text()}
    } catch {
      throw new Later("network")
    }
  }

  /** Posts with progress, which fetch does not tell. It may take as long as it moves. */
  function postLarge(fields, onProgress, ended) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest()
      const body = new FormData()
      for (const [name, value] of Object.entries(fields)) body.append(name, value)
      let timer
      const moved = () => {
        clearTimeout(timer)
        timer = setTimeout(() => request.abort(), TIMEOUT_MS)
      }
      for (const end of [signal, ended]) end.addEventListener("abort", () => request.abort(), {once: true})
      request.upload.onprogress = ({loaded, total}) => {
        moved()
        onProgress(loaded / total)
      }
      request.onloadend = () => {
        clearTimeout(timer)
        if (!request.status) return reject(new Later("network"))
        const {status, responseText: text} = request
        const headers = {get: (name) => request.getResponseHeader(name)}
        escort.heard(headers)
        resolve({response: {status, headers, ok: status < 300}, text})
      }
      request.open("POST", url)
      const headers = {Accept: "application/json", ...escort.headers}
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value)
      request.send(body)
      moved()
    })
  }

  function stored({response, text}) {
    const result = parse(text)
    if (!response.ok) throw failure(response, result)
    if (!result.id) throw new Later("server") // not our answer: a proxy's page, perhaps
    return result
  }

  return {
    /** The chat's messages as HTML; with `before`, those older than that id. */
    async history(options) {
      const {response, text} = await post({type: "chat_history", ...options}, "text/html")
      if (!response.ok) throw failure(response, {})
      return text
    },

    /** What changed after `revision`, as events; with `once` the answer ends. Null if there is no chat. */
    async stream(revision, once, over) {
      const query = new URLSearchParams({type: "chat_stream", ...(once && {once})})
      const response = await fetch(`${url}${url.includes("?") ? "&" : "?"}${query}`, {
        headers: {Accept: "text/event-stream", "Last-Event-ID": revision, ...escort.headers},
        cache: "no-store",
        signal: over,
      })
      if (!response.ok) throw failure(response, {})
      return response.status === 204 ? null : response
    },

    /** Sends one message, once however often it is repeated. Returns its `id` and `state`. */
    async send({client_id, name, message, consent}) {
      const fields = {...escort.fields, type: "send_message", client_id, name, message, ...(consent && {consent})}
      return stored(await post(fields, "application/json"))
    },

    /** The same with a file; `ended` cancels, `onProgress` is told a part of 1. */
    async upload({client_id, name, message, consent, file}, onProgress, ended) {
      const fields = {...escort.fields, type: "upload_file", client_id, name, message, ...(consent && {consent}), file}
      return stored(await postLarge(fields, onProgress, ended))
    },

    /** Asks for anything else; returns the answer's `result`. */
    async ask(fields) {
      const {response, text} = await post(fields, "application/json")
      const result = parse(text)
      if (!response.ok) throw failure(response, result)
      return result
    },

    async save() {
      const {response, text} = await post({type: "save_conversation"}, "text/html")
      if (!response.ok) throw failure(response, {})
      return text
    },

    /** Deletes the conversation for good. */
    async forget() {
      const result = await this.ask({type: "delete_conversation"})
      if (!("deleted" in result)) throw new Later("server")
    },
  }
}

function failure(response, {error_description: description}) {
  const {status} = response
  const seconds = Number(response.headers.get("Retry-After")) || 0
  if (status === 429) return new Later("busy", seconds)
  if (status >= 500 || status === 408 || status === 425) return new Later("server", seconds)
  return new Refused(description ?? "")
}

function parse(text) {
  try {
    return JSON.parse(text).result ?? {}
  } catch {
    return {}
  }
}
