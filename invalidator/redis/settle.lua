-- Says what has become of events that were taken out of an inbox: some are done with, others are to be
-- taken again later, by whichever daemon is first.
--
-- KEYS: taken (hash), leases (sorted set)
-- ARGV: how many are done with, their stamps, then pairs of stamp and after how many milliseconds
local taken, leases = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local done = tonumber(ARGV[1])
for i = 2, done + 1 do
  redis.call('HDEL', taken, ARGV[i])
  redis.call('ZREM', leases, ARGV[i])
end
for i = done + 2, #ARGV - 1, 2 do
  if redis.call('HEXISTS', taken, ARGV[i]) == 1 then
    redis.call('ZADD', leases, now_ms + tonumber(ARGV[i + 1]), ARGV[i])
  end
end
return redis.status_reply('OK')
