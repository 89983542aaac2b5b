"""Makes a browser of today an older one: takes from it what an older one does not know.

Functions are taken away by a script before any other. Words of HTML and CSS cannot be; they are
changed on their way into words that no browser knows.
"""

import re
from dataclasses import dataclass

from playwright.sync_api import BrowserContext, Route

HTML, CSS, JS = "text/html", "text/css", "text/javascript"
Words = dict[str, dict[str, str]]  # kind of file → what is written → what the browser reads

FIREFOX_119_SCRIPT = """
  remove(HTMLElement.prototype, "popover", "showPopover", "hidePopover", "togglePopover")
  remove(HTMLButtonElement.prototype, "popoverTargetElement", "popoverTargetAction")
  remove(AbortSignal, "any")
  remove(Promise, "withResolvers", "try")
  remove(Object, "groupBy")
  remove(Map, "groupBy")
  remove(Set.prototype, "union", "intersection", "difference", "isSubsetOf")
  remove(ReadableStream.prototype, Symbol.asyncIterator, "values")
  remove(window, "CloseWatcher", "navigation")
  remove(Document.prototype, "startViewTransition")
  forget(":has(", ":popover-open")
"""
SAFARI_15_SCRIPT = """
  remove(AbortSignal, "timeout")
  remove(AbortSignal.prototype, "throwIfAborted", "reason")
  for (const kind of [Array, String, Int8Array]) remove(kind.prototype, "at")
  remove(Array.prototype, "findLast", "findLastIndex")
  remove(Array.prototype, "toSorted", "toReversed", "toSpliced", "with")
  remove(Object, "hasOwn")
  remove(window, "structuredClone", "BroadcastChannel", "requestIdleCallback", "scheduler",
    "SharedWorker", "reportError")
  remove(Navigator.prototype, "locks", "userActivation")
  remove(Crypto.prototype, "randomUUID")
  remove(HTMLFormElement.prototype, "requestSubmit")
  remove(SubmitEvent.prototype, "submitter")
  remove(HTMLElement.prototype, "inert")
  remove(HTMLDialogElement.prototype, "showModal", "show", "close")
  remove(window, "HTMLDialogElement")
  forget(":focus-visible")
"""
TOOLS = """
{
  const remove = (from, ...names) => { for (const name of names) delete from[name] }
  const forget = (...selectors) => {
    const knows = (text) => !selectors.some((selector) => text.includes(selector))
    const strict = (prototype, ...names) => names.forEach((name) => {
      const original = prototype[name]
      prototype[name] = function (selector, ...more) {
        if (!knows(selector)) throw new SyntaxError(`${selector} is not a valid selector`)
        return original.call(this, selector, ...more)
      }
    })
    strict(Element.prototype, "querySelector", "querySelectorAll", "closest", "matches")
    strict(Document.prototype, "querySelector", "querySelectorAll")
    strict(DocumentFragment.prototype, "querySelector", "querySelectorAll")
    const {supports} = CSS
    CSS.supports = (...what) =>
      knows(what.join()) && !what.join().includes("field-sizing") && supports.call(CSS, ...what)
  }
  %s
}
"""


@dataclass(frozen=True)
class Older:
    script: str
    words: Words


FIREFOX_119 = Older(
    FIREFOX_119_SCRIPT,
    {
        HTML: {' popovertarget="menu"': "", " popover>": ">"},
        CSS: {
            ":has(": ":-not-yet(",
            ":popover-open": ":-not-yet",
            "field-sizing:": "-not-yet:",
            "light-dark(": "-not-yet(",
            "lab(from": "-not-yet(from",
            "text-wrap:": "-not-yet:",
        },
    },
)
SAFARI_15 = Older(
    FIREFOX_119_SCRIPT + SAFARI_15_SCRIPT,
    {
        HTML: FIREFOX_119.words[HTML] | {"<dialog": "<x-dialog", "</dialog": "</x-dialog"},
        CSS: FIREFOX_119.words[CSS]
        | {
            ":focus-visible": ":-not-yet",
            "dvh": "-not-yet",
            "(scripting:": "(-not-yet:",
            "accent-color:": "-not-yet:",
            "overscroll-behavior:": "-not-yet:",
            "color-mix(": "-not-yet(",
        },
    },
)
# Below the floor: a browser that reads modules but not private methods, and one without modules.
NO_PRIVATE_METHODS = Older(
    FIREFOX_119_SCRIPT + SAFARI_15_SCRIPT,
    SAFARI_15.words | {JS: {"class LiveChat": "class # LiveChat"}},
)
NO_MODULES = Older(
    FIREFOX_119_SCRIPT + SAFARI_15_SCRIPT,
    {**SAFARI_15.words, HTML: SAFARI_15.words[HTML] | {'type="module"': 'type="not-yet"'}},
)


def make_older(context: BrowserContext, chat: str, older: Older) -> None:
    """Make a context's browser an older one for the application at the address `chat`."""
    context.add_init_script(TOOLS % older.script)

    def change(route: Route) -> None:
        answer = route.fetch()  # also what it leads to, which a route would not see
        kind = answer.headers.get("content-type", "").partition(";")[0]
        body = answer.body()
        for written, read in older.words.get(kind, {}).items():
            body = body.replace(written.encode(), read.encode())
        route.fulfill(response=answer, body=body)

    is_changed = re.compile(rf"{re.escape(chat)}/(static/.*|\?.*)?$")
    context.route(is_changed, change)
    # A page that answers a plain form.
    context.route(
        f"{chat}/ajax*",
        lambda route: change(route) if route.request.is_navigation_request() else route.continue_(),
    )
