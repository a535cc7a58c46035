-- Notes a daemon's word for events of one subject that are in force; see docs/explanation/redis.md.
--
-- KEYS: state of the subject, its vouches
-- ARGV: pairs of event id and word, 'MILLISECONDS MAC'
-- An older word is replaced by a newer one, and one for an event that is not there is not noted.
local state, vouches = KEYS[1], KEYS[2]
for i = 1, #ARGV - 1, 2 do
  local event_id, word = ARGV[i], ARGV[i + 1]
  local known = tonumber(string.match(redis.call('HGET', vouches, event_id) or '', '^%d+') or '') or 0
  local given = tonumber(string.match(word, '^%d+') or '') or 0
  if given > known and redis.call('HEXISTS', state, event_id) == 1 then
    redis.call('HSET', vouches, event_id, word)
  end
end
return redis.status_reply('OK')
