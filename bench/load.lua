-- What wrk does: a thread is one client with a cookie and a keep-alive connection of its own.
-- The first argument is a file that gives a table: requests, and what a good answer holds.
-- Prints one line of JSON at the end; an answer that is not good counts as a failure.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  plan = dofile(args[1])
  client = plan.clients[number % #plan.clients + 1]
  stamp = string.format("%08x", plan.stamp)
  count, bad = 0, 0
  headers = {}
  for name, value in pairs(plan.headers) do headers[name] = value end
  for name, value in pairs(client) do headers[name] = value end
end

function request()
  count = count + 1
  local body = plan.body
  if body then
    -- Each message has a text and an id of its own, as a page's has.
    local id = string.format("%s-%04x-4000-8000-%012x", stamp, number, count)
    body = body:gsub("COUNT", string.format("%d.%d", number, count)):gsub("UUID", id)
  end
  return wrk.format(plan.method, plan.path, headers, body)
end

function response(status, _, body)
  if status ~= plan.status or (plan.holds ~= "" and not string.find(body, plan.holds, 1, true)) then
    bad = bad + 1
    if bad == 1 then
      io.stderr:write(string.format("%d %s\n", status, string.sub(body, 1, 300)))
    end
  end
end

function done(summary, latency)
  local wrong = 0
  for _, thread in ipairs(threads) do wrong = wrong + thread:get("bad") end
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "seconds": %f, "p50": %f, "p95": %f, "p99": %f, "failed": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    wrong + errors.connect + errors.read + errors.write + errors.timeout
  ))
end
