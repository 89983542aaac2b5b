import assert from "node:assert/strict"
import {mock, test} from "node:test"

import {Api, Later, Refused} from "../../static/api.js"

const OURS = {"X-Chat-Server": "sitechat"}
const CHALLENGE = '<!doctype html><title>Just a moment</title><script>check()</script><article class="message">x'
const OUR_REFUSAL = JSON.stringify({result: {error: "X", error_description: "Not so."}})

/** What becomes of each request of the page when each is answered by what `answer()` returns. */
function apiWith(answer, {signal = new AbortController().signal} = {}) {
  globalThis.fetch = async (url, options) => answer(options)
  return new Api("/ajax", {headers: () => ({}), fields: () => ({}), onResponse() {}, signal})
}

const response = (status, body, headers = {}) => new Response(body, {status, headers})
const REQUESTS = {
  history: (api) => api.history({}),
  send: (api) => api.send({client_id: "1", name: "", message: "hello"}),
  stream: (api) => api.stream("1", false),
  once: (api) => api.stream("1", true),
  retry: (api) => api.retry(1),
  ask: (api) => api.ask({type: "identify"}),
  save: (api) => api.save(),
  deletion: (api) => api.deleteConversation(),
}

const outcome = (promise) => promise.then((value) => value, (error) => error)

test("an answer that is not ours is later, whatever its status, with its reason", async () => {
  const foreign = [
    ...[200, 201, 203, 400, 401, 402, 403, 404, 405, 406, 410, 415, 451, 511].map((status) => [status, "between"]),
    [413, "large"],
    [429, "busy"],
    ...[408, 425, 500, 502, 503, 504, 520, 530].map((status) => [status, "server"]),
  ]
  for (const [status, reason] of foreign) {
    for (const [type, body] of [["text/html", CHALLENGE], ["application/json", '{"result":"no"}'], ["text/plain", ""]]) {
      const api = apiWith(() => response(status, body, {"Content-Type": type}))
      for (const [name, ask] of Object.entries(REQUESTS)) {
        const error = await outcome(ask(api))
        assert.ok(error instanceof Later, `${name} ${status} ${type}`)
        assert.equal(error.reason, reason, `${name} ${status} ${type}`)
      }
    }
  }
  const api = apiWith(() => response(204, null))
  for (const [name, ask] of Object.entries(REQUESTS)) assert.equal((await outcome(ask(api))).reason, "between", name)
})

test("a redirect is not followed, and is later", async () => {
  const api = apiWith(({redirect}) => {
    assert.equal(redirect, "manual")
    return {type: "opaqueredirect", ok: false, status: 0, headers: new Headers(), body: null}
  })
  for (const [name, ask] of Object.entries(REQUESTS)) assert.equal((await outcome(ask(api))).reason, "between", name)
})

test("our own refusal is final, by our mark or, of a former release, by its shape", async () => {
  for (const [body, headers, said] of [
    [OUR_REFUSAL, OURS, "Not so."],
    [OUR_REFUSAL, {}, "Not so."],
    ["", OURS, ""],
    ["{}", OURS, ""],
  ]) {
    for (const status of [400, 403, 404, 405, 413, 415]) {
      const api = apiWith(() => response(status, body, headers))
      const error = await outcome(REQUESTS.send(api))
      assert.ok(error instanceof Refused, `${status} ${body}`)
      assert.equal(error.message, said)
    }
  }
})

test("our own answers are taken", async () => {
  const history = '<article class="message">hello</article>\n'
  assert.equal(await REQUESTS.history(apiWith(() => response(200, history, OURS))), history)
  assert.equal(await REQUESTS.history(apiWith(() => response(200, "", OURS))), "")
  assert.equal(await REQUESTS.stream(apiWith(() => response(204, null, OURS))), null)
  const sent = JSON.stringify({chat: "c", post: {}, result: {id: 1, state: "stored"}})
  for (const headers of [OURS, {}]) {
    assert.deepEqual(await REQUESTS.send(apiWith(() => response(200, sent, headers))), {id: 1, state: "stored"})
  }
})

test("what was cut off is later", async () => {
  const cut = [
    ["history", '<article class="message">hello</article>\n<article class="mess'],
    ["history", '<article class="message">hel'],
    ["save", "<!doctype html><p>half"],
    ["send", '{"chat": "c", "result": {"id"'],
  ]
  for (const [name, body] of cut) {
    assert.ok((await outcome(REQUESTS[name](apiWith(() => response(200, body, OURS))))) instanceof Later, body)
  }
  const breaks = () => new ReadableStream({pull: (body) => body.error(new TypeError("cut"))})
  for (const name of ["history", "send", "save"]) {
    const error = await outcome(REQUESTS[name](apiWith(() => response(200, breaks(), OURS))))
    assert.equal(error.reason, "network", name)
  }
})

test("no answer holds the page up for hours, and none makes it ask without a pause", async () => {
  for (const [asked, seconds] of [["20", 20], ["0", 0], ["-5", 0], ["86400", 120], ["1e99", 120], ["soon", 0]]) {
    const api = apiWith(() => response(503, "", {"Retry-After": asked}))
    assert.equal((await outcome(REQUESTS.send(api))).seconds, seconds, asked)
  }
})

test("a slow answer is waited for while it brings something, a silent one is given up", async (t) => {
  mock.timers.enable({apis: ["setTimeout"]})
  t.after(() => mock.timers.reset())
  const settle = () => new Promise(setImmediate)
  const tick = async (seconds) => {
    mock.timers.tick(seconds * 1000)
    await settle()
  }
  let body
  const slow = ({signal}) => {
    const stream = new ReadableStream({start: (controller) => (body = controller)})
    signal.addEventListener("abort", () => body.error(signal.reason))
    return response(200, stream, OURS)
  }
  const bytes = (text) => new TextEncoder().encode(text)

  const slowly = REQUESTS.history(apiWith(slow))
  for (const piece of ["<article", ">\u0434", "</article>", "\n"]) {
    await tick(29)
    body.enqueue(bytes(piece))
    await settle()
  }
  body.close()
  assert.equal(await slowly, "<article>\u0434</article>\n")

  const silent = outcome(REQUESTS.history(apiWith(slow)))
  await settle()
  await tick(31)
  assert.equal((await silent).reason, "network")
})

test("all requests end with the page's part, also those that begin after it", async () => {
  const life = new AbortController()
  const held = ({signal}) =>
    new Promise((_, reject) => {
      if (signal.aborted) reject(signal.reason)
      signal.addEventListener("abort", () => reject(signal.reason))
    })
  const api = apiWith(held, {signal: life.signal})
  const asked = outcome(api.history({}))
  life.abort()
  assert.ok((await asked) instanceof Later)
  assert.ok((await outcome(api.history({}))) instanceof Later)
})

test("whether the server is reached is said without an error", async () => {
  assert.equal(await apiWith(() => response(200, "", OURS)).reaches(), true)
  assert.equal(await apiWith(() => response(200, CHALLENGE)).reaches(), false)
  assert.equal(await apiWith(() => Promise.reject(new TypeError("no"))).reaches(), false)
})
