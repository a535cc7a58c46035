-- Renews what a daemon says of itself, with the time by Redis's clock: nobody else's clock says how old it is.
--
-- KEYS: daemons
-- ARGV: run, what the daemon says (JSON), most daemons
-- Answers 1, or 0 if there is no room for another daemon.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('RENAME', KEYS[1], KEYS[1] .. ':aside')
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
-- When the registrations began, which they do anew after a loss of data; a clock that was set back begins them anew.
local since = tonumber(redis.call('HGET', KEYS[1], 'since') or '')
if not since or since > tonumber(now) + 2000 then
  redis.call('HSET', KEYS[1], 'since', now)
end
local is_new = redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])
if is_new == 1 and redis.call('HLEN', KEYS[1]) - 1 > tonumber(ARGV[3]) then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 0
end
return 1
