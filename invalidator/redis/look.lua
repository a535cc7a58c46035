-- What there is at one instant: Redis's clock, the digest, and where the stream begins and ends.
-- Changes nothing.
--
-- KEYS: digest, stream
-- Answers {seconds, microseconds, count, sum, since, last id, first id, entries, entries added};
-- '' stands for what is not there (entries added: before Redis 7).
local time = redis.call('TIME')
local digest = redis.call('HMGET', KEYS[1], 'count', 'sum', 'since')
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
return {
  time[1], time[2], digest[1] or '', digest[2] or '', digest[3] or '',
  seen['last-generated-id'], first, seen['length'], seen['entries-added']}
