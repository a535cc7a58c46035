-- The key under which the whole fleet names subjects: made once, and given to every daemon.
--
-- KEYS: the key
-- ARGV: 'VERSION KEY' to take if there is none, or none that can be read: a number from 1 on, and 32 hexadecimal digits
-- Answers with the one that holds from now on, in the same form.
-- Errors PORTCULLIS_INVALID: the argument has another form. Then nothing is changed.
local function is_key(text)
  local version, key = string.match(text or '', '^([1-9]%d*) ([0-9a-f]+)$')
  return version and #version <= 16 and tonumber(version) <= 9007199254740991 and #key == 32
end

if not is_key(ARGV[1]) then
  return redis.error_reply('PORTCULLIS_INVALID key: must be a number and 32 hexadecimal digits')
end
-- Of another type, it reads as nothing and is written anew.
local known = redis.call('MGET', KEYS[1])[1]
if is_key(known) then
  return known
end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
