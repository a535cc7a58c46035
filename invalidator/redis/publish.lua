-- Writes one event once: the subject's state, the set of subjects, the stream, the digest; then
-- tells everybody who listens. All of it or nothing: Redis runs a script alone and to its end.
--
-- What it answers is about Redis. Whether daemons take the event in depends on their rules: its
-- signature, its age, and what else docs/reference/events.md names. What can be seen without these rules is
-- checked here.
--
-- KEYS: state of the subject, subjects, stream, digest
-- ARGV: channel ('' = tell nobody), subject ('user:ID' or 'session:ID'), event id, event (JSON),
--       most entries of the stream (approximately), most events of one subject,
--       and from daemons: when the event was first heard, in Unix microseconds
-- Answers {id, 'written'}, or {id of then, 'duplicate'} if the event is there; daemons also get the
--       event id that it is found under. The id is 'MILLISECONDS-N': when the event was first heard,
--       by Redis's clock. What a daemon writes, or who has signed it, is found under an id of its own
--       if its event id is that of another event.
-- Errors PORTCULLIS_SUBJECT_FULL: the subject has its most events; PORTCULLIS_CONFLICT: another
--       event about the subject has this id; PORTCULLIS_INVALID: the event breaks a rule. Then
--       nothing was written, but that daemons are told of a conflict.
local state, subjects, stream, digest = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local channel, subject, event_id, event = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local entries_max, events_max = ARGV[5], tonumber(ARGV[6])
local heard_us = tonumber(ARGV[7] or '')

local function derived(id, bytes)
  return string.sub(id, 1, 55) .. '~' .. string.sub(redis.sha1hex(bytes), 1, 8)
end

local function answer(id, what, found_under)
  if heard_us then
    return {id, what, found_under}
  end
  return {id, what}
end

local function invalid(rule)
  return redis.error_reply('PORTCULLIS_INVALID ' .. rule)
end

-- What an event says: without its signature, and without when it occurred, unless spans of time
-- count from then. A retry may have both anew.
local function said(read)
  local rest = {}
  local spans = type(read.payload) == 'table' and read.payload['for']
  for name, value in pairs(read) do
    if name ~= 'sig' and (name ~= 'occurred_at' or spans) then rest[name] = value end
  end
  return rest
end

local function same(one, other)
  if type(one) ~= 'table' or type(other) ~= 'table' then
    return one == other
  end
  for name, value in pairs(one) do
    if not same(value, other[name]) then return false end
  end
  for name in pairs(other) do
    if one[name] == nil then return false end
  end
  return true
end

-- Whether what is there may be a copy that lacks the signature of what comes, or has another one: then
-- nobody may believe it. A retry keeps its signature, or says anew when it occurred and has another;
-- daemons know those for the same event.
local function is_signed_otherwise(new, known)
  if type(new.sig) ~= 'table' then
    return false
  end
  local sig = type(known.sig) == 'table' and known.sig or {}
  return sig.mac ~= new.sig.mac or sig.kid ~= new.sig.kid
end

if #event > 16384 then
  return invalid('event: must be at most 16384 bytes')
end
local is_json, read = pcall(cjson.decode, event)
if not is_json or type(read) ~= 'table' then
  return invalid('event: must be a JSON object')
end
if read.event_id ~= event_id and derived(tostring(read.event_id), event) ~= event_id then
  return invalid('event_id: must be the event id that is given beside the event')
end
local key = type(read.key) == 'table' and read.key or {}
local named = type(key.user_id) == 'string' and 'user:' .. key.user_id
  or type(key.session_id) == 'string' and 'session:' .. key.session_id
if named ~= subject then
  return invalid('key: must be the subject that is given beside the event')
end
local actions = {block = true, zero = true, unblock = true, override = true}
if type(read.payload) ~= 'table' or not actions[read.payload.action] then
  return invalid('payload.action: must be block, zero, unblock or override')
end

-- From when the event counts, to the microsecond, as what lies before it in the state: from when it was heard, and
-- if nobody says that, or says a time to come, from now. What is written later counts later then, also within a
-- millisecond, in which ids of the stream only count. When Redis's clock is behind what it was, '' has such an
-- event count from its id in the stream, which never goes back.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local before = redis.call('HMGET', digest, 'count', 'sum', 'clock')
local latest_us = tonumber(before[3] or '') or 0
local function instant(us)
  return string.format('%.0f-%.0f', math.floor(us / 1000), math.floor(us % 1000))
end
local is_of_before = heard_us ~= nil and heard_us > 0 and heard_us < now_us
local heard = ''
if is_of_before then
  heard = instant(heard_us)
elseif now_us > latest_us then
  heard = instant(now_us)
end

local function is_earlier(one, other)
  local ms, rest = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_rest = string.match(other, '^(%d+)-(%d+)$')
  if not ms or not other_ms then return false end
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  return ms < other_ms or ms == other_ms and tonumber(rest) < tonumber(other_rest)
end

-- An event counts from the earliest instant at which a daemon heard it: the others are told if that
-- was earlier than the one that has written it knows.
local function found(id, found_under, kept)
  if not is_of_before or not is_earlier(heard, id) then
    return answer(id, 'duplicate', found_under)
  end
  redis.call('XADD', stream, 'MAXLEN', '~', entries_max, '*', 'event', kept, 'subject', subject,
    'id', found_under, 'heard', heard)
  redis.call('HSET', state, found_under, heard .. ' ' .. kept)
  return answer(heard, 'duplicate', found_under)
end

local known = redis.call('HGET', state, event_id)
if known then
  local id, kept = string.match(known, '^([^ ]+) (.*)$')
  local is_same = kept == event
  if not is_same then
    local kept_is_json, other = pcall(cjson.decode, kept or '')
    is_same = kept_is_json and type(other) == 'table' and same(said(read), said(other))
      and not is_signed_otherwise(read, other)
  end
  if is_same then
    -- Whoever lost the set gets it back.
    redis.call('SADD', subjects, subject)
    return found(id, event_id, kept)
  end
  if not heard_us and type(read.sig) ~= 'table' then
    redis.call(
      'XADD', stream, 'MAXLEN', '~', entries_max, '*', 'conflicting', event, 'subject', subject)
    return redis.error_reply(
      'PORTCULLIS_CONFLICT event_id: is that of another event about this subject')
  end
  event_id = derived(event_id, event)
  known = redis.call('HGET', state, event_id)
  if known then
    local derived_id, derived_kept = string.match(known, '^([^ ]+) (.*)$')
    return found(derived_id, event_id, derived_kept)
  end
end
if redis.call('HLEN', state) >= events_max then
  return redis.error_reply('PORTCULLIS_SUBJECT_FULL the subject has its most events')
end

-- Every key is read before the first write, so that one of a wrong type leaves nothing half done.
redis.call('SISMEMBER', subjects, subject)
redis.call('XLEN', stream)

local entry = {'event', event, 'subject', subject, 'id', event_id}
if heard ~= '' then
  entry[7], entry[8] = 'heard', heard
end
local id = redis.call('XADD', stream, 'MAXLEN', '~', entries_max, '*', unpack(entry))
if heard == '' then heard = id end
redis.call('HSET', state, event_id, heard .. ' ' .. event)
redis.call('SADD', subjects, subject)

local hash = tonumber(string.sub(redis.sha1hex(subject .. '\n' .. event_id), 1, 12), 16)
local count = (tonumber(before[1] or '') or 0) + 1
local sum = ((tonumber(before[2] or '') or 0) + hash) % 281474976710656
redis.call(
  'HSET', digest, 'count', string.format('%.0f', count), 'sum', string.format('%.0f', sum),
  'clock', string.format('%.0f', math.max(now_us, latest_us)))
-- Changes when the digest begins anew, that is after a loss of data.
redis.call('HSETNX', digest, 'since', id)

if channel ~= '' then
  -- With when it was heard: a connection may hold the message back for a while.
  redis.call('PUBLISH', channel, heard .. ' ' .. event)
end
return answer(heard, 'written', event_id)
