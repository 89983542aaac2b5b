/** Where the visitor writes: the field, their name, consent, and files. Sends nothing itself. */

import {make} from "./bubbles.js"
import {files, limit, texts} from "./config.js"
import {takeFiles} from "./files.js"
import {isVisible} from "./visible.js"

const COUNTED_CHARACTERS = 500 // the counter appears when no more than this are left
const MOST_ROWS = 6 // of the field, in browsers without `field-sizing`

export class Composer {
  #form;
  #field;
  #who;
  #name;
  #count;
  #consent;
  #kept;
  #drafts;
  #hasMessages;

  /**
   * `root` is the chat's element. `kept` and `drafts` are drawers. `hasMessages()` says whether anything was written
   * yet. `onMessage` is given a text, `onFile` a file, once the visitor has agreed to what has to be agreed to.
   */
  constructor({root, kept, drafts, hasMessages, onMessage, onFile, signal}) {
    this.#form = root.querySelector(".composer")
    this.#field = root.querySelector("#message")
    this.#who = root.querySelector(".who")
    this.#name = root.querySelector("#name")
    this.#count = root.querySelector(".count")
    this.#consent = root.querySelector(".consent")
    this.#kept = kept
    this.#drafts = drafts
    this.#hasMessages = hasMessages
    this.#form.noValidate = true
    this.#field.removeAttribute("maxlength") // browsers would cut a pasted text without telling the visitor
    this.#field.value ||= drafts.get("draft", "")
    this.#name.value ||= kept.get("name", "")
    this.#fieldChanged()
    this.#showName()
    this.#listen(() => this.#submit(onMessage), signal)
    if (files) {
      const whenAgreed = (file) => {
        if (this.#isAgreed()) onFile(file)
        else this.#consentBox.addEventListener("change", () => whenAgreed(file), {once: true, signal})
      }
      takeFiles({root, input: root.querySelector(".clip input"), onFile: whenAgreed, signal})
    }
  }

  get name() {
    return isVisible(this.#name.value) ? this.#name.value.trim() : ""
  }

  /** Whether the visitor has ticked the box of the consent. */
  get agrees() {
    return Boolean(this.#consentBox?.checked)
  }

  focus() {
    this.#field.focus()
  }

  /** Puts a text that the visitor took back into the field, below what they have written there. */
  restore(text) {
    this.#field.value = [this.#field.value, text].filter(isVisible).join("\n")
    this.#fieldChanged()
  }

  /** Empties the field and the name. */
  clear() {
    this.#field.value = this.#name.value = ""
  }

  /** Says above the field what went wrong; an empty text removes the warning. */
  warn(text) {
    let alert = this.#form.querySelector(".alert")
    if (!alert && text) this.#form.prepend((alert = make("p", {className: "alert", role: "alert"})))
    if (alert) alert.textContent = text
  }

  /** Shows the box of the consent, or hides it for good when the consent is stored. */
  askForConsent(ask) {
    if (!this.#consent) return
    const box = this.#consent.querySelector("input")
    this.#consent.hidden = !ask
    box.required = ask
    box.checked = false
  }

  /** The box, if it has to be ticked. */
  get #consentBox() {
    return this.#consent?.hidden === false ? this.#consent.querySelector("input") : null
  }

  /** Whether the visitor has given the consent that is needed; warns if not. */
  #isAgreed() {
    const missing = this.#consentBox?.checked === false
    this.warn(missing ? texts.consent_first : "")
    if (missing) setTimeout(() => this.#consentBox?.focus())
    return !missing
  }

  #listen(submit, signal) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault()
      submit()
    }, {signal})
    this.#field.addEventListener("input", () => this.#fieldChanged(), {signal})
    this.#field.addEventListener("keydown", (event) => this.#keyInField(event, submit), {signal})
    this.#name.addEventListener("keydown", (event) => this.#keyInName(event), {signal})
    this.#name.addEventListener("change", () => this.#nameChanged(), {signal})
    this.#who.addEventListener("toggle", () => {
      if (this.#who.open && this.#hasMessages()) this.#name.focus()
    }, {signal})
  }

  #submit(onMessage) {
    const message = this.#field.value
    if (isVisible(message) && message.length <= limit && this.#isAgreed()) {
      this.#field.value = ""
      this.#fieldChanged()
      onMessage(message)
      this.#nameChanged()
    }
    this.#field.focus()
  }

  /** Enter sends, but not on touch screens, nor while an input method composes a word (229 in Safari). */
  #keyInField(event, submit) {
    const composing = event.isComposing || event.keyCode === 229
    if (event.key !== "Enter" || event.shiftKey || composing || matchMedia("(pointer: coarse)").matches) return
    event.preventDefault()
    submit()
  }

  #keyInName(event) {
    if (event.key !== "Enter" || event.isComposing) return
    event.preventDefault()
    this.#nameChanged()
    this.#field.focus()
  }

  #fieldChanged() {
    const {value} = this.#field
    this.#drafts.set("draft", value)
    const left = limit - value.length
    this.#count.hidden = left > COUNTED_CHARACTERS
    this.#count.textContent = left < 0 ? `${texts.characters_over} ${-left}` : `${texts.characters_left} ${left}`
    this.#field.setAttribute("aria-invalid", left < 0)
    this.#form.classList.toggle("over", left < 0)
    this.#form.classList.toggle("empty", !isVisible(value))
    if (!CSS.supports("field-sizing", "content")) this.#fitField()
  }

  #fitField() {
    const field = this.#field
    field.rows = 1
    while (field.rows < MOST_ROWS && field.scrollHeight > field.clientHeight) field.rows++
  }

  #nameChanged() {
    if (this.name !== this.#kept.get("name", "")) this.#kept.set("name", this.name)
    this.#showName()
  }

  /** Before the first message the field for the name is open; later it opens from a line. */
  #showName() {
    const {name} = this
    const line = this.#who.querySelector(".as")
    line.textContent = name ? `${texts.writing_as} ` : texts.add_name
    if (name) line.append(make("b", {dir: "auto", textContent: name}))
    this.#who.open = !this.#hasMessages() && !(name && document.activeElement !== this.#name)
  }
}
