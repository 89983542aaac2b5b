/** The chat's element: connects the parts, and shows what becomes of each message. */

import {Api, Later, Refused} from "./api.js"
import {explain, failureText, messagesIn, setState, showProgress, sizeName, warmUp} from "./bubbles.js"
import {Composer} from "./composer.js"
import {ajax, files, texts} from "./config.js"
import {faultOf, shrink} from "./files.js"
import {Log} from "./log.js"
import {Outbox} from "./outbox.js"
import {Stream} from "./stream.js"

/** Begins the chat on the page for this visitor. */
export function startChat(visitor) {
  if (!endsListeners()) return // the page works without this script, too
  customElements.define(
    "live-chat",
    class extends LiveChat {
      constructor() {
        super(visitor)
      }
    },
  )
}

class LiveChat extends HTMLElement {
  #visitor;
  #life; // ends all that the element began
  #api;
  #outbox;
  #stream;
  #composer;
  #log;
  #status;
  #kept;
  #drafts;
  #chatId; // as the server told it

  constructor(visitor) {
    super()
    this.#visitor = visitor
  }

  connectedCallback() {
    const [kept, drafts] = this.#visitor.drawers()
    this.#kept = kept
    this.#drafts = drafts
    this.#status = this.querySelector(".status")
    try {
      this.#begin()
    } catch (error) {
      this.#life.abort() // the browser lacks something: the page works as it does without this script
      throw error
    }
    setTimeout(warmUp)
  }

  disconnectedCallback() {
    this.#life.abort()
  }

  /** Whether this tab holds the stream for all tabs; that tab also rings. */
  get holdsStream() {
    return this.#stream.isHeld
  }

  #begin() {
    this.#life = new AbortController()
    const {signal} = this.#life
    const visitor = this.#visitor
    this.#api = new Api(ajax, {
      headers: () => visitor.headers,
      fields: () => visitor.fields,
      onResponse: (headers) => visitor.heardHeaders(headers),
      signal,
    })
    this.#log = new Log({
      root: this,
      loadOlder: (id) => this.#api.history({before: id}),
      onPress: (message, button) => this.#pressed(message, button),
      onVote: (vote) => {
        this.#post(vote)
        this.#log.focus()
      },
      signal,
    })
    if (visitor.site) this.#log.offerOlder()
    this.#beginOutbox(signal)
    this.#composer = new Composer({
      root: this,
      kept: this.#kept,
      drafts: this.#drafts,
      hasMessages: () => !this.#log.isEmpty,
      onMessage: (text) => this.#post(text),
      onFile: (file) => this.#post("", file),
      signal,
    })
    this.#log.scrollToEnd()
    this.#beginMenu(signal)
    this.#beginStream(signal)
    this.#outbox.run()
  }

  #beginOutbox(signal) {
    this.#outbox = new Outbox({
      drawer: this.#kept,
      lockName: this.#visitor.sharedName,
      send: (item) => (item.file ? this.#upload(item) : this.#api.send(item)),
      // The answer to a first message may be lost, and only its repeat brings the cookie for the others.
      reaches: async ({reason}) => (reason === "between" || this.#hasBegun()) && this.#api.reaches(),
      listener: {
        sent: (item, result) => this.#sent(item, result),
        settledElsewhere: (item) => this.#settledElsewhere(item),
        postponed: (item, error) => this.#postponed(item, error),
        refused: (item) => this.#refused(item),
      },
      signal,
    })
    for (const {clientId} of this.#log.messages) this.#outbox.remove(clientId) // it was sent, but its answer was lost
    for (const item of this.#outbox.items) this.#showUnsent(item)
    this.#log.arrange()
    window.addEventListener("beforeunload", (event) => {
      const isUploading = ({cancel, state}) => cancel && state === "waiting"
      if (this.#log.messages.some(isUploading)) event.preventDefault() // texts are kept, files are not
    }, {signal})
  }

  #beginMenu(signal) {
    const options = {
      root: this,
      api: this.#api,
      onFailure: (text) => this.#composer.warn(text),
      onDeleted: () => this.#deleted(),
      signal,
    }
    // Nobody needs the menu before the rest is there. Without its script its forms work as those of any page.
    const prepared = import("./menu.js").then(({prepareMenu}) => signal.aborted || prepareMenu(options))
    prepared.catch(() => {}).then(() => signal.aborted || (this.dataset.ready = ""))
    window.addEventListener("storage", ({key, newValue}) => {
      if (key !== `${this.#visitor.name}begun`) return
      if (newValue === null) this.#deleted()
      else this.#stream.look()
    }, {signal})
  }

  #beginStream(signal) {
    this.#stream = new Stream({
      name: this.#visitor.sharedName,
      visitor: () => this.#visitor.mark,
      open: (once, ended) => this.#openStream(once, ended),
      listener: {
        inChat: (id) => this.#inChat(id),
        changed: (html) => this.#show(this.#log.changesIn(html)),
        reached: (works) => this.#showConnection(works ? "ready" : navigator.onLine ? "reconnecting" : "offline"),
      },
      signal,
    })
    const changed = () => {
      this.#showConnection(navigator.onLine ? "ready" : "offline")
      if (navigator.onLine) this.#outbox.run()
    }
    for (const event of ["online", "offline"]) window.addEventListener(event, changed, {signal})
    if (!navigator.onLine) this.#showConnection("offline")
  }

  // What the server tells

  async #openStream(once, signal) {
    if (!this.#hasBegun()) return null
    if (!this.#log.lastEventId) this.#show(messagesIn(await this.#api.history()))
    return this.#api.stream(this.#log.lastEventId, once, signal)
  }

  /** Whether the server may have a chat: the visitor has written here, in another tab or on another device. */
  #hasBegun() {
    const isStored = ({id}) => id !== null
    const isNoted = this.#chatId || this.#visitor.hasToken || this.#kept.get("begun", false)
    return isNoted || this.#log.messages.some(isStored)
  }

  /** Hears the chat's id. If it has changed, the chat shown was deleted on another device: begins again without it. */
  #inChat(id) {
    const isAnother = this.#chatId && this.#chatId !== id
    this.#chatId = id
    if (isAnother) this.#beginAnew()
  }

  #show(messages) {
    for (const {clientId} of messages) this.#outbox.remove(clientId) // it has arrived, even if its answer was lost
    this.#log.show(messages)
  }

  #showConnection(connection) {
    if (this.#status.dataset.connection === connection) return
    this.#status.dataset.connection = connection
    this.#status.textContent = texts[`status_${connection}`]
  }

  // What the visitor does

  #post(message, file) {
    const item = {client_id: newClientId(), name: this.#composer.name, message, at: Date.now()}
    if (file) Object.assign(item, {file, cancel: new AbortController()})
    const fault = file && faultOf(file, files)
    if (fault) item.refused = files[fault]
    if (this.#composer.agrees) item.consent = "yes"
    this.#showUnsent(item)
    this.#log.arrange()
    this.#log.scrollToEnd()
    if (!fault) this.#outbox.add(item)
  }

  async #upload(item) {
    const {node} = this.#log.find(item.client_id)
    explain(node, texts.file_keep_open, "cancel")
    const progress = showProgress(node)
    item.file = await shrink(item.file)
    if (item.cancel.signal.aborted) throw new Later("network")
    if (item.file.size > files.bytes) throw new Refused(files.large)
    return this.#api.upload(item, (part) => (progress.value = part), item.cancel.signal)
  }

  #pressed(message, button) {
    const text = message.text ?? message.node.querySelector(".body").innerText
    if (button.name === "take_back" || button.name === "cancel" || button.name === "remove") {
      this.#forget(message)
      if (button.name === "take_back") this.#composer.restore(text)
    } else if (message.id === null) {
      if (message.state === "refused") this.#log.moveToEnd(message)
      setState(message, "waiting")
      this.#outbox.retry(message.clientId)
    } else {
      return this.#sendAgain(message, button)
    }
    this.#composer.focus()
  }

  /** Asks the server to queue once more a message that Bitrix24 refused. */
  async #sendAgain(message, button) {
    button.disabled = true
    try {
      const {state} = await this.#api.retry(message.id)
      if (this.#log.holds(message)) setState(message, state) // else the stream has told what became of it since
      this.#stream.look()
    } catch (error) {
      const reason = (error instanceof Refused && error.message) || failureText(error)
      if (this.#log.holds(message)) explain(message.node, reason, "retry")
    }
    this.#composer.focus()
  }

  /** The visitor deleted the conversation, here or in another tab: forgets all that the browser keeps of it. */
  #deleted() {
    this.#kept.clear()
    this.#drafts.clear()
    this.#composer.clear()
    this.#visitor.conversationDeleted()
    this.#chatId = null
    this.#beginAnew()
    this.#composer.focus()
  }

  /** Ends all requests, which belong to the deleted conversation, and begins again with an empty one. */
  #beginAnew() {
    this.#life.abort()
    this.#log.clear()
    this.#composer.askForConsent(true)
    this.#composer.warn("")
    this.#begin()
    this.#showConnection("ready")
    this.#status.textContent = texts.chat_deleted
  }

  // What becomes of a message

  #showUnsent(item) {
    const message = this.#log.showUnsent(item)
    if ("refused" in item) this.#explainRefusal(message, item.refused)
  }

  #sent(item, result) {
    const message = this.#log.find(item.client_id)
    if (message?.id === null) {
      message.id = result.id
      message.node.dataset.id = result.id
      setState(message, result.state)
    }
    this.#kept.set("begun", true)
    this.#composer.askForConsent(false)
    this.#showConnection("ready")
    this.#stream.look()
  }

  #settledElsewhere(item) {
    const message = this.#log.find(item.client_id)
    if (message?.id === null) this.#forget(message)
    this.#stream.look()
  }

  #postponed(item, {reason, status}) {
    const {node, cancel} = this.#log.find(item.client_id)
    const reading = this.#log.readsAlong
    const why = texts[`error_${reason}`]
      .replace("{size}", sizeName(item.file?.size ?? new Blob([item.message]).size))
      .replace("{status}", status)
    const keepOpen = cancel ? ` ${texts.file_keep_open}` : ""
    explain(node, why + keepOpen, "retry", cancel ? "cancel" : "take_back")
    if (reason === "network") this.#showConnection(navigator.onLine ? "reconnecting" : "offline")
    if (reading) this.#log.scrollToEnd()
  }

  #refused(item) {
    const reading = this.#log.readsAlong
    this.#explainRefusal(this.#log.find(item.client_id), item.refused)
    if (reading) this.#log.scrollToEnd()
  }

  #explainRefusal(message, reason) {
    setState(message, "refused")
    explain(message.node, reason || texts.error_refused, ...(message.cancel ? ["remove"] : ["retry", "take_back"]))
  }

  #forget(message) {
    this.#outbox.remove(message.clientId)
    message.cancel?.abort()
    this.#log.remove(message)
  }
}

/** Whether the browser can end listeners by a signal, without which a second beginning would do everything twice. */
function endsListeners() {
  let asked = false
  const options = {
    get signal() {
      asked = true
      return undefined
    },
  }
  document.createElement("i").addEventListener("none", () => {}, options)
  return asked
}

/** A random UUID. crypto.randomUUID exists under HTTPS only. */
function newClientId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")
}
