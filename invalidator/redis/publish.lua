-- Writes one event once: the subject's state, the set of subjects, the stream, the digest; then
-- tells everybody who listens. All of it or nothing: Redis runs a script alone and to its end.
--
-- KEYS: state of the subject, subjects, stream, digest
-- ARGV: channel ('' = tell nobody), subject ('user:ID' or 'session:ID'), event id, event (JSON),
--       most entries of the stream (approximately), most events of one subject
-- Answers {stream id, 'written'}, or {stream id of then, 'duplicate'} if the event is there.
-- Error PORTCULLIS_SUBJECT_FULL: the subject has its most events, and nothing was written.
local state, subjects, stream, digest = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local channel, subject, event_id, event = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local entries_max, events_max = ARGV[5], tonumber(ARGV[6])

local known = redis.call('HGET', state, event_id)
if known then
  -- Whoever lost the set gets it back.
  redis.call('SADD', subjects, subject)
  return {string.match(known, '^[^ ]+'), 'duplicate'}
end
if redis.call('HLEN', state) >= events_max then
  return redis.error_reply('PORTCULLIS_SUBJECT_FULL the subject has its most events')
end

-- Every key is read before the first write, so that one of a wrong type leaves nothing half done.
local kept = redis.call('HMGET', digest, 'count', 'sum')
redis.call('SISMEMBER', subjects, subject)
redis.call('XLEN', stream)

local id = redis.call(
  'XADD', stream, 'MAXLEN', '~', entries_max, '*', 'event', event, 'subject', subject)
redis.call('HSET', state, event_id, id .. ' ' .. event)
redis.call('SADD', subjects, subject)

local hash = tonumber(string.sub(redis.sha1hex(subject .. '\n' .. event_id), 1, 12), 16)
local count = (tonumber(kept[1] or '') or 0) + 1
local sum = ((tonumber(kept[2] or '') or 0) + hash) % 281474976710656
redis.call(
  'HSET', digest, 'count', string.format('%.0f', count), 'sum', string.format('%.0f', sum))
-- Changes when the digest begins anew, that is after a loss of data.
redis.call('HSETNX', digest, 'since', id)

if channel ~= '' then
  redis.call('PUBLISH', channel, event)
end
return {id, 'written'}
