/** The conversation on the page: its messages in order, their days, the scroll, and the loading of older messages. */

import {dayName, make, messageOf, messagesIn, showVote, unsentMessage, update} from "./bubbles.js"
import {texts} from "./config.js"
import {arrange, merge, votes} from "./conversation.js"

const NEAR_END_PX = 48 // a visitor no further than this from the end is taken to read along
const AHEAD = "600px 0px 0px" // older messages are asked for when their link is this near to being seen
const AGAIN_SECONDS = 20 // after older messages could not be loaded, and the server has not said when they can be
const SETTLE_MS = 300 // after older messages came, until screen readers announce again: those are no news

export class Log {
  #box;
  #list;
  #welcome;
  #jump;
  #menuButton;
  #older;
  #pattern;
  #loadOlder;
  #observer;
  #messages;
  #loading = false;
  #end = 0; // where the log's end was when the visitor last was there; Infinity when they scrolled away from it

  /**
   * `root` is the chat's element. `loadOlder(id)` resolves to the HTML of the messages before that id. `onPress` is
   * given the message and the button that was pressed in it, `onVote` the vote.
   */
  constructor({root, loadOlder, onPress, onVote, signal}) {
    const part = (selector) => root.querySelector(selector)
    this.#box = part(".log")
    this.#list = part(".list")
    this.#welcome = part(".welcome")
    this.#jump = part(".jump")
    this.#menuButton = part(".more")
    this.#older = part(".older")
    this.#pattern = part("template").content.firstElementChild
    this.#loadOlder = loadOlder
    this.#messages = [...this.#list.querySelectorAll(".message")].map(messageOf)
    this.#listen(onPress, onVote, signal)
  }

  /** All messages, oldest first. */
  get messages() {
    return this.#messages
  }

  get isEmpty() {
    return !this.#messages.length
  }

  /** The latest change that is shown, as the stream's ids name it; null if the server has told nothing yet. */
  get lastEventId() {
    const latest = this.#messages.reduce((a, b) => (Number(b.revision) > Number(a.revision) ? b : a), {revision: 0})
    return latest.epoch ? `${latest.epoch}.${latest.revision}` : null
  }

  find(clientId) {
    return this.#messages.find((message) => message.clientId === clientId)
  }

  /** Whether the message is shown as it is here: no newer revision has taken its place. */
  holds(message) {
    return this.#messages.includes(message)
  }

  /** Shows the link to older messages if the history that the page brought says that there are some. */
  offerOlder() {
    this.#older.hidden = !hasOlder(this.#messages)
  }

  // What is shown

  /** Shows messages of the server. A message that is shown already changes only if the revision is newer. */
  show(incoming) {
    const {messages, changes} = merge(this.#messages, incoming)
    if (this.isEmpty) this.#older.hidden = !hasOlder(incoming)
    const reading = this.readsAlong
    let news = false
    for (const {message, insteadOf, after} of changes) {
      if (insteadOf) {
        message.node = update(insteadOf.node, message.node)
      } else {
        message.node.classList.add("arrives")
        ;(after?.node ?? this.#welcome).after(message.node)
        news = true
      }
    }
    this.#messages = messages
    if (changes.length) this.arrange()
    if (reading) this.scrollToEnd()
    else if (news) this.#jump.hidden = false
  }

  /** The messages in the server's HTML, without those older than what is shown: they come with their page. */
  changesIn(html) {
    const oldest = this.#messages.find(({position}) => position !== null)?.position ?? -Infinity
    const isKnown = ({id}) => this.#messages.some((message) => message.id === id)
    return messagesIn(html).filter((message) => message.position >= oldest || isKnown(message))
  }

  /** Shows an item that waits to be sent; returns its message. */
  showUnsent(item) {
    const message = unsentMessage(item, this.#pattern)
    this.#messages.push(message)
    this.#list.append(message.node)
    return message
  }

  moveToEnd(message) {
    this.#messages = [...this.#messages.filter((other) => other !== message), message]
    this.#list.append(message.node)
    this.arrange()
    this.scrollToEnd()
  }

  remove(message) {
    this.#messages = this.#messages.filter((other) => other !== message)
    message.node.remove()
    this.arrange()
  }

  clear() {
    for (const {node} of this.#messages) node.remove()
    this.#messages = []
    this.#older.hidden = true
  }

  /** Sets day lines, groups and votes again. Without a message it shows the welcome and hides the menu's button. */
  arrange() {
    this.#welcome.hidden = !this.isEmpty
    this.#menuButton.hidden = this.isEmpty
    this.#arrangeVotes()
    this.#arrangeDays()
  }

  #arrangeVotes() {
    const asVoter = ({node, author}) => ({
      author,
      asksForVote: node.querySelector(".vote") !== null,
      words: node.querySelector(".body").textContent,
    })
    const voters = this.#messages.map(asVoter)
    const given = votes(voters)
    const question = voters.map(({asksForVote}) => asksForVote).lastIndexOf(true)
    const isAnswered = given.slice(question + 1).some((vote) => vote !== null)
    this.#messages.forEach(({node}, index) => {
      showVote(node, given[index])
      const form = node.querySelector(".vote")
      if (form) form.hidden = isAnswered || index !== question // only the newest question, until it is answered
    })
  }

  #arrangeDays() {
    const days = new Map([...this.#list.querySelectorAll(".day")].map((day) => [day.nextElementSibling, day]))
    arrange(this.#messages).forEach(({newDay, follows}, index) => {
      const {node, at} = this.#messages[index]
      node.classList.toggle("follows", follows)
      if (!newDay) return
      const day = days.get(node) ?? make("h2", {className: "day"})
      const name = dayName(at)
      if (day.textContent !== name) day.textContent = name
      if (day.nextElementSibling !== node) node.before(day)
      days.delete(node)
    })
    for (const leftOver of days.values()) leftOver.remove()
  }

  // The scroll

  /** Whether the visitor reads at the end. It is measured here, because scroll events come a frame late. */
  get readsAlong() {
    const {scrollHeight, scrollTop, clientHeight} = this.#box
    return scrollTop >= this.#end || scrollHeight - scrollTop - clientHeight < NEAR_END_PX
  }

  scrollToEnd() {
    if (!this.isEmpty) this.#box.scrollTop = this.#box.scrollHeight // the welcome is read from its start
    this.#end = this.#box.scrollTop
    this.#jump.hidden = true
  }

  focus() {
    this.#box.focus({preventScroll: true})
  }

  #listen(onPress, onVote, signal) {
    const stayAtEnd = () => this.readsAlong && this.scrollToEnd()
    const sizes = new ResizeObserver(stayAtEnd)
    sizes.observe(this.#box)
    this.#box.addEventListener("load", stayAtEnd, {signal, capture: true}) // a picture has loaded
    this.#box.addEventListener("scroll", () => this.#scrolled(), {signal, passive: true})
    this.#box.addEventListener("click", (event) => this.#clicked(event, onPress, onVote), {signal})
    this.#jump.addEventListener("click", () => {
      this.scrollToEnd()
      this.focus()
    }, {signal})
    this.#older.addEventListener("click", (event) => {
      event.preventDefault()
      this.#showOlder()
    }, {signal})
    const isSeen = (entries) => entries[entries.length - 1].isIntersecting && this.#showOlder()
    this.#observer = new IntersectionObserver(isSeen, {root: this.#box, rootMargin: AHEAD})
    this.#observer.observe(this.#older)
    signal.addEventListener("abort", () => {
      sizes.disconnect()
      this.#observer.disconnect()
    })
  }

  #scrolled() {
    const reading = this.readsAlong
    this.#end = reading ? this.#box.scrollTop : Infinity
    if (reading) this.#jump.hidden = true
  }

  #clicked(event, onPress, onVote) {
    const button = event.target.closest("button")
    const node = event.target.closest(".message")
    if (!button || !node) return
    if (button.type === "submit") {
      event.preventDefault()
      onVote(button.value)
    } else onPress(this.#messages.find((message) => message.node === node), button)
  }

  // Older messages

  async #showOlder() {
    const link = this.#older
    if (this.#loading || link.hidden) return
    const focused = document.activeElement === link
    this.#loading = true
    this.#box.setAttribute("aria-busy", "true")
    this.#box.setAttribute("aria-live", "off")
    link.textContent = texts.older_loading
    this.#observer.unobserve(link)
    try {
      const first = this.#messages.find(({id}) => id !== null)
      this.#insertOlder(messagesIn(await this.#loadOlder(first.id)))
      link.textContent = texts.older
      this.#observer.observe(link) // reports the link again if it is still near
    } catch ({seconds}) {
      link.textContent = texts.older_failed // the visitor may press the link to try again
      // What will not help later has no `seconds`.
      if (seconds >= 0) setTimeout(() => this.#observer.observe(link), (seconds || AGAIN_SECONDS) * 1000)
    }
    if (focused && link.hidden) this.focus()
    this.#loading = false
    setTimeout(() => {
      this.#box.removeAttribute("aria-busy")
      this.#box.setAttribute("aria-live", "polite")
    }, SETTLE_MS)
  }

  /** Puts older messages on top. Not all browsers then keep what is read in its place, so this does it. */
  #insertOlder(incoming) {
    const {messages, changes} = merge(this.#messages, incoming)
    const {scrollHeight, scrollTop} = this.#box
    this.#box.style.overflowAnchor = "none"
    for (const {message, after} of changes) (after?.node ?? this.#welcome).after(message.node)
    this.#messages = messages
    this.arrange()
    this.#older.hidden = !hasOlder(incoming)
    this.#box.scrollTop = scrollTop + this.#box.scrollHeight - scrollHeight
    requestAnimationFrame(() => (this.#box.style.overflowAnchor = ""))
  }
}

/** Whether the server has messages older than those of its answer; the first of them tells. */
function hasOlder(messages) {
  return messages.length > 0 && messages[0].hasOlder
}
