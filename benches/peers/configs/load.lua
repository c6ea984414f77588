-- What wrk sends, and its result as one line of JSON.
--
-- Arguments, as name=value:
--   secret    the X-API-Key of every request
--   secrets   instead of it: a file of secrets, one a line, of which each request takes the next
--   start     the line to begin with
--   upload    the size of a body; the requests become POSTs
--   close     1: a new connection for each request

local options = {}

local function walk(path, start)
  local secrets, place = {}, start
  for line in io.lines(path) do
    secrets[#secrets + 1] = line
  end
  wrk.headers["X-API-Key"] = "SECRET"
  local before, after = wrk.format():match("^(.*)SECRET(.*)$")
  return function()
    place = place % #secrets + 1
    return before .. secrets[place] .. after
  end
end

function init(arguments)
  for _, argument in ipairs(arguments) do
    local name, value = argument:match("^(%w+)=(.*)$")
    options[name] = value
  end
  wrk.headers["X-API-Key"] = options.secret
  if options.close then
    wrk.headers["Connection"] = "close"
  end
  if options.upload then
    wrk.method = "POST"
    wrk.body = string.rep("x", tonumber(options.upload))
  end
  if options.secrets then
    request = walk(options.secrets, tonumber(options.start))
  end
end

function done(summary, latency, _)
  local failures = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "bytes": %d, "refused": %d, "broken": %d, "p50": %.1f, "p99": %.1f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, failures.status,
    failures.connect + failures.read + failures.write + failures.timeout,
    latency:percentile(50), latency:percentile(99)))
end
