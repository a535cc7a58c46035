-- All daemons that are registered, at one instant of the time of clock.lua, which stands before this.
--
-- KEYS: daemons
-- Answers {milliseconds, {field, value, ...}}: of a run, 'RENEWED FIRST WALL JSON'; no fields if the key is of another type.
local found, wall = registry(KEYS[1], '')
if not found then
  return {milliseconds(wall), {}}
end
return {milliseconds(found.now), redis.call('HGETALL', KEYS[1])}
