-- All daemons that are registered, at one instant of Redis's clock.
--
-- KEYS: daemons
-- Answers {milliseconds, {run, 'MILLISECONDS JSON', ...}}; no daemons if the key is of another type.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return {now, {}}
end
return {now, redis.call('HGETALL', KEYS[1])}
