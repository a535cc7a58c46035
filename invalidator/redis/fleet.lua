-- Counts what nodes took from buckets of the fleet: many reports in one call, all of one partition.
--
-- A bucket is the instant at which it is full, by Redis's own clock, in microseconds. A report is counted once,
-- answered with how long it is until its bucket is full, and published if that has no token left. What crate `fleet` calls the
-- ledger is the same; a test compares them. All numbers are whole and below 2^53, so that doubles hold them
-- exactly: microseconds since 1970 until the year 2255, and spans of at most 77 days.
--
-- KEYS: for each report: bucket, id of the report
-- ARGV: channel ('' = tell nobody), for how many milliseconds ids of reports and full buckets are kept, most buckets
--       that are published, then for each report: name of the bucket in news; what was taken, one token, the whole bucket,
--       and the bucket with the most debt, each as the microseconds in which it fills; when the event
--       was heard that the bucket has begun anew with, in Unix microseconds, and its id (16 hexadecimal digits;
--       0 and zeros for none); 1 if it was emptied then, else 0
-- Answers for each report 'REMAINING AT ID': for how many microseconds the bucket is not full, and the event that it has begun
--       anew with. Publishes lines 'NAME REMAINING AT ID'.
-- Errors PORTCULLIS_INVALID: an argument is missing or no whole number in its range, or there are too many
--       reports. Then nothing was counted.
local REPORTS_MAX, FIELDS, EXACT_MAX = 256, 8, 9007199254740991
-- By how many microseconds a beginning may lie ahead of the clock: as much as publishers' clocks may be wrong.
local AHEAD_MAX = 300000000
local NO_EVENT = '0000000000000000'
local channel, memory_ms, news_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local reports = #KEYS / 2

local function is_whole(number)
  return number and number >= 0 and number <= EXACT_MAX and number % 1 == 0
end

local function whole(number)
  return string.format('%.0f', number)
end

if reports > REPORTS_MAX or #ARGV ~= 3 + FIELDS * reports then
  return redis.error_reply('PORTCULLIS_INVALID reports: must be at most 256, each with all its fields')
end
if not is_whole(memory_ms) or memory_ms == 0 or not is_whole(news_max) then
  return redis.error_reply('PORTCULLIS_INVALID memory, news: must be whole numbers')
end
for i = 1, reports do
  local at = 3 + FIELDS * (i - 1)
  for field = 2, 6 do
    if not is_whole(tonumber(ARGV[at + field])) then
      return redis.error_reply('PORTCULLIS_INVALID report: must have whole numbers')
    end
  end
  if not string.match(ARGV[at + 7], '^[0-9a-f]+$') or #ARGV[at + 7] ~= 16 then
    return redis.error_reply('PORTCULLIS_INVALID report: must have an id of 16 hexadecimal digits')
  end
end
if reports == 0 then
  return {}
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- What is not as this script writes it reads as nothing, and is written anew.
local known = {}
for i, value in ipairs(redis.call('MGET', unpack(KEYS))) do
  known[KEYS[i]] = value
end

local function keep(key, value, for_ms)
  redis.call('SET', key, value, 'PX', whole(for_ms))
  known[key] = value
end

local function is_after(at, id, than_at, than_id)
  return id ~= than_id and (at > than_at or at == than_at and id > than_id)
end

local answers, news = {}, {}
for i = 1, reports do
  local bucket, report, arg = KEYS[2 * i - 1], KEYS[2 * i], 3 + FIELDS * (i - 1)
  local spent, token = tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
  local fill, cap = tonumber(ARGV[arg + 4]), tonumber(ARGV[arg + 5])
  local at, id, is_emptied = tonumber(ARGV[arg + 6]), ARGV[arg + 7], ARGV[arg + 8] == '1'

  local full, begun_at, begun_id =
    string.match(known[bucket] or '', '^(%d+) (%d+) ([0-9a-f]+)$')
  full, begun_at = tonumber(full), tonumber(begun_at)
  if not (is_whole(full) and is_whole(begun_at) and #begun_id == 16) then
    full, begun_at, begun_id = now, 0, NO_EVENT
  end
  -- No instant lies further ahead than bucket and debt, whatever has become of the clock.
  full = math.min(math.max(full, now), now + cap)
  -- Nor does any beginning: with one of the far future no event could be after it.
  if begun_at > now + AHEAD_MAX then
    begun_at, begun_id = 0, NO_EVENT
  end
  at = math.min(at, now + AHEAD_MAX)

  local begins = is_after(at, id, begun_at, begun_id)
  if begins then
    full = is_emptied and at + fill or now
    full = math.min(math.max(full, now), now + fill)
    begun_at, begun_id = at, id
  end
  local counts = id == begun_id and not known[report]
  if counts then
    full = math.min(full + spent, now + cap)
    keep(report, '', memory_ms)
  end
  local remaining = full - now
  local answer = whole(remaining) .. ' ' .. whole(begun_at) .. ' ' .. begun_id
  if begins or counts then
    keep(bucket, whole(full) .. ' ' .. whole(begun_at) .. ' ' .. begun_id,
      math.ceil(remaining / 1000) + memory_ms)
    if remaining + token > fill and #news < news_max then
      news[#news + 1] = ARGV[arg + 1] .. ' ' .. answer
    end
  end
  answers[i] = answer
end

if channel ~= '' and #news > 0 then
  redis.call('PUBLISH', channel, table.concat(news, '\n'))
end
return answers
