-- Puts the digest right where it does not fit what is stored (keys evicted or deleted by hand),
-- if it still is what the caller has seen.
--
-- KEYS: digest
-- ARGV: count and sum as seen ('' if missing), count and sum as counted
-- Answers 1 if it was changed, else 0.
local seen = redis.call('HMGET', KEYS[1], 'count', 'sum')
if (seen[1] or '') ~= ARGV[1] or (seen[2] or '') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'count', ARGV[3], 'sum', ARGV[4])
local time = redis.call('TIME')
redis.call('HSETNX', KEYS[1], 'since', time[1] .. '-' .. time[2])
return 1
