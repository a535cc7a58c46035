-- Takes events out of a publisher's inbox, and again those that somebody took and did not finish with.
-- Nothing is lost on the way: what is taken lies in a hash until a daemon says that it is done.
--
-- KEYS: inbox (list), taken (hash: stamp -> event), leases (sorted set: stamp -> from when anybody may
--       take it again, in Unix milliseconds)
-- ARGV: for how long what is given is left to the caller (milliseconds), most events that are given, most
--       bytes of an event that are kept, most events that may lie in the hash
-- Answers {how many wait in the inbox, how many lie in the hash, how many keys were put aside, then
--       stamp and event in turn}. A stamp is when the event was taken first, in Unix microseconds by
--       Redis's clock: of two events of an inbox, the one that its publisher put there first has the
--       smaller one.
--
-- A key of another type than it should be, or with more in it than is ever put there, is renamed, with
-- ':aside' behind its name.
local inbox, taken, leases = KEYS[1], KEYS[2], KEYS[3]
local lease_ms, given_max = tonumber(ARGV[1]), tonumber(ARGV[2])
local bytes_max, taken_max = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)

local aside = 0
local sizes = {[2] = 'HLEN', [3] = 'ZCARD'}
for i, kind in ipairs({'list', 'hash', 'zset'}) do
  local found = redis.call('TYPE', KEYS[i]).ok
  local is_wrong = found ~= 'none' and found ~= kind
  if is_wrong or sizes[i] and redis.call(sizes[i], KEYS[i]) > 2 * taken_max then
    redis.call('RENAME', KEYS[i], KEYS[i] .. ':aside')
    aside = aside + 1
  end
end

-- Somebody has removed one without the other: what has no lease could never be taken again.
if redis.call('HLEN', taken) ~= redis.call('ZCARD', leases) then
  for _, stamp in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    if redis.call('HEXISTS', taken, stamp) == 0 then redis.call('ZREM', leases, stamp) end
  end
  for _, stamp in ipairs(redis.call('HKEYS', taken)) do
    redis.call('ZADD', leases, 'NX', now_ms, stamp)
  end
end

local answer = {0, 0, aside}
local function give(stamp, event)
  redis.call('ZADD', leases, now_ms + lease_ms, stamp)
  answer[#answer + 1], answer[#answer + 2] = stamp, event
  given_max = given_max - 1
end

for _, stamp in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now_ms, 'LIMIT', 0, given_max)) do
  give(stamp, redis.call('HGET', taken, stamp))
end

local room = math.min(given_max, taken_max - redis.call('HLEN', taken))
for _ = 1, room do
  local event = redis.call('LPOP', inbox)
  if not event then break end
  -- Taking one takes longer than a microsecond: the next script is given later stamps by its clock.
  local stamp = string.format('%.0f', now_us)
  while redis.call('HEXISTS', taken, stamp) == 1 do
    now_us = now_us + 1
    stamp = string.format('%.0f', now_us)
  end
  now_us = now_us + 1
  event = string.sub(event, 1, bytes_max)
  redis.call('HSET', taken, stamp, event)
  give(stamp, event)
end

answer[1], answer[2] = redis.call('LLEN', inbox), redis.call('HLEN', taken)
return answer
