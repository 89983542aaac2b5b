import assert from "node:assert/strict"
import {test} from "node:test"

import {isVisible} from "../../static/visible.js"

test("what holds nothing to see is empty", () => {
  const texts = ["", " \n\t\u00a0", "\u200d\u200c\ufe0f", "\u3164\u2800\uffa0 \u115f", "\u0301\u20dd", "\ufffc\n",
    "\u202e\u2066\u{e0041}\u00ad\u2060\ufeff\u061c", "\u180e\u034f\u2028",
    "\ufdd0\ufdef", "\u{1fffe}\u{10ffff}", "\u0600\u06dd\u{13430}"]
  assert.deepEqual(texts.filter(isVisible), [])
})

test("emoji and letters with joiners, marks or selectors are seen", () => {
  const texts = ["👩\u200d💻", "می\u200cخواهم", "❤\ufe0f", "1\ufe0f\u20e3", "\u0301e\u0301", ".", "ㅤ가"]
  assert.deepEqual(texts.filter((text) => !isVisible(text)), [])
})
