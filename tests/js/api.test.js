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

test("our own refusal is final, by our mark", async () => {
  for (const [body, said] of [[OUR_REFUSAL, "Not so."], ["", ""], ["{}", ""]]) {
    for (const status of [400, 403, 404, 405, 413, 415]) {
      const api = apiWith(() => response(status, body, OURS))
      const error = await outcome(REQUESTS.send(api))
      assert.ok(error instanceof Refused, `${status} ${body}`)
      assert.equal(error.message, said)
    }
  }
})

test("JSON without our mark is no refusal, whatever its shape, and no success without what was stored", async () => {
  const shapes = ["[]", "{}", "[1]", '"no"', '{"success":false}', '{"id":7}', '{"error":"X","error_description":"No."}']
  for (const body of [...shapes.map((shape) => `{"result":${shape},"success":false}`), "[]", "null", OUR_REFUSAL]) {
    for (const [status, reason] of [[200, "between"], [403, "between"], [404, "between"], [413, "large"]]) {
      if (status === 200 && body.includes('"id"')) continue // of a former release
      const api = apiWith(() => response(status, body, {"Content-Type": "application/json"}))
      for (const [name, ask] of Object.entries(REQUESTS)) {
        assert.equal((await outcome(ask(api))).reason, reason, `${name} ${status} ${body}`)
      }
    }
  }
})

/** An XMLHttpRequest that is answered from `url`: another one than was asked for, after a redirect. */
function answerUploads({status = 200, body, headers, url}) {
  globalThis.XMLHttpRequest = class {
    upload = {};
    open(method, asked) {
      this.responseURL = url ?? asked
    }
    setRequestHeader() {}
    abort() {}
    getResponseHeader(name) {
      return headers[name] ?? null
    }
    send() {
      Object.assign(this, {status, responseText: body})
      setImmediate(() => this.onloadend())
    }
  }
}

test("the answer of an upload that was redirected is not believed, whoever gave it", async () => {
  const asked = "http://chat.example/ajax?lang=en"
  const {signal} = new AbortController()
  const api = new Api(asked, {headers: () => ({}), fields: () => ({}), onResponse() {}, signal})
  const file = new Blob(["x"])
  const upload = () => outcome(api.upload({client_id: "1", name: "", message: "", file}, () => {}, signal))
  const sent = '{"result": {"id": 1, "state": "stored"}}'

  for (const url of ["http://chat.example/login", "http://chat.example/", "https://elsewhere.example/ajax?lang=en"]) {
    for (const [status, headers] of [[404, OURS], [405, OURS], [200, OURS], [200, {}], [413, {}], [503, {}]]) {
      answerUploads({status, body: status === 200 ? sent : OUR_REFUSAL, headers, url})
      const error = await upload()
      assert.ok(error instanceof Later, `${status} ${url}`)
      assert.equal(error.reason, "between", `${status} ${url}`)
    }
  }
  answerUploads({body: sent, headers: OURS})
  assert.deepEqual(await upload(), {id: 1, state: "stored"})
  answerUploads({status: 403, body: OUR_REFUSAL, headers: OURS})
  assert.ok((await upload()) instanceof Refused)
})

test("our own answers are taken", async () => {
  const history = '<article class="message">hello</article>\n'
  for (const counted of [{}, {"X-Chat-Messages": "1"}]) {
    assert.equal(await REQUESTS.history(apiWith(() => response(200, history, {...OURS, ...counted}))), history)
  }
  assert.equal(await REQUESTS.history(apiWith(() => response(200, "", {...OURS, "X-Chat-Messages": "0"}))), "")
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
    ["history", '<article class="message">hello</article>\n'],
    ["history", '<article class="message">hello</article>\n<article class="message">hello</articl'],
    ["history", '<article class="message">hel'],
    ["history", ""],
    ["save", "<!doctype html><p>half"],
    ["send", '{"chat": "c", "result": {"id"'],
  ]
  for (const [name, body] of cut) {
    const api = apiWith(() => response(200, body, {...OURS, "X-Chat-Messages": "2"}))
    assert.ok((await outcome(REQUESTS[name](api))) instanceof Later, body)
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
