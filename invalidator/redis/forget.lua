-- Forgets events of one subject that nobody needs any more, and keeps the digest in step.
--
-- KEYS: state of the subject, subjects, digest, vouches of the subject
-- ARGV: subject, then pairs of event id and the time in Unix milliseconds before which the event
--       must stay: 0 for one that a newer event has overtaken. The time is compared with Redis's
--       own clock, so that a caller with a wrong one cannot take away what still holds.
-- Answers how many were forgotten.
local state, subjects, digest, vouches = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local subject = ARGV[1]
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local kept = redis.call('HMGET', digest, 'count', 'sum')
local count, sum = tonumber(kept[1] or '') or 0, tonumber(kept[2] or '') or 0
local forgotten = 0
for i = 2, #ARGV - 1, 2 do
  local event_id, not_before_ms = ARGV[i], tonumber(ARGV[i + 1])
  if not_before_ms and not_before_ms <= now_ms
    and redis.call('HDEL', state, event_id) == 1 then
    local hash = tonumber(string.sub(redis.sha1hex(subject .. '\n' .. event_id), 1, 12), 16)
    count = math.max(count - 1, 0)
    sum = (sum - hash) % 281474976710656
    redis.call('HDEL', vouches, event_id)
    forgotten = forgotten + 1
  end
end
if forgotten > 0 then
  redis.call(
    'HSET', digest, 'count', string.format('%.0f', count), 'sum', string.format('%.0f', sum))
end
if redis.call('EXISTS', state) == 0 then
  redis.call('SREM', subjects, subject)
end
return forgotten
