/** Who writes, as far as this page knows, and the names under which the browser keeps what belongs to them. */

import {openDrawer} from "./drawers.js"

/** The visitor of our own page. The server knows them by their cookie, so requests need to say nothing more. */
export class Visitor {
  site = ""; // the origin of the site that embeds the chat
  headers = {}; // go with every request
  fields = {}; // go with every message
  tabsName = ""; // not empty if each tab has a visitor of its own, so that tabs must not share anything
  customer = ""; // for whom the embedding site signs
  #path;

  /** `address` is where the chat's requests go. */
  constructor(address) {
    this.#path = address.split("?")[0]
  }

  /** The beginning of all names under which the browser keeps something for this site, for any visitor. */
  get siteName() {
    return `chat ${this.#path} ${this.site && `${this.site} `}`
  }

  /** The beginning of the names under which the browser keeps something for this visitor. */
  get name() {
    return this.siteName + (this.site && `${this.customer} `)
  }

  /** The name of the lock and the channel that tabs with the same chat share. */
  get sharedName() {
    return this.name + this.tabsName
  }

  /** What tells visitors apart who share that name one after another, such as before and after a log-out. */
  get mark() {
    return ""
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

  /** Two drawers: one keeps for good, the other until the tab closes. */
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
