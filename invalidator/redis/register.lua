-- Renews what a daemon says of itself, with the time of clock.lua, which stands before this: nobody else's clock says how
-- old it is.
--
-- KEYS: daemons
-- ARGV: run, what the daemon says (JSON), most daemons
-- Answers {1, or 0 if there is no room for another daemon; when registrations began; how many daemons are registered}.
local key, run = KEYS[1], ARGV[1]
local found, wall = registry(key, run)
if not found then
  redis.call('RENAME', key, key .. ':aside')
  found = registry(key, run)
end
local now = milliseconds(found.now)
-- They begin anew after a loss of data.
local since = found.began and now or milliseconds(found.since)
redis.call('HSET', key, 'clock', now .. ' ' .. milliseconds(wall), 'since', since)
local count = redis.call('HLEN', key) - (found.full and 3 or 2)
if not found.kept and count >= tonumber(ARGV[3]) then
  redis.call('HSET', key, 'full', now)
  return {0, since, count}
end
local first = string.match(found.kept or '', '^%d+ (%d+) ') or now
redis.call('HSET', key, run, now .. ' ' .. first .. ' ' .. milliseconds(wall) .. ' ' .. ARGV[2])
return {1, since, found.kept and count or count + 1}
