-- Put before the scripts of registrations: the time that they go by, and the registrations as they are.
--
-- It advances as Redis's clock does, by at most 1.5 s from one renewal to the next and never back: a clock that is set
-- makes nobody gone, and nobody forgotten. Beside the runs of daemons the hash has the fields 'clock' (this time, and
-- Redis's clock when it was noted), 'since' (when registrations began) and 'full' (when a daemon found no room).
local function milliseconds(number) return string.format('%.0f', number) end

local function registry(key, run)
  local time = redis.call('TIME')
  local wall = time[1] * 1000 + math.floor(time[2] / 1000)
  local fields = redis.pcall('HMGET', key, 'clock', 'since', run, 'full')
  if fields.err and string.find(fields.err, 'WRONGTYPE', 1, true) then
    return nil, wall
  end
  local at, seen = string.match(fields[1] or '', '^(%d+) (%d+)$')
  -- A number that is too large for a time is none.
  if not at or #at > 15 or #seen > 15 then
    return {now = wall, began = true, kept = fields[3], full = fields[4]}, wall
  end
  local now = tonumber(at) + math.min(math.max(wall - tonumber(seen), 0), 1500)
  local since = tonumber(fields[2] or '')
  local began = not since or since > now
  return {now = now, since = since, began = began, kept = fields[3], full = fields[4]}, wall
end
