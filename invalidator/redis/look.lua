-- What there is at one instant: Redis's clock, the digest, and where the stream begins and ends.
--
-- What is of another type than it should be would stop every daemon, and so would a stream whose last
-- id is far in the future, since it takes entries no more. It is renamed, with ':aside' behind its
-- name, and daemons write anew what they know. Nothing else is changed.
--
-- KEYS: digest, stream, subjects
-- Answers {seconds, microseconds, count, sum, since, last id, first id, entries, entries added,
-- how many keys were renamed, the last doubt of a daemon whether all is there}; '' stands for what is not there (entries added: before Redis 7).
local time = redis.call('TIME')
local aside = 0
local function put_aside(key)
  redis.call('RENAME', key, key .. ':aside')
  aside = aside + 1
end
for i, kind in ipairs({'hash', 'stream', 'set'}) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= kind then
    put_aside(KEYS[i])
  end
end

local function info_of_stream()
  local seen = {['last-generated-id'] = '', ['length'] = '0', ['entries-added'] = ''}
  local first = ''
  if redis.call('EXISTS', KEYS[2]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[2])
    for i = 1, #info - 1, 2 do
      if seen[info[i]] then
        seen[info[i]] = tostring(info[i + 1])
      elseif info[i] == 'first-entry' and info[i + 1] then
        first = info[i + 1][1]
      end
    end
  end
  return seen, first
end

local seen, first = info_of_stream()
local last_s = math.floor((tonumber(string.match(seen['last-generated-id'], '^%d+') or '') or 0) / 1000)
if last_s > tonumber(time[1]) + 3600 then
  put_aside(KEYS[2])
  seen, first = info_of_stream()
end

local digest = redis.call('HMGET', KEYS[1], 'count', 'sum', 'since', 'doubt')
return {
  time[1], time[2], digest[1] or '', digest[2] or '', digest[3] or '',
  seen['last-generated-id'], first, seen['length'], seen['entries-added'], aside,
  digest[4] or ''}
