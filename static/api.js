/** Asks the server. Every failure is a `Later` or a `Refused`. Knows nothing of the page. */

const TIMEOUT_MS = 30_000

/** Nothing was done; the same may succeed after `seconds`. `reason` is "network", "server" or "busy". */
export class Later extends Error {
  constructor(reason, seconds = 0) {
    super(reason)
    this.reason = reason
    this.seconds = seconds
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
    return (await this.#ask({type: "chat_history", ...options}, "text/html")).text
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
      signal,
    })
    if (!response.ok) throw failure(response, {})
    return response.status === 204 ? null : response
  }

  /** Sends one message; it is stored once, however often this is repeated. Returns its `id` and `state`. */
  async send(item) {
    return stored((await this.#ask(this.#messageFields("send_message", item), "application/json")).text)
  }

  /** Sends one message with a file. `onProgress` is given the share that is sent, from 0 to 1; `signal` cancels. */
  async upload(item, onProgress, signal) {
    const answer = await postWithProgress({
      url: this.#url,
      fields: {...this.#messageFields("upload_file", item), file: item.file},
      headers: {Accept: "application/json", ...this.#headers()},
      signals: [this.#signal, signal],
      onProgress,
    })
    this.#onResponse(answer.response.headers)
    return stored(checked(answer).text)
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
    return (await this.#ask({type: "save_conversation", ...(zone && {zone})}, "text/html")).text
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
    const timeout = AbortSignal.timeout(TIMEOUT_MS)
    let response, text
    try {
      response = await fetch(this.#url, {
        method: "POST",
        body: new URLSearchParams(fields),
        headers: {Accept: accept, ...this.#headers()},
        signal: AbortSignal.any?.([this.#signal, timeout]) ?? this.#signal,
      })
      this.#onResponse(response.headers)
      text = await response.text()
    } catch {
      throw new Later("network")
    }
    return checked({response, text})
  }
}

/** Returns the answer if its status is a success, else throws a `Later` or a `Refused`. */
function checked(answer) {
  if (!answer.response.ok) throw failure(answer.response, resultIn(answer.text))
  return answer
}

/** Posts with progress, which fetch does not report. It fails only after TIMEOUT_MS without any progress. */
function postWithProgress({url, fields, headers, signals, onProgress}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    const body = new FormData()
    for (const [name, value] of Object.entries(fields)) body.append(name, value)
    let timer
    const waitAnew = () => {
      clearTimeout(timer)
      timer = setTimeout(() => request.abort(), TIMEOUT_MS)
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
  const result = resultIn(text)
  if (!result.id) throw new Later("server")
  return result
}

function resultIn(text) {
  try {
    return JSON.parse(text).result ?? {}
  } catch {
    return {}
  }
}

function failure({status, headers}, {error_description: description}) {
  const seconds = Number(headers.get("Retry-After")) || 0
  if (status === 429) return new Later("busy", seconds)
  if (status >= 500 || status === 408 || status === 425) return new Later("server", seconds)
  return new Refused(description ?? "")
}
