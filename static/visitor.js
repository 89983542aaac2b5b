/** Who writes, as far as this page knows, and under which names the browser keeps what is theirs. */

import {openDrawer} from "./drawers.js"

/** The visitor of our own page. The server knows them by their cookie, so requests need to say nothing more. */
export class Visitor {
  site = ""; // the origin of the site that embeds the chat
  headers = {}; // go with every request
  fields = {}; // go with every message
  tabsName = ""; // not empty where each tab remembers a visitor of its own and must not hear of the others'
  customer = ""; // for whom the embedding site signs
  #path;

  /** `address` is where the chat's requests go. */
  constructor(address) {
    this.#path = address.split("?")[0]
  }

  /** How all names begin of what the browser keeps for this site, whoever the visitor is. */
  get siteName() {
    return `chat ${this.#path} ${this.site && `${this.site} `}`
  }

  /** How the names begin of what the browser keeps for this visitor. */
  get name() {
    return this.siteName + (this.site && `${this.customer} `)
  }

  /** What tabs share that show the same chat: a lock and a channel of this name. */
  get sharedName() {
    return this.name + this.tabsName
  }

  /** Whether this page knows a token, and so a chat may have begun. */
  get hasToken() {
    return "X-Chat-Token" in this.headers
  }

  set token(token) {
    this.headers["X-Chat-Token"] = token
  }

  get token() {
    return this.headers["X-Chat-Token"]
  }

  dropToken() {
    delete this.headers["X-Chat-Token"]
  }

  /** The drawers of what is kept for good, and of what is kept until the tab closes. */
  drawers(name = this.name) {
    return ["localStorage", "sessionStorage"].map((kind) => openDrawer(kind, name))
  }

  /** Called with the headers of every answer. */
  heardHeaders() {}

  /** Called when the conversation was deleted. */
  conversationDeleted() {}
}

/** The visitor of a page that a site frames without our loader. Cookies may be blocked: this page remembers a token. */
export class FramedVisitor extends Visitor {
  tabsName = Math.random();
  headers = {"X-Chat-Site": location.origin};

  heardHeaders(headers) {
    const token = headers.get("X-Chat-Token")
    if (token) this.token = token
  }

  conversationDeleted() {
    this.dropToken()
  }
}
