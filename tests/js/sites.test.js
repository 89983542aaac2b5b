import assert from "node:assert/strict"
import {test} from "node:test"

import {isListed} from "../../static/sites.js"

const SITES = ["https://shop.example", "https://*.lamps.example", "https://*.lamps.example:8443"]

test("a listed origin, and every subdomain of a wildcard, may show the chat", () => {
  for (const origin of [
    "https://shop.example",
    "https://ru.lamps.example",
    "https://a.b.lamps.example",
    "https://ru.lamps.example:8443",
  ])
    assert.ok(isListed(origin, SITES), origin)
})

test("no other origin may", () => {
  for (const origin of [
    "https://www.shop.example",
    "https://lamps.example",
    "https://evillamps.example",
    "https://ru.lamps.example.evil.example",
    "https://ru.lamps.example:444",
    "http://ru.lamps.example",
    "null",
  ])
    assert.ok(!isListed(origin, SITES), origin)
})
