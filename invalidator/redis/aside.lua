-- Renames the state of one subject if it is no hash, or has far more fields than the script that writes
-- events allows, so that it can be written anew.
--
-- KEYS: state of the subject, its name put aside
-- ARGV: most fields
-- Answers 1 if it was renamed, else 0.
local found = redis.call('TYPE', KEYS[1]).ok
if found == 'none' or found == 'hash' and redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[1]) then
  return 0
end
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
