/**
 * Asks the server. Every failure is a `Later` or a `Refused`. Knows nothing of the page.
 *
 * Not every answer is the server's: a firewall, the sign-in page of a network, or a proxy's own limit may answer in its
 * place, with any status. The server marks all its answers by the header OURS. Whatever is not marked so is neither
 * shown nor believed: the same is asked again later.
 */

const OURS = "X-Chat-Server"
const SILENCE_MS = 30_000 // an answer that brings nothing for so long is given up
const SLOWEST = 4 // bytes a millisecond, in which a request may be sent; the server allows no slower ones
const LONGEST_WAIT_SECONDS = 120 // that an answer may ask for; whatever stands between may ask for hours
const UPLOAD_SHARE = 0.1 // of the time, while uploads are refused as too large by whatever stands between

/**
 * Nothing was done; the same may succeed after `seconds`. `reason` is "network", "server" or "busy"; or, where something
 * else answered in place of the server, "between", and "large" if the request is too large for it. `status` is the
 * answer's, 0 where there is none.
 */
export class Later extends Error {
  constructor(reason, seconds = 0, status = 0) {
    super(reason)
    this.reason = reason
    this.seconds = seconds
    this.status = status
  }
}

/** Repeating will not help. The error's message is for the visitor, in their language; it may be empty. */
export class Refused extends Error {}

export class Api {
  #url;
  #headers;
  #fields;
  #onResponse;
  #signal;

  /**
   * The server at `url`. `headers()` returns what goes with every request, `fields()` what goes with every message.
   * `onResponse` is given the headers of each answer but a stream's. `signal` ends all requests.
   */
  constructor(url, {headers, fields, onResponse, signal}) {
    this.#url = url
    this.#headers = headers
    this.#fields = fields
    this.#onResponse = onResponse
    this.#signal = signal
  }

  /** The chat's messages as HTML, oldest first; with `before`, those older than the message of that id. */
  async history(options) {
    const {text, response: {headers}} = await this.#ask({type: "chat_history", ...options}, "text/html")
    const count = headers.get("X-Chat-Messages") // a former release does not say it
    if (count && text.split("</article>").length <= count) throw new Later("network") // it was cut off
    return text
  }

  /** Whether the server can be reached by a small request. */
  async reaches() {
    try {
      await this.history({limit: 1})
      return true
    } catch {
      return false
    }
  }

  /**
   * What changed after the event `lastId` (null: from the start), as a response with Server-Sent Events, or null if
   * there is no chat yet. With `once` the answer ends with what is there. `signal` ends this answer alone.
   */
  async stream(lastId, once, signal) {
    const query = new URLSearchParams({type: "chat_stream", ...(once && {once})})
    const response = await fetch(`${this.#url}${this.#url.includes("?") ? "&" : "?"}${query}`, {
      headers: {Accept: "text/event-stream", "Last-Event-ID": lastId ?? 0, ...this.#headers()},
      cache: "no-store",
      redirect: "manual",
      signal,
    })
    if (!response.ok || !response.headers.has(OURS)) throw failure(response, response.headers.has(OURS) ? {} : null)
    return response.status === 204 ? null : response
  }

  /** Sends one message; it is stored once, however often this is repeated. Returns its `id` and `state`. */
  async send(item) {
    return stored((await this.#ask(this.#messageFields("send_message", item), "application/json")).text)
  }

  /** Sends one message with a file. `onProgress` is given the share that is sent, from 0 to 1; `signal` cancels. */
  async upload(item, onProgress, signal) {
    const begun = Date.now()
    const answer = await postWithProgress({
      url: this.#url,
      fields: {...this.#messageFields("upload_file", item), file: item.file},
      headers: {Accept: "application/json", ...this.#headers()},
      signals: [this.#signal, signal],
      onProgress,
    })
    this.#onResponse(answer.response.headers)
    try {
      return stored(checked(answer).text)
    } catch (error) {
      // Most proxies refuse by the length, at once. Where all was sent first, trying often would cost the visitor.
      if (error.reason === "large") error.seconds = (Date.now() - begun) / 1000 / UPLOAD_SHARE
      throw error
    }
  }

  /** Queues again a message that Bitrix24 refused; all tabs hear of it. Returns its `id` and `state`. */
  async retry(id) {
    return stored((await this.#ask({...this.#fields(), type: "retry_message", id}, "application/json")).text)
  }

  /** Asks for anything else; returns the answer's `result`. */
  async ask(fields) {
    return resultIn((await this.#ask(fields, "application/json")).text)
  }

  /** The whole conversation as an HTML file, with the times of the visitor's own zone. */
  async save() {
    const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone
    const {text} = await this.#ask({type: "save_conversation", ...(zone && {zone})}, "text/html")
    if (!text.trimEnd().endsWith("</html>")) throw new Later("network") // it was cut off
    return text
  }

  /** Deletes the conversation for good. */
  async deleteConversation() {
    const result = await this.ask({type: "delete_conversation"})
    if (!("deleted" in result)) throw new Later("server")
  }

  #messageFields(type, {client_id, name, message, consent}) {
    return {...this.#fields(), type, client_id, name, message, ...(consent && {consent})}
  }

  async #ask(fields, accept) {
    const body = new URLSearchParams(fields)
    const attempt = new AbortController()
    const end = () => attempt.abort()
    if (this.#signal.aborted) end()
    this.#signal.addEventListener("abort", end)
    let timer
    const waitAnew = (bytes = 0) => {
      clearTimeout(timer)
      timer = setTimeout(end, SILENCE_MS + bytes / SLOWEST)
    }
    try {
      waitAnew(String(body).length)
      const response = await fetch(this.#url, {
        method: "POST",
        body,
        headers: {Accept: accept, ...this.#headers()},
        redirect: "manual", // to a sign-in page, which must not get what the visitor writes
        signal: attempt.signal,
      })
      this.#onResponse(response.headers)
      return checked({response, text: await textOf(response, waitAnew)})
    } catch (error) {
      throw error instanceof Later || error instanceof Refused ? error : new Later("network")
    } finally {
      clearTimeout(timer)
      this.#signal.removeEventListener("abort", end)
    }
  }
}

/** The text of a response; `onPiece` is called whenever a piece of it has come. */
async function textOf({body}, onPiece) {
  const reader = body?.getReader()
  const decoder = new TextDecoder()
  let text = ""
  for (let piece; reader && !(piece = await reader.read()).done; onPiece()) {
    text += decoder.decode(piece.value, {stream: true})
  }
  return text + decoder.decode()
}

/** Returns the answer if it is a success of our server's, else throws a `Later` or a `Refused`. */
function checked(answer) {
  const {response, text} = answer
  const result = readResult(text)
  const isOurs = response.headers.has(OURS) || (response.ok && result?.id) // a former release marks none
  if (!response.ok || !isOurs) throw failure(response, isOurs ? (result ?? {}) : null)
  return answer
}

/** Posts with progress, which fetch does not report. It fails only after SILENCE_MS without any progress. */
function postWithProgress({url, fields, headers, signals, onProgress}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    const body = new FormData()
    for (const [name, value] of Object.entries(fields)) body.append(name, value)
    let timer
    const waitAnew = () => {
      clearTimeout(timer)
      timer = setTimeout(() => request.abort(), SILENCE_MS)
    }
    for (const signal of signals) signal.addEventListener("abort", () => request.abort(), {once: true})
    request.upload.onprogress = ({loaded, total}) => {
      waitAnew()
      onProgress(loaded / total)
    }
    request.onloadend = () => {
      clearTimeout(timer)
      const {status, responseText: text} = request
      if (!status) return reject(new Later("network"))
      if (request.responseURL !== new Request(url).url) return reject(new Later("between")) // it was redirected
      const get = (name) => request.getResponseHeader(name)
      const has = (name) => get(name) !== null
      resolve({response: {status, ok: status < 300, headers: {get, has}}, text})
    }
    request.open("POST", url)
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value)
    request.send(body)
    waitAnew()
  })
}

/** The stored message that an answer names. An answer that names none is not our server's, but perhaps a proxy's. */
function stored(text) {
  const {id, state = "stored"} = resultIn(text)
  if (!id) throw new Later("server")
  return {id, state}
}

function resultIn(text) {
  return readResult(text) ?? {}
}

/** The `result` of our server's JSON; null if the text is anything else. */
function readResult(text) {
  try {
    const {result} = JSON.parse(text)
    return typeof result === "object" ? result : null
  } catch {
    return null
  }
}

/** What a failure means. `result` is that of our server's answer, null if something else has answered. */
function failure({status, headers}, result) {
  const seconds = Math.min(Math.max(Number(headers.get("Retry-After")) || 0, 0), LONGEST_WAIT_SECONDS)
  const isOfNetwork = status === 511 // "Network Authentication Required": the network wants the visitor to sign in
  if (status === 429) return new Later("busy", seconds, status)
  if ((status >= 500 && !isOfNetwork) || status === 408 || status === 425) return new Later("server", seconds, status)
  if (result) return new Refused(typeof result.error_description === "string" ? result.error_description : "")
  return new Later(status === 413 ? "large" : "between", seconds, status)
}
