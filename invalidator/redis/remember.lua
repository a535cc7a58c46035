-- Writes back registrations that Redis has lost, as a daemon has seen them last, with the time of clock.lua, which stands
-- before this. What is registered already stays as it is: who lives renews what was written of it.
--
-- KEYS: daemons
-- ARGV: most daemons, then of each: run, how long ago it was renewed and registered first (milliseconds), 'WALL JSON'
-- Answers how many were written.
local key = KEYS[1]
local found = registry(key, '')
if not found then
  return 0
end
local count = redis.call('HLEN', key) - 2
local written = 0
for i = 2, #ARGV - 3, 4 do
  if count + written < tonumber(ARGV[1]) then
    local renewed = milliseconds(math.max(found.now - tonumber(ARGV[i + 1]), 0))
    local first = milliseconds(math.max(found.now - tonumber(ARGV[i + 2]), 0))
    written = written + redis.call('HSETNX', key, ARGV[i], renewed .. ' ' .. first .. ' ' .. ARGV[i + 3])
  end
end
return written
